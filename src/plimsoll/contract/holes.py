"""Holes: where a contract, as it can be read, does without something that the gate holds every agent to.

Each is closed by a setting, or named by a concession. What only shows in trials is for the gate to find.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plimsoll.contract.bounds import bounds
from plimsoll.contract.checking_models import PRIMARY, ladder_of
from plimsoll.contract.concessions import HEADROOM, LATEST_FINDING_S, LEAST_CONFIDENCE, LEAST_STORM_TARGET
from plimsoll.contract.model import GATE_CLAIMS, Contract, GateSection, Model, OutputRule, Retry, Tool
from plimsoll.contract.pricing import price_of, price_table, priced_by_table
from plimsoll.contract.toml_places import Path
from plimsoll.core.calls import Effect, Fault

__all__ = [
    "ANYTHING",
    "RETRIED_OF_MODELS",
    "RETRIED_OF_TOOLS",
    "Hole",
    "holes",
    "takes_any_text",
    "takes_hollow",
    "takes_nothing",
]

ANYTHING = OutputRule(may_be_empty=True)
"""The rule that says no more than that an answer may be empty: nobody looks at it, and it is meant so."""

RETRIED_OF_MODELS = (Fault.RATE_LIMITED, Fault.CONNECTION, Fault.SERVER_ERROR, Fault.EMPTY, Fault.MALFORMED)
"""Faults of a model that pass by themselves: one of them is no reason to give the model up."""

RETRIED_OF_TOOLS = (
    Fault.RATE_LIMITED,
    Fault.SERVER_ERROR,
    Fault.CONNECTION,
    Fault.TIMEOUT,
    Fault.EXCEPTION,
    Fault.EMPTY,
    Fault.MALFORMED,
    Fault.WRONG_SHAPE,
    Fault.ERROR_IN_SUCCESS,
)
"""Faults of a tool that may safely be called again, which another try may cure."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A field that lets something through: the `concession` that accepts it, what follows, and what would close it."""

    concession: str
    path: Path
    what: str
    fix: str


def holes(contract: Contract) -> Iterator[Hole]:
    """Every hole of `contract`, accepted or not."""
    yield from _version(contract)
    yield from _ladder(contract)
    yield from _prices(
        {name: model for name, model in contract.models.items() if model.is_model and model.local is None}
    )
    for name, model in contract.models.items():
        if model.is_model:
            what = "a fault that passes by itself gives this model up"
            yield from _retry(("models", name), model.retry, RETRIED_OF_MODELS, what)
    for name, tool in contract.tools.items():
        yield from _tool(("tools", name), tool)
    yield from _bounds(contract)
    yield from _gate(contract.gate)


def takes_any_text(rule: OutputRule) -> bool:
    """Whether a text that breaks off in the middle passes for an answer."""
    return rule.type in (None, "string") and rule.pattern is None and not _wants_keys(rule)


def takes_nothing(rule: OutputRule) -> bool:
    """Whether null passes for an answer."""
    if rule.may_be_empty is None:
        return rule.type is None and rule.pattern is None and not _wants_keys(rule)
    return rule.may_be_empty


def takes_hollow(rule: OutputRule) -> bool:
    """Whether an object without keys, or a list without items, passes for an answer."""
    if rule.may_be_empty is None:
        return rule.type in (None, "object", "array") and rule.pattern is None and not _wants_keys(rule)
    return rule.may_be_empty


def _wants_keys(rule: OutputRule) -> bool:
    return bool(rule.required) or rule.fresh is not None


def _version(contract: Contract) -> Iterator[Hole]:
    if contract.agent.new_version != "pin":
        what = f"is {contract.agent.new_version}: what two versions do in one run was tried by nobody"
        yield Hole("unpinned_runs", ("agent", "new_version"), what, 'remove it: "pin" lets somebody adopt the run')


def _ladder(contract: Contract) -> Iterator[Hole]:
    """Of a primary that has a ladder: without one, no concession helps."""
    models = contract.models
    primary = models.get(PRIMARY)
    if primary is None or not primary.is_model or not primary.fallback:
        return
    rungs = [models[name] for name in ladder_of(PRIMARY, models)[1:]]
    spare = [model for model in rungs if model.is_model]
    writing = any(tool.effect is not Effect.READ for tool in contract.tools.values())
    here = ("models", PRIMARY, "fallback")
    if len(spare) == len(rungs):
        what = "names no canned answer: when every model is out the run fails, and nobody is answered"
        yield Hole("unanswered_requests", here, what, "end it with a rung that is `canned`, an honest text")
    if not spare:
        what = "names no other model: while primary is out, nothing is served"
        yield Hole("canned_answers", here, what, "name a rung that asks another model, best another provider's")
    elif writing and not any(model.may_write for model in spare):
        what = "names no model that may write: while primary is out, nothing is done"
        yield Hole("canned_answers", here, what, "leave may_write out of one of them")


