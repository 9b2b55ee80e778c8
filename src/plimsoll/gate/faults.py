"""The registry of fault kinds: every one that the gate tries."""

from collections.abc import Mapping
from types import MappingProxyType

from plimsoll.contract.concessions import SPIKE
from plimsoll.core.calls import Fault
from plimsoll.gate.fault_kinds import Expected, FaultKind, How
from plimsoll.gate.sites import CALLS, SiteKind

__all__ = ["KINDS"]

_MODEL, _READ, _WRITE, _VERIFY = SiteKind.MODEL, SiteKind.READ, SiteKind.WRITE, SiteKind.VERIFY
_TOOLS = frozenset({_READ, _WRITE, _VERIFY})
_ANSWERING = CALLS - {SiteKind.COMMIT}
"""A commit is a statement to a database: it works, or its connection breaks."""


def _of(*faults: str, kinds: tuple[str, ...] = (), names: bool = True) -> Expected:
    return Expected(frozenset(faults), frozenset(kinds), names)


_DEPENDENCIES = (
    FaultKind(
        name="latency_spike",
        about=f"the answer takes {SPIKE:g} of the dependency's timeout",
        how=How.DELAY,
        strikes=CALLS,
        survivable=CALLS,
        claims=("monitoring", "latency"),
        finding=_of("slow", "timeout"),
        goal_claim="latency",
        seconds=SPIKE,
    ),
    FaultKind(
        name="hang",
        about="the dependency never answers again",
        how=How.HANG,
        strikes=CALLS,
        lasting=CALLS,
        survivable=frozenset({_MODEL}),
        claims=("monitoring", "latency"),
        finding=_of("timeout"),
        goal_claim="latency",
    ),
    FaultKind(
        name="rate_limited",
        about="429, with Retry-After: 2, once",
        how=How.RAISE,
        fault=Fault.RATE_LIMITED,
        strikes=frozenset({_MODEL, *_TOOLS}),
        survivable=frozenset({_MODEL, *_TOOLS}),
        claims=("monitoring",),
        finding=_of("rate_limited"),
    ),
    FaultKind(
        name="server_error",
        about="5xx: of a model from there on, of a tool once",
        how=How.RAISE,
        fault=Fault.SERVER_ERROR,
        strikes=_ANSWERING,
        lasting=frozenset({_MODEL}),
        survivable=CALLS,
        claims=("monitoring",),
        finding=_of("server_error"),
    ),
    FaultKind(
        name="server_error_once",
        about="5xx of a model, once",
        how=How.RAISE,
        fault=Fault.SERVER_ERROR,
        strikes=frozenset({_MODEL}),
        survivable=frozenset({_MODEL}),
        claims=("monitoring",),
        finding=_of("server_error"),
    ),
    FaultKind(
        name="exception",
        about="a tool fails with an error of its own that says nothing, before anything was done, once",
        how=How.RAISE,
        fault=Fault.EXCEPTION,
        strikes=frozenset({_READ, _WRITE}),
        survivable=frozenset({_READ, _WRITE}),
        claims=("monitoring",),
        finding=_of("exception"),
    ),
    FaultKind(
        name="connection_reset",
        about="the connection breaks before anything was done, once",
        how=How.RAISE,
        fault=Fault.CONNECTION,
        strikes=CALLS,
        survivable=CALLS,
        claims=("monitoring",),
        finding=_of("connection"),
    ),
    FaultKind(
        name="response_lost",
        about="the effect happens, then the connection breaks before the answer, once",
        how=How.LOSE,
        fault=Fault.CONNECTION,
        strikes=frozenset({_READ, _WRITE, SiteKind.COMMIT}),
        survivable=frozenset({_READ, _WRITE, SiteKind.COMMIT}),
        claims=("monitoring", "exactly_once"),
        finding=_of("connection"),
    ),
    FaultKind(
        name="answer_never_comes",
        about="the effect happens, then the answer never comes, once",
        how=How.SILENCE,
        fault=Fault.TIMEOUT,
        strikes=frozenset({_READ, _WRITE}),
        survivable=frozenset({_READ, _WRITE}),
        claims=("monitoring", "latency", "exactly_once"),
        finding=_of("timeout"),
    ),
)

