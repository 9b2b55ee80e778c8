"""A contract made ready to run: its rules compiled, its ladders built, once for all runs and all processes."""

from collections.abc import Mapping
from dataclasses import dataclass

from plimsoll.contract.loading import contract_digest
from plimsoll.contract.model import Contract, Mode, Model, Protections, Tool
from plimsoll.contract.pricing import price_of
from plimsoll.core.calls import Effect
from plimsoll.core.errors import CallTimeout
from plimsoll.oversight.rules import RuleBook
from plimsoll.policies.admission import Protected
from plimsoll.policies.bulkhead import Bulkhead
from plimsoll.policies.circuit_breaker import CircuitBreaker
from plimsoll.policies.hedge import Hedge
from plimsoll.policies.ladder import Ladder, build_ladders
from plimsoll.policies.rate_limit import RateLimit
from plimsoll.policies.retry import RetryPolicy

__all__ = ["DECLINED", "CompiledContract", "Terms", "compiled"]

DECLINED = ("NotSure",)
"""The errors by which a model of one's own says that it had better not answer: it is not asked again, and has not
failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a contract says of one dependency, in the form in which every call asks for it."""

    section: Model | Tool
    effect: Effect
    slow_s: float
    """From how many seconds on an answer counts as slow."""
    is_judged: bool = False
    """Whether a call may need somebody's word, or be one too many. Of most tools no rule speaks at all."""
    refusals: tuple[str, ...] = ()
    """The exception classes by which it says that nothing happened. That we gave it up says no such thing."""

    @classmethod
    def of_model(cls, section: Model) -> "Terms":
        refusals = DECLINED if section.local is not None else ()
        return cls(section=section, effect=Effect.READ, slow_s=_slow_s(section), refusals=refusals)

    @classmethod
    def of_tool(cls, section: Tool, *, is_ruled: bool) -> "Terms":
        return cls(
            section=section,
            effect=section.effect,
            slow_s=_slow_s(section),
            is_judged=is_ruled or section.max_per_run is not None,
            refusals=tuple(name for name in section.proves_nothing_happened if name != CallTimeout.__name__),
        )


class _OfTools(dict[str, Terms]):
    """Those of the declared tools; of any other, those of a tool that nothing is known of."""

    def __missing__(self, name: str) -> Terms:
        return _UNDECLARED


def _slow_s(section: Model | Tool) -> float:
    return section.slow_s if section.slow_s is not None else section.timeout_s / 2


_UNDECLARED = Terms.of_tool(Tool(), is_ruled=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledContract:
    """What follows from a contract and never changes. Made by `compiled`."""

    contract: Contract
    digest: str
    rules: RuleBook
    tools: Mapping[str, Terms]
    models: Mapping[str, Terms]
    ladders: Mapping[str, Ladder]
    retries: Mapping[str, RetryPolicy | None]
    observed_retries: Mapping[str, RetryPolicy]
    """The policies that only report what they would have done."""
    protected: Mapping[str, Protected]
    """Of the dependencies that have a circuit breaker, a rate limit or a bulkhead."""
    hedges: Mapping[str, Hedge]


def compiled(contract: Contract | CompiledContract) -> CompiledContract:
    """The contract, compiled; one that is already is returned as it is. Raises `PlimsollError` for rules that do not
    parse and ladders that cannot stand."""
    if isinstance(contract, CompiledContract):
        return contract
    enforced = contract.protections.retry is Mode.ENFORCE
    sections: dict[str, Model | Tool] = {**contract.models, **contract.tools}
    policies = {
        name: RetryPolicy.from_contract(section.retry)
        for name, section in sections.items()
        if section.retry is not None
    }
    rules = RuleBook(contract)
    for model in contract.models.values():
        price_of(model)  # looked up now: the table takes half a second to load, which no run is to wait for
    return CompiledContract(
        contract=contract,
        digest=contract_digest(contract),
        rules=rules,
        tools=_OfTools(
            (name, Terms.of_tool(section, is_ruled=rules.speaks_of(name))) for name, section in contract.tools.items()
        ),
        models={name: Terms.of_model(section) for name, section in contract.models.items()},
        ladders=build_ladders(contract.models),
        retries={name: policies.get(name) if enforced else None for name in sections},
        observed_retries={} if enforced else policies,
        protected={
            name: _protected(section, contract.protections)
            for name, section in sections.items()
            if section.circuit_breaker or section.rate_limit or section.bulkhead
        },
        hedges={
            name: Hedge.from_contract(section.hedge) for name, section in sections.items() if section.hedge is not None
        },
    )


def _protected(section: Model | Tool, protections: Protections) -> Protected:
    breaker, limit, bulkhead = section.circuit_breaker, section.rate_limit, section.bulkhead
    names = ("circuit_breaker", "rate_limit", "bulkhead")
    return Protected(
        circuit_breaker=None if breaker is None else CircuitBreaker.from_contract(breaker, slow_s=_slow_s(section)),
        rate_limit=None if limit is None else RateLimit.from_contract(limit),
        bulkhead=None if bulkhead is None else Bulkhead.from_contract(bulkhead),
        observed=frozenset(name for name in names if getattr(protections, name) is Mode.OBSERVE),
    )
