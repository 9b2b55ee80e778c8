"""Mutants: the gate is tested by breaking agents. Each takes one protection away, and must be blocked for it."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

from msgspec.structs import replace

from plimsoll.contract.model import Contract, Mode, Model, Retry, Tool
from plimsoll.core.calls import Effect, Fault
from plimsoll.core.events import CallSettled
from plimsoll.gate.scene import Scene
from plimsoll.gate.sites import SiteKind
from plimsoll.gate.stage import Stage
from plimsoll.gate.verdict import Injection
from plimsoll.journal.store import Outside, Store
from plimsoll.runtime.compiled import DECLINED
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["MUTANTS", "Mutant"]

_TOOL_TROUBLE = ("rate_limited", "server_error", "connection_reset", "response_lost")
_PAYLOADS = ("malformed", "empty", "truncated", "error_in_success")
_HOSTILE = ("hostile_result", "hostile_request")
_CALLS_WITH_EFFECT = frozenset({SiteKind.WRITE})
_ANYWHERE = frozenset(SiteKind)
_NO_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One protection less.

    `change` makes the contract that the mutant really runs under (None where it has nothing to take away), `cripple`
    what it is surrounded by; it is judged by the contract that it was given. `claims` are those of which at least one
    must break. It is tried in the healthy runs, under the fault `kinds` at the sites `at`, and `under` faults together.
    `acted` tells whether the protection did anything in a trial of the whole agent: where it never did, nothing can be
    learnt of its absence.
    """

    name: str
    about: str
    claims: frozenset[str]
    acted: Callable[[Scene], bool]
    change: Callable[[Contract], Contract | None] = lambda contract: contract
    cripple: Callable[[Surroundings], Surroundings] = lambda surroundings: surroundings
    kinds: tuple[str, ...] = ()
    at: frozenset[SiteKind] = field(default=_ANYWHERE)
    under: Callable[[Stage], Iterator[tuple[Injection, ...]]] = lambda stage: iter(())


def _observing(name: str) -> Callable[[Contract], Contract]:
    def change(contract: Contract) -> Contract:
        return replace(contract, protections=replace(contract.protections, **{name: Mode.OBSERVE}))

    return change


def _tools(changed: Callable[[Tool], Tool], *, where: Callable[[Tool], bool]) -> Callable[[Contract], Contract | None]:
    """Changes every tool that fits; None where none does."""

    def change(contract: Contract) -> Contract | None:
        if not any(where(tool) for tool in contract.tools.values()):
            return None
        tools = {name: changed(tool) if where(tool) else tool for name, tool in contract.tools.items()}
        return replace(contract, tools=tools)

    return change


def _with_guards(changed: Callable[[Contract], Contract]) -> Callable[[Contract], Contract | None]:
    return lambda contract: changed(contract) if contract.guards else None


def _without_ladders(contract: Contract) -> Contract | None:
    if not any(model.fallback for model in contract.models.values()):
        return None
    models = {name: replace(model, fallback=()) for name, model in contract.models.items()}
    return _observing("fallback")(replace(contract, models=models))


def _without_own_models(contract: Contract) -> Contract | None:
    own = {name for name, model in contract.models.items() if model.local is not None}
    if not own:
        return None

    def without(rungs: Sequence[str]) -> Iterator[str]:
        for name in rungs:
            yield from without(contract.models[name].fallback) if name in own else (name,)

    models = {
        name: replace(model, fallback=tuple(dict.fromkeys(without(model.fallback))))
        for name, model in contract.models.items()
        if name not in own
    }
    return replace(contract, models=models)


def _barring_nothing(contract: Contract) -> Contract | None:
    if not any(map(_is_barred, contract.models.values())):
        return None
    return replace(contract, models={name: replace(model, may_write=True) for name, model in contract.models.items()})


def _is_barred(model: Model) -> bool:
    return model.is_model and not model.may_write


def _is_own(model: Model) -> bool:
    return model.local is not None