_PAYLOADS = (
    FaultKind(
        name="malformed",
        about="an answer that cannot be read, once",
        how=How.FORGE,
        fault=Fault.MALFORMED,
        strikes=_ANSWERING - {_VERIFY},
        survivable=CALLS,
        claims=("monitoring", "honesty"),
        finding=_of("malformed", "wrong_shape", "exception"),
    ),
    FaultKind(
        name="empty",
        about="an answer that says nothing, once: of a model no word, of a tool null",
        how=How.FORGE,
        fault=Fault.EMPTY,
        strikes=_ANSWERING - {_VERIFY},
        survivable=CALLS,
        claims=("monitoring", "honesty"),
        finding=_of("empty", "whitespace"),
    ),
    FaultKind(
        name="hollow",
        about="a tool's answer of the right kind with nothing in it, {} or [], once",
        how=How.HOLLOW,
        fault=Fault.EMPTY,
        strikes=frozenset({_READ, _WRITE}),
        survivable=frozenset({_READ, _WRITE}),
        claims=("monitoring", "honesty"),
        finding=_of("empty"),
    ),
    FaultKind(
        name="stale",
        about="a tool's answer whose date is older than its `fresh` allows, once",
        how=How.AGE,
        fault=Fault.STALE,
        strikes=frozenset({_READ, _WRITE}),
        survivable=frozenset({_READ, _WRITE}),
        claims=("monitoring", "honesty"),
        finding=_of("stale"),
    ),
    FaultKind(
        name="truncated",
        about="a model's answer is cut off, once",
        how=How.FORGE,
        fault=Fault.TRUNCATED,
        strikes=frozenset({_MODEL}),
        survivable=frozenset({_MODEL}),
        claims=("monitoring", "honesty"),
        finding=_of("truncated"),
    ),
    FaultKind(
        name="truncated_stream",
        about="a streamed answer breaks off after its first part, once",
        how=How.BREAK,
        fault=Fault.CONNECTION,
        strikes=frozenset({_MODEL}),
        survivable=frozenset({_MODEL}),
        claims=("monitoring", "honesty"),
        finding=_of("connection"),
    ),
    FaultKind(
        name="error_in_success",
        about="an error, delivered as a success; nothing was done, once",
        how=How.FORGE_INSTEAD,
        fault=Fault.ERROR_IN_SUCCESS,
        strikes=_ANSWERING - {_VERIFY},
        survivable=CALLS,
        claims=("monitoring", "honesty"),
        finding=_of("error_in_success"),
    ),
)

_PROCESS = (
    FaultKind(
        name="crash_at_append",
        about="the process dies while it writes its journal",
        how=How.CRASH_APPEND,
        strikes=frozenset({SiteKind.APPEND}),
        survivable=frozenset({SiteKind.APPEND}),
        claims=("monitoring", "exactly_once"),
        finding=_of("crash", names=False),
        goal_claim="exactly_once",
        variants=("all", "none", "prefix"),
    ),
    FaultKind(
        name="crash_before_call",
        about="the process dies just before a call is sent",
        how=How.CRASH_BEFORE,
        strikes=CALLS,
        survivable=CALLS,
        claims=("monitoring", "exactly_once"),
        finding=_of("crash", names=False),
        goal_claim="exactly_once",
    ),
    FaultKind(
        name="crash_after_call",
        about="the process dies after a call took effect, before its answer is recorded",
        how=How.CRASH_AFTER,
        strikes=CALLS,
        survivable=CALLS,
        claims=("monitoring", "exactly_once"),
        finding=_of("crash", names=False),
        goal_claim="exactly_once",
    ),
    FaultKind(
        name="journal_blip",
        about="the journal cannot be written for half as long as a run waits for it",
        how=How.OUTAGE,
        strikes=frozenset({SiteKind.APPEND}),
        survivable=frozenset({SiteKind.APPEND}),
        claims=("monitoring", "exactly_once"),
        finding=_of("JournalUnavailable", kinds=("journal",), names=False),
        goal_claim="exactly_once",
        seconds=0.5,
    ),
    FaultKind(
        name="journal_outage",
        about="the journal cannot be written for 60 s, or four times as long as a run waits for it",
        how=How.OUTAGE,
        strikes=frozenset({SiteKind.APPEND}),
        survivable=frozenset({SiteKind.APPEND}),
        claims=("monitoring", "exactly_once"),
        finding=_of("JournalUnavailable", kinds=("journal",), names=False),
        goal_claim="exactly_once",
        seconds=60.0,
    ),
)

