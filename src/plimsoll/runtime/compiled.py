"""A contract made ready to run: its rules compiled, its ladders built, once for all runs and all processes."""

from collections.abc import Mapping
from dataclasses import dataclass

from plimsoll.contract.loading import contract_digest
from plimsoll.contract.model import Contract, Mode, Model, Tool
from plimsoll.oversight.rules import RuleBook
from plimsoll.policies.ladder import Ladder, build_ladders
from plimsoll.policies.retry import RetryPolicy

__all__ = ["CompiledContract", "compiled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledContract:
    """What follows from a contract and never changes. Made by `compiled`."""

    contract: Contract
    digest: str
    rules: RuleBook
    ladders: Mapping[str, Ladder]
    retries: Mapping[str, RetryPolicy | None]
    observed_retries: Mapping[str, RetryPolicy]
    """The policies that only report what they would have done."""


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
    return CompiledContract(
        contract=contract,
        digest=contract_digest(contract),
        rules=RuleBook(contract),
        ladders=build_ladders(contract.models),
        retries={name: policies.get(name) if enforced else None for name in sections},
        observed_retries={} if enforced else policies,
    )