def _all_above(wanted: Callable[[Model], bool]) -> Callable[[Stage], Iterator[tuple[Injection, ...]]]:
    """Each request to a model, with every rung out that stands above one that is wanted."""

    def under(stage: Stage) -> Iterator[tuple[Injection, ...]]:
        for site in stage.baseline.sites if stage.baseline is not None else ():
            top, _, key = site.partition("@")
            rungs = stage.ladders[top].rungs if top in stage.ladders else ()
            for index, rung in enumerate(rungs):
                if index and wanted(rung.model):
                    above = [each.name for each in rungs[:index] if each.model.is_model]
                    yield tuple(Injection(kind="server_error", site=f"{name}@{key}") for name in above)

    return under


def _without_loop_detection(contract: Contract) -> Contract:
    return _observing("loops")(replace(contract, limits=replace(contract.limits, repeats=_NO_LIMIT)))


def _is_write(tool: Tool) -> bool:
    return tool.effect is Effect.WRITE


def _retried_write(tool: Tool) -> Tool:
    on = (Fault.CONNECTION, Fault.TIMEOUT, Fault.SERVER_ERROR, Fault.RATE_LIMITED)
    return replace(tool, effect=Effect.READ, retry=Retry(on=on))


def _deaf(surroundings: Surroundings) -> Surroundings:
    return dataclasses.replace(surroundings, store=cast(Store, _DeafStore(surroundings.store)))


def _mute(surroundings: Surroundings) -> Surroundings:
    return dataclasses.replace(surroundings, sinks=())


class _DeafStore:
    """A store whose kill switches nobody hears."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def outside(self) -> Outside:
        return replace(self._inner.outside(), halts=MappingProxyType({}))


def _alerted(*kinds: str, fault: str = "") -> Callable[[Scene], bool]:
    """Whether a finding of one of these kinds (and that fault) arrived."""

    def acted(scene: Scene) -> bool:
        return any(
            finding.kind in kinds and (not fault or finding.fault == fault) for _, finding in scene.alerts.entries
        )

    return acted


def _asked_people(scene: Scene) -> bool:
    return scene.approvals > 0


def _verified(scene: Scene) -> bool:
    return any(".verify@" in call.site for call in scene.calls)


def _own_served(scene: Scene) -> bool:
    """Whether a model of one's own answered that could serve the request, and never declined."""
    models = scene.stage.contract.models
    writes = scene.stage.baseline is not None and bool(scene.stage.baseline.effects)
    asked = [call for call in scene.calls if call.name in models and _is_own(models[call.name])]
    able = [call for call in asked if call.done and (models[call.name].may_write or not writes)]
    return bool(able) and not any(call.error in DECLINED for call in asked)


def _barred_a_write(scene: Scene) -> bool:
    errors = [record.event.outcome.error for record in scene.records() if isinstance(record.event, CallSettled)]
    return any(error is not None and error.type == "ReadOnly" for error in errors)