_GUARDED = (
    FaultKind(
        name="guard_fails",
        about="a guard fails with an error of its own, once",
        how=How.RAISE,
        fault=Fault.EXCEPTION,
        strikes=frozenset({SiteKind.GUARD}),
        survivable=frozenset({SiteKind.GUARD}),
        claims=("oversight", "monitoring"),
        finding=_of("exception", kinds=("guard_failed",)),
        goal_claim="oversight",
    ),
    FaultKind(
        name="guard_hangs",
        about="a guard never answers again",
        how=How.HANG,
        strikes=frozenset({SiteKind.GUARD}),
        lasting=frozenset({SiteKind.GUARD}),
        survivable=frozenset({SiteKind.GUARD}),
        claims=("oversight", "monitoring", "latency"),
        finding=_of("timeout", kinds=("guard_failed",)),
        goal_claim="oversight",
    ),
    FaultKind(
        name="hostile_result",
        about="a tool's true answer has a hostile text in it, once",
        how=How.TAINT,
        strikes=frozenset({_READ, _WRITE}),
        claims=("oversight", "monitoring"),
        finding=_of(kinds=("guard_tripped",), names=False),
        goal_claim="oversight",
    ),
    FaultKind(
        name="hostile_request",
        about="what the agent is asked has a hostile text in it",
        how=How.TAINT,
        strikes=frozenset({SiteKind.SCENARIO}),
        claims=("oversight", "monitoring"),
        finding=_of(kinds=("guard_tripped",), names=False),
        goal_claim="oversight",
    ),
)

_PEOPLE_AND_MODEL = (
    FaultKind(
        name="approver_silent",
        about="nobody answers a request for approval until it has expired",
        how=How.PEOPLE,
        strikes=frozenset({SiteKind.APPROVAL}),
        claims=("oversight", "monitoring"),
        finding=_of("expired"),
    ),
    FaultKind(
        name="approver_denies",
        about="the person says no",
        how=How.PEOPLE,
        strikes=frozenset({SiteKind.APPROVAL}),
        claims=("oversight",),
    ),
    FaultKind(
        name="approver_changes_arguments",
        about="a decision arrives that was made for other arguments",
        how=How.PEOPLE,
        strikes=frozenset({SiteKind.APPROVAL}),
        claims=("oversight", "monitoring"),
        finding=_of("invalid_decision"),
    ),
    FaultKind(
        name="approver_twice",
        about="the same decision is submitted twice, and its opposite after that",
        how=How.PEOPLE,
        strikes=frozenset({SiteKind.APPROVAL}),
        survivable=frozenset({SiteKind.APPROVAL}),
        claims=("oversight",),
        goal_claim="oversight",
    ),
    FaultKind(
        name="kill_switch",
        about="an operator stops everything while a call is under way, or while a person is asked",
        how=How.KILL,
        strikes=frozenset({*CALLS, SiteKind.APPROVAL}),
        claims=("oversight",),
        finding=_of("all", kinds=("kill_switch",), names=False),
    ),
    FaultKind(
        name="loop",
        about="the model itself does the same over and over",
        how=How.ADVERSARY,
        strikes=frozenset({SiteKind.SCENARIO}),
        claims=("bounded", "monitoring"),
        finding=_of(kinds=("loop", "limit"), names=False),
    ),
    FaultKind(
        name="token_flood",
        about="the model itself answers without end",
        how=How.ADVERSARY,
        strikes=frozenset({SiteKind.SCENARIO}),
        claims=("bounded", "monitoring"),
        finding=_of(kinds=("limit", "loop"), names=False),
    ),
    FaultKind(
        name="false_claim",
        about="the model itself says that something was done, and did nothing",
        how=How.ADVERSARY,
        strikes=frozenset({SiteKind.SCENARIO}),
        claims=("honesty", "monitoring"),
        finding=_of(kinds=("claimed_not_done",), names=False),
    ),
)

KINDS: Mapping[str, FaultKind] = MappingProxyType(
    {kind.name: kind for kind in (*_DEPENDENCIES, *_PAYLOADS, *_PROCESS, *_GUARDED, *_PEOPLE_AND_MODEL)}
)
"""Every fault kind by name, in the order in which they are tried and reported."""