def _prices(asked: dict[str, Model]) -> Iterator[Hole]:
    free = [name for name, model in asked.items() if not _has_price(model)]
    if free and len(free) == len(asked):
        what = "no model has a price, so money is never counted"
        fix = f"set usd_per_million_input_tokens and usd_per_million_output_tokens{_or_by_table()}"
        yield Hole("unpriced_models", ("limits", "usd"), what, fix)
        return
    for name, model in asked.items():
        yield from _half_priced(name, model)
    for name in free:
        what = "has no price, while others have: what it costs is not counted"
        yield Hole(
            "unpriced_models",
            ("models", name),
            what,
            f"set its prices{_or_by_table()}; a model of your own may cost little, and not nothing",
        )


def _or_by_table() -> str:
    return "" if price_table() else ", or install plimsoll-ai[prices] and give its id"


def _has_price(model: Model) -> bool:
    return price_of(model) is not None


def _half_priced(name: str, model: Model) -> Iterator[Hole]:
    """Of a model that has one price of two."""
    for price in ("usd_per_million_input_tokens", "usd_per_million_output_tokens"):
        if _has_price(model) and not priced_by_table(model) and getattr(model, price) == 0:
            what = "is missing, while the other price is there: half of what it costs is not counted"
            yield Hole("unpriced_models", ("models", name, price), what, "set it, too")


def _retry(here: Path, retry: Retry | None, needed: Iterable[Fault], what: str) -> Iterator[Hole]:
    missing = [fault for fault in needed if retry is None or fault not in retry.on or retry.max_attempts == 1]
    if not missing:
        return
    if retry is None:
        on = ", ".join(f'"{fault}"' for fault in missing)
        yield Hole("unretried_faults", (*here, "retry"), f"is missing: {what}", f"retry = {{ on = [{on}] }}")
    elif retry.on and retry.max_attempts > 1:  # the others are told as what they are: no retry at all
        yield Hole("unretried_faults", (*here, "retry", "on"), f"leaves out {', '.join(missing)}: {what}", "add them")


def _tool(here: Path, tool: Tool) -> Iterator[Hole]:
    if tool.effect is Effect.WRITE:
        if tool.verify is None:
            what = "is missing: whenever nobody knows whether this write happened, the run parks for a person"
            fix = "name a function that finds out by the idempotency key"
            yield Hole("parked_writes", (*here, "verify"), what, fix)
    else:
        stale = (Fault.STALE,) if tool.output.fresh is not None else ()
        needed = (Fault.CONNECTION,) if tool.effect is Effect.TRANSACTION else (*RETRIED_OF_TOOLS, *stale)
        yield from _retry(here, tool.retry, needed, "a fault that another try would cure fails the call")
    if tool.effect is not Effect.READ and not tool.claims:
        what = "is missing: an agent that says it was done, and did nothing, is not found out"
        yield Hole("unnamed_claims", (*here, "claims"), what, "name phrases that say so")
    yield from _output(here, tool.output)


def _output(here: Path, rule: OutputRule) -> Iterator[Hole]:
    if rule == ANYTHING:
        return
    if rule == OutputRule():
        what = "is missing: null, [] and {} pass for an answer, and so does any shape"
        fix = 'output = { type = "object" }, say; may_be_empty = true or false, if you know'
        yield Hole("unchecked_answers", (*here, "output"), what, fix)
    elif takes_any_text(rule):
        what = "takes any text, also one that breaks off in the middle"
        yield Hole("unchecked_answers", (*here, "output"), what, "a pattern that a whole answer matches; or its type")
    elif takes_nothing(rule):
        what = "takes null, which is what is left of an answer that was lost"
        yield Hole("unchecked_answers", (*here, "output", "may_be_empty"), what, "remove it: [] or {} may still be one")
    if rule.may_look_like_error:
        what = "lets an error through that is delivered as a success"
        yield Hole("unchecked_answers", (*here, "output", "may_look_like_error"), what, "remove it")


def _bounds(contract: Contract) -> Iterator[Hole]:
    for bound in bounds(contract):
        if bound.value > HEADROOM * bound.default:
            times = f"{HEADROOM} times the default ({bound.default:g})"
            what = f"is more than {times}: unless runs come near, it bounds nothing"
            yield Hole("loose_limits", bound.path, what, "what a run really needs, and some headroom")


def _gate(gate: GateSection) -> Iterator[Hole]:
    left_out = [claim for claim in GATE_CLAIMS if gate.claims and claim not in gate.claims]
    if left_out:
        what = f"leaves out {', '.join(left_out)}: nobody need show that it holds"
        yield Hole("fewer_claims", ("gate", "claims"), what, "remove it: then all are wanted")
    for name, least in (("storm_target", LEAST_STORM_TARGET), ("confidence", LEAST_CONFIDENCE)):
        if getattr(gate, name) < least:
            what = f"is {getattr(gate, name):g}: too little to go by"
            yield Hole("low_confidence", ("gate", name), what, f"at least {least:g}")
    if gate.finding_within_s > LATEST_FINDING_S:
        what = f"is {gate.finding_within_s:g} s: too late for anybody to act on"
        yield Hole("low_confidence", ("gate", "finding_within_s"), what, f"at most {LATEST_FINDING_S:g}")