def _retried_read(scene: Scene) -> bool:
    return any(call.info.attempt > 1 for call in scene.calls)


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="limits_observed",
        about="limits are only observed",
        claims=frozenset({"bounded"}),
        acted=_alerted("limit"),
        change=_observing("limits"),
        kinds=("loop", "token_flood"),
    ),
    Mutant(
        name="loops_unseen",
        about="loops are only observed, and repeats are not limited",
        claims=frozenset({"bounded"}),
        acted=lambda scene: _alerted("loop")(scene) or _alerted("limit", fault="repeats")(scene),
        change=_without_loop_detection,
        kinds=("loop",),
    ),
    Mutant(
        name="approvals_observed",
        about="approvals are only observed",
        claims=frozenset({"oversight"}),
        acted=_asked_people,
        change=_observing("approvals"),
    ),
    Mutant(
        name="approval_rules_removed",
        about="no tool asks for a person's word",
        claims=frozenset({"oversight"}),
        acted=_asked_people,
        change=_tools(lambda tool: replace(tool, approval=None), where=lambda tool: tool.approval is not None),
    ),
    Mutant(
        name="timeouts_observed",
        about="no attempt is given up",
        claims=frozenset({"latency", "fallbacks", "monitoring"}),
        acted=_alerted("attempt_failed", fault=Fault.TIMEOUT),
        change=_observing("timeout"),
        kinds=("hang",),
    ),
    Mutant(
        name="no_fallback",
        about="no model has another to fall back to",
        claims=frozenset({"fallbacks"}),
        acted=_alerted("fallback"),
        change=_without_ladders,
        kinds=("hang", "server_error"),
        at=frozenset({SiteKind.MODEL}),
    ),
    Mutant(
        name="no_local_rung",
        about="no model of its own answers where the others are out",
        claims=frozenset({"fallbacks"}),
        acted=_own_served,
        change=_without_own_models,
        under=_all_above(_is_own),
    ),
    Mutant(
        name="every_rung_writes",
        about="models answer that may not write, and do",
        claims=frozenset({"oversight"}),
        acted=_barred_a_write,
        change=_barring_nothing,
        under=_all_above(_is_barred),
    ),
    Mutant(
        name="retries_observed",
        about="nothing is tried again",
        claims=frozenset({"fallbacks", "exactly_once"}),
        acted=_retried_read,
        change=_observing("retry"),
        kinds=(*_TOOL_TROUBLE, *_PAYLOADS),
    ),
    Mutant(
        name="answers_unchecked",
        about="whatever comes back is taken for an answer",
        claims=frozenset({"honesty", "fallbacks", "exactly_once"}),
        acted=_alerted("silent_failure"),
        change=_observing("output_check"),
        kinds=_PAYLOADS,
    ),
    Mutant(
        name="claims_observed",
        about="an answer that claims what was not done is only observed",
        claims=frozenset({"honesty"}),
        acted=_alerted("claimed_not_done"),
        change=_observing("silent_failures"),
        kinds=("false_claim",),
    ),
    Mutant(
        name="claims_removed",
        about="the contract names no phrases that claim an effect",
        claims=frozenset({"honesty"}),
        acted=_alerted("claimed_not_done"),
        change=_tools(lambda tool: replace(tool, claims=()), where=lambda tool: bool(tool.claims)),
        kinds=("false_claim",),
    ),
    Mutant(
        name="guards_observed",
        about="guards are only observed",
        claims=frozenset({"oversight", "monitoring"}),
        acted=_alerted("guard_tripped"),
        change=_with_guards(_observing("guards")),
        kinds=_HOSTILE,
    ),
    Mutant(
        name="guards_removed",
        about="nothing judges what is asked, brought or answered",
        claims=frozenset({"oversight", "monitoring"}),
        acted=_alerted("guard_tripped"),
        change=_with_guards(lambda contract: replace(contract, guards={})),
        kinds=_HOSTILE,
    ),
    Mutant(
        name="verify_removed",
        about="no write can be looked up when it is in doubt",
        claims=frozenset({"exactly_once", "fallbacks"}),
        acted=_verified,
        change=_tools(lambda tool: replace(tool, verify=None), where=lambda tool: tool.verify is not None),
        kinds=(*_TOOL_TROUBLE, "crash_after_call"),
        at=_CALLS_WITH_EFFECT,
    ),
    Mutant(
        name="writes_retried",
        about="writes are declared as reads, and tried again",
        claims=frozenset({"exactly_once"}),
        acted=_verified,
        change=_tools(_retried_write, where=_is_write),
        kinds=("response_lost", "crash_after_call"),
        at=_CALLS_WITH_EFFECT,
    ),
    Mutant(
        name="kill_switch_ignored",
        about="nobody hears the kill switch",
        claims=frozenset({"oversight"}),
        acted=_alerted("kill_switch"),
        cripple=_deaf,
        kinds=("kill_switch",),
    ),
    Mutant(
        name="alerts_swallowed",
        about="findings reach nobody",
        claims=frozenset({"monitoring"}),
        acted=_alerted("attempt_failed", "fallback", "recovered_after_crash"),
        cripple=_mute,
        kinds=("connection_reset", "server_error", "crash_before_call"),
    ),
)
"""Every mutant of the self-test."""
