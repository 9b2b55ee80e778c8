"""What monitors read of records: of every event there is, encoded as the journal does."""

import pytest
from hypothesis import given

from plimsoll.core.calls import CallKind, Effect, Ending, ErrorRecord, Fault, Outcome, Status
from plimsoll.core.events import CallSettled, Event, Record, RunEnded, encode_event, event_type
from plimsoll.observability.monitors.views import seen
from tests.journal.events import any_event


def record(event: Event, *, sealed: bool = False) -> Record:
    body = encode_event(event)
    stored, opened = (b"\x01", body) if sealed else (body, None)
    return Record(run_id="r", seq=1, epoch=1, at=0.0, body=stored, digest=b"", opened=opened)


@given(any_event())
def test_every_event_can_be_read(event: Event) -> None:
    assert seen(record(event)).type == event_type(event)


@pytest.mark.parametrize("sealed", [False, True])
def test_the_fields_that_count_are_there(sealed: bool) -> None:
    outcome = Outcome(
        status=Status.FAILED, rung=2, error=ErrorRecord(type="E", message="m", fault=Fault.STALE), value={"kind": 5}
    )
    call = seen(
        record(
            CallSettled(
                key="1:x", kind=CallKind.MODEL, dependency="x", effect=Effect.READ, args_digest="a", outcome=outcome,
                duration_s=2.5,
            ),
            sealed=sealed,
        )
    )  # fmt: skip
    assert (call.kind, call.dependency, call.duration_s) == (CallKind.MODEL, "x", 2.5)
    assert call.outcome is not None and call.outcome.error is not None
    assert (call.outcome.status, call.outcome.rung, call.outcome.error.fault) == (Status.FAILED, 2, Fault.STALE)
    end = seen(record(RunEnded(ending=Ending.HALTED, active_s=3.0, output={"type": "x"}), sealed=sealed))
    assert (end.type, end.ending, end.active_s) == ("run_ended", Ending.HALTED, 3.0)
