"""Child runs: another agent, called by this one, in a run and a journal of its own.

A child's id follows from its parent's and the call's key, so after a crash the parent's replay finds the very child
that it began, and goes on with it. What a child did stands in the child's journal: a call to one is never in doubt.
"""

from plimsoll.contract.model import Mode
from plimsoll.core.calls import CallKind, Effect, Ending, ErrorRecord, Fault, Outcome, Status, idempotency_key
from plimsoll.core.errors import DayLimitExceeded, JournalCorrupt, ReplayMismatch, RunBusy, RunHandedOff, RunParked
from plimsoll.core.events import ApprovalRequested, CallIntended
from plimsoll.runtime.heeding import heed
from plimsoll.runtime.kin import ChildExchange, Descent
from plimsoll.runtime.lineage import child_id
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.state import RunState

__all__ = ["follow", "taken_over"]

_DEGRADED_RUNG = 1
"""In the outcome of a child that is degraded: it was not its best that answered."""


async def follow(state: RunState, exchange: ChildExchange, key: str) -> Outcome:
    """Begins the child of the call `key`, or goes on with it, and returns how it ended.

    Parks the run while the child waits: for whatever it waits, and once its siblings have come to rest as well.
    """
    if state.replay.intent(key) is None:
        await _intend(state, exchange, key)
    state.check_deadline()
    state.open_children.add(key)
    try:
        result = await _ended(state, exchange, key)
    except DayLimitExceeded as refused:  # there is no child: it may not begin today
        state.open_children.discard(key)
        error = ErrorRecord(type=DayLimitExceeded.__name__, message=str(refused), fault=Fault.REFUSED)
        return Outcome(status=Status.REJECTED, error=error, attempts=0)
    state.open_children.discard(key)
    if not result.answered:
        await heed(state)  # what halted the child may halt this run too
    return _outcome(exchange, result)


async def _ended(state: RunState, exchange: ChildExchange, key: str) -> RunResult:
    """How the child ended. Raises `RunParked` while it has not."""
    waiting_for: tuple[ApprovalRequested, ...] = ()
    try:
        with state.siblings.one_more():
            result = await exchange.run(key, _descent(state))
        if result.ending is not Ending.PARKED:
            return result
        waiting_for = result.waiting_for
    except (RunBusy, ReplayMismatch, JournalCorrupt):
        pass  # somebody else goes on with it, or nobody can until somebody has looked at it
    run_id = child_id(state.id, key)
    state.asked_below[run_id] = waiting_for
    await state.siblings.rest(state.env.clock)
    raise RunParked("child", detail=run_id)


def _descent(state: RunState) -> Descent:
    enforced = state.env.contract.protections.limits is Mode.ENFORCE
    return Descent(
        parent=state.id,
        within=state.scopes,
        deadline=state.deadline if enforced else None,
        taken_from=state.taken_from,
        criticality=state.criticality,
    )


async def _intend(state: RunState, exchange: ChildExchange, key: str) -> None:
    """The durable intent: a child begins only after everything that led to it is recorded."""
    state.reserve(exchange, key, now=state.env.clock.monotonic())
    await state.commit(
        CallIntended(
            key=key,
            kind=CallKind.RUN,
            dependency=exchange.dependency,
            effect=Effect.IDEMPOTENT,
            args=exchange.args,
            args_digest=exchange.args_digest,
            idempotency_key=idempotency_key(state.id, key),
        )
    )
    await heed(state)


def _outcome(exchange: ChildExchange, result: RunResult) -> Outcome:
    value = exchange.encode(result)
    if result.answered:
        rung = _DEGRADED_RUNG if result.ending is Ending.DEGRADED else 0
        return Outcome(status=Status.OK, value=value, rung=rung)
    kind = "RunHalted" if result.ending is Ending.HALTED else "RunFailed"
    why = f"run {result.run_id} {result.ending}: {result.reason}"
    return Outcome(status=Status.FAILED, value=value, error=ErrorRecord(type=kind, message=why, fault=Fault.EXCEPTION))


def taken_over(outcome: Outcome) -> RunHandedOff:
    """What ends a run that handed off to a child, whose call has this outcome."""
    value = outcome.value
    return RunHandedOff(value["ending"], output=value["output"], reason=value["reason"])
