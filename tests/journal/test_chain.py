from collections.abc import Callable

import pytest
from msgspec.structs import replace

from plimsoll.core.calls import Ending
from plimsoll.core.errors import JournalCorrupt, Superseded
from plimsoll.core.events import (
    Record,
    RunAdopted,
    RunContinuedEvent,
    RunEnded,
    RunParkedEvent,
    RunResumed,
    encode_event,
)
from plimsoll.journal import RunHead, RunState, verify_chain
from plimsoll.journal.chain import check_expected, follow
from plimsoll.journal.store import CONTINUED
from tests.journal.helpers import ENDED, STARTED, chain, value

HEAD = RunHead(run_id="r", epoch=1, owner="o")
OTHER = RunHead(run_id="x", epoch=1, owner="o")
RECORDS = chain(HEAD, STARTED, value(1), value(2), ENDED)
END = replace(HEAD, seq=4, digest=RECORDS[-1].digest)


def test_a_chain_and_every_prefix_of_it_verify() -> None:
    for length in range(len(RECORDS) + 1):
        verify_chain(RECORDS[:length])
    verify_chain(RECORDS, head=END)
    verify_chain([], head=HEAD)


def other_epoch(records: list[Record]) -> list[Record]:
    later = replace(HEAD, epoch=2, seq=1, digest=records[0].digest)
    second = chain(later, value(1))
    return [records[0], *second, *chain(replace(HEAD, seq=2, digest=second[0].digest), value(2))]


ALTERED = "the record, or the one before it, was altered"
DAMAGES: dict[str, tuple[int, str, Callable[[list[Record]], list[Record]]]] = {
    "body": (2, ALTERED, lambda r: [r[0], replace(r[1], body=encode_event(value(9))), *r[2:]]),
    "date": (2, ALTERED, lambda r: [r[0], replace(r[1], at=2.0), *r[2:]]),
    "epoch": (2, ALTERED, lambda r: [r[0], replace(r[1], epoch=2), *r[2:]]),
    "digest": (3, ALTERED, lambda r: [*r[:2], replace(r[2], digest=bytes(32)), r[3]]),
    "first dropped": (1, "record 2 stands there", lambda r: r[1:]),
    "middle dropped": (3, "record 4 stands there", lambda r: [r[0], r[1], r[3]]),
    "dropped and renumbered": (3, ALTERED, lambda r: [r[0], r[1], replace(r[3], seq=3)]),
    "swapped": (2, "record 3 stands there", lambda r: [r[0], r[2], r[1], r[3]]),
    "doubled": (3, "record 2 stands there", lambda r: [r[0], r[1], r[1], r[2], r[3]]),
    "of another run": (3, "a record of run x stands there", lambda r: [*r[:2], *chain(OTHER, value(2))]),
    "back in an earlier epoch": (3, "written in epoch 1, after one of epoch 2", other_epoch),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_where_it_begins(damage: str) -> None:
    place, why, apply = DAMAGES[damage]
    with pytest.raises(JournalCorrupt) as caught:
        verify_chain(apply(list(RECORDS)))
    assert (caught.value.run_id, caught.value.seq) == ("r", place)
    assert str(caught.value).endswith(f": {why}")


@pytest.mark.parametrize("length", [0, 3])
def test_a_missing_end_shows_against_the_head(length: int) -> None:
    with pytest.raises(JournalCorrupt, match="the head counts 4") as caught:
        verify_chain(RECORDS[:length], head=END)
    assert (caught.value.run_id, caught.value.seq) == ("r", length + 1)


def test_another_end_shows_against_the_head() -> None:
    with pytest.raises(JournalCorrupt, match="the digest in its head is not that of record 4, its last") as caught:
        verify_chain(chain(HEAD, STARTED, value(1), value(2), value(3)), head=END)
    assert (caught.value.run_id, caught.value.seq) == ("r", 4)


def test_a_claim_that_was_decided_on_another_epoch_says_which() -> None:
    with pytest.raises(Superseded) as caught:
        check_expected("r", 2, 3)
    assert (caught.value.run_id, caught.value.epoch) == ("r", 2)


def test_an_end_leaves_nothing_to_wake_for() -> None:
    parked = follow(HEAD, chain(HEAD, RunParkedEvent(reason="timer", detail="t", active_s=1.0, until=9.0)))
    assert parked.wake_at == 9.0
    assert follow(parked, chain(parked, ENDED)).wake_at is None


def test_a_run_that_goes_on_as_another_has_no_other_reason_until_it_ends() -> None:
    head = follow(HEAD, chain(HEAD, STARTED, RunContinuedEvent(following="r~2", input=1)))
    assert (head.state, head.reason) == (RunState.RUNNING, CONTINUED)
    head = follow(head, chain(head, RunResumed(crashed=True, fingerprint="f")))
    assert (head.state, head.reason) == (RunState.RUNNING, CONTINUED)
    head = follow(head, chain(head, RunEnded(ending=Ending.CONTINUED, output=None)))
    assert (head.state, head.reason) == (RunState.ENDED, "")


def test_an_adopted_run_belongs_to_the_new_version() -> None:
    head = follow(HEAD, chain(HEAD, STARTED, RunAdopted(by="ann", old="f", new="g")))
    assert (head.fingerprint, head.state, head.seq) == ("g", RunState.RUNNING, 2)


def test_a_head_tells_how_many_answers_are_asked_for_while_it_is_parked() -> None:
    for told, asks in ((None, 1), (0, 0), (2, 2)):
        parked = follow(HEAD, chain(HEAD, RunParkedEvent(reason="approval", detail="", active_s=1.0, asks=told)))
        assert parked.asks == asks
        assert follow(parked, chain(parked, RunResumed(crashed=False, fingerprint="f"))).asks == 0
        assert follow(parked, chain(parked, ENDED)).asks == 0
