from collections.abc import Callable

import pytest
from msgspec.structs import replace

from plimsoll.core.errors import JournalCorrupt
from plimsoll.core.events import Record, encode_event
from plimsoll.journal import RunHead, verify_chain
from tests.journal.helpers import ENDED, STARTED, chain, value

HEAD = RunHead(run_id="r", epoch=1, owner="o")
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


DAMAGES: dict[str, tuple[int, Callable[[list[Record]], list[Record]]]] = {
    "body": (2, lambda r: [r[0], replace(r[1], body=encode_event(value(9))), *r[2:]]),
    "date": (2, lambda r: [r[0], replace(r[1], at=2.0), *r[2:]]),
    "epoch": (2, lambda r: [r[0], replace(r[1], epoch=2), *r[2:]]),
    "digest": (3, lambda r: [*r[:2], replace(r[2], digest=bytes(32)), r[3]]),
    "first dropped": (1, lambda r: r[1:]),
    "middle dropped": (3, lambda r: [r[0], r[1], r[3]]),
    "dropped and renumbered": (3, lambda r: [r[0], r[1], replace(r[3], seq=3)]),
    "swapped": (2, lambda r: [r[0], r[2], r[1], r[3]]),
    "doubled": (3, lambda r: [r[0], r[1], r[1], r[2], r[3]]),
    "of another run": (3, lambda r: [*r[:2], *chain(RunHead(run_id="x", epoch=1, owner="o"), value(2))]),
    "back in an earlier epoch": (3, other_epoch),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_where_it_begins(damage: str) -> None:
    place, apply = DAMAGES[damage]
    with pytest.raises(JournalCorrupt) as caught:
        verify_chain(apply(list(RECORDS)))
    assert (caught.value.run_id, caught.value.seq) == ("r", place)


@pytest.mark.parametrize("length", [0, 3])
def test_a_missing_end_shows_against_the_head(length: int) -> None:
    with pytest.raises(JournalCorrupt, match="the head counts 4") as caught:
        verify_chain(RECORDS[:length], head=END)
    assert (caught.value.run_id, caught.value.seq) == ("r", length + 1)


def test_another_end_shows_against_the_head() -> None:
    with pytest.raises(JournalCorrupt):
        verify_chain(chain(HEAD, STARTED, value(1), value(2), value(3)), head=END)
