"""Errors say what happened and what to do; events are written and read back."""

import inspect
from pathlib import Path

import msgspec
import pytest

from plimsoll.core import errors
from plimsoll.core.calls import CallKind, Effect, Ending, ErrorRecord, Fault, Outcome, Status, Usage
from plimsoll.core.errors import (
    ApprovalRefused,
    CallFailed,
    CallTimeout,
    ContractError,
    DayLimitExceeded,
    DecisionRefused,
    JournalCorrupt,
    JournalUnavailable,
    KillSwitchEngaged,
    LimitExceeded,
    MissingExtra,
    Misuse,
    OperationFailed,
    OutputRejected,
    PlimsollError,
    Problem,
    Rejected,
    ReplayMismatch,
    RunBusy,
    RunHalted,
    RunParked,
    Superseded,
    UnknownDependency,
    UnknownRequest,
    UnknownRun,
    Unwind,
)
from plimsoll.core.events import (
    GENESIS,
    CallSettled,
    Record,
    RunEnded,
    RunStarted,
    chain_digest,
    decode_event,
    encode_event,
    event_type,
)

PROBLEM = Problem(file="plimsoll.toml", line=3, field="limits.steps", what="is 0", fix="at least 1")


@pytest.mark.parametrize(
    ("error", "branch", "says"),
    [
        (LimitExceeded("steps", allowed=5, needed=6), Rejected, "6 needed, 5 allowed"),
        (DayLimitExceeded("day_usd", allowed=5, needed=6), LimitExceeded, "raise limits.day.usd in the contract"),
        (ApprovalRefused("refund", reason="denied", note="too old"), Rejected, "(denied): too old"),
        (ApprovalRefused("refund", reason="expired"), Rejected, "(expired). Nothing was done."),
        (KillSwitchEngaged("*", by="ana", reason="stop"), Rejected, "'*' by ana: stop"),
        (CallFailed("refund", fault="timeout", attempts=2, message="slow"), OperationFailed, "after 2 attempt(s)"),
        (CallTimeout("refund", timeout_s=2.0), OperationFailed, "within 2 s"),
        (OutputRejected("refund", fault="empty", detail="nothing"), OperationFailed, "(empty): nothing"),
        (JournalUnavailable("disk full"), OperationFailed, "disk full"),
        (JournalCorrupt("r", 4, "altered"), OperationFailed, "at event 4: altered"),
        (RunBusy("r", owner="o"), OperationFailed, "advanced by o"),
        (Superseded("r", epoch=2), OperationFailed, "epoch 2"),
        (ContractError([PROBLEM]), Misuse, "plimsoll.toml:3: limits.steps: is 0 → at least 1"),
        (ReplayMismatch("r", expected="A", actual="B"), Misuse, "journal has A, the agent now asks for B"),
        (UnknownRun("r"), Misuse, "runs list"),
        (UnknownRequest("a"), Misuse, "approvals list"),
        (UnknownDependency("x", known=["b", "a"]), Misuse, "a, b"),
        (UnknownDependency("x", known=[]), Misuse, "none"),
        (DecisionRefused("a", why="too late"), Misuse, "too late"),
        (MissingExtra("pydantic_ai", extra="pydantic-ai"), Misuse, "plimsoll-ai[pydantic-ai]"),
    ],
)
def test_errors_say_what_happened(error: PlimsollError, branch: type[PlimsollError], says: str) -> None:
    assert isinstance(error, branch)
    assert says in str(error)


def test_control_flow_is_no_exception() -> None:
    for signal in (RunParked("approval", detail="r.a1"), RunHalted("a limit")):
        assert isinstance(signal, Unwind)
        assert not isinstance(signal, Exception)


def test_every_error_is_public_and_drawn_in_the_tree() -> None:
    classes = [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, BaseException)]
    for item in classes:
        assert item.__name__ in errors.__all__
        assert item.__name__ in (errors.__doc__ or ""), item.__name__


SETTLED = CallSettled(
    key="1:look",
    kind=CallKind.TOOL,
    dependency="look",
    effect=Effect.READ,
    args_digest="d",
    args={"b": 1, "a": [None, 2.5]},
    outcome=Outcome(
        status=Status.FAILED,
        error=ErrorRecord(type="E", message="m", fault=Fault.EMPTY, retry_after_s=1.5),
        usage=Usage(input_tokens=3, output_tokens=4, usd=0.1),
    ),
    duration_s=0.5,
)


@pytest.mark.parametrize(
    "event",
    [
        SETTLED,
        RunStarted(agent="a", fingerprint="f", contract_digest="c", input={"x": 1}),
        RunEnded(ending=Ending.DEGRADED, output="so", reason="because", active_s=1.0),
    ],
)
def test_events_are_read_back_as_they_were_written(event: RunStarted | CallSettled | RunEnded) -> None:
    body = encode_event(event)
    assert decode_event(body) == event
    assert encode_event(decode_event(body)) == body


def test_an_event_is_named_by_its_type() -> None:
    assert event_type(SETTLED) == "call_settled"
    with pytest.raises(msgspec.ValidationError):
        decode_event(b'{"type":"nothing"}')


def test_a_records_digest_depends_on_everything_in_it() -> None:
    body = encode_event(SETTLED)
    base = {"run_id": "r", "seq": 1, "epoch": 1, "at": 1.0, "body": body}
    digest = chain_digest(GENESIS, **base)  # type: ignore[arg-type]
    for change in ({"run_id": "s"}, {"seq": 2}, {"epoch": 2}, {"at": 2.0}, {"body": body + b" "}):
        assert chain_digest(GENESIS, **(base | change)) != digest  # type: ignore[arg-type]
    assert chain_digest(digest, **base) != digest  # type: ignore[arg-type]
    assert Record(**base, digest=digest).event == SETTLED  # type: ignore[arg-type]


def test_outcomes_and_usage_add_up() -> None:
    assert Outcome(status=Status.OK).ok
    assert not SETTLED.outcome.ok
    assert Usage(input_tokens=3, output_tokens=4).tokens == 7


def test_core_imports_nothing_of_ours_but_itself() -> None:
    for source in Path(errors.__file__).parent.glob("*.py"):
        for line in source.read_text().splitlines():
            if line.startswith(("from plimsoll", "import plimsoll")):
                assert line.split()[1].startswith("plimsoll.core"), f"{source.name}: {line}"
