"""The audit by itself: what it counts, how checkpoints follow one another, and a run whose head is gone."""

import pytest
from msgspec.structs import replace

from plimsoll.core.events import Record
from plimsoll.journal import MemoryStore, RunHead
from plimsoll.journal.audit import audit, check_signatures
from plimsoll.journal.checkpoints import Checkpoint, checkpoint_after
from plimsoll.journal.trail import Mark
from tests.journal.helpers import in_loop, journal_on, value
from tests.journal.signing import SIGNER


async def commit(store: MemoryStore, run_id: str, *texts: str) -> None:
    log = journal_on(store).open(await store.claim(run_id, owner="one", at=1.0))
    for text in texts:
        log.append(value(text))
    await log.durable()


@in_loop
async def test_events_that_no_checkpoint_covers_are_counted_apart() -> None:
    store = MemoryStore()
    await commit(store, "a", "1", "2")
    await commit(store, "b", "1")
    await store.checkpoint(checkpoint_after(SIGNER, at=5.0))
    await commit(store, "a", "3")
    await commit(store, "late", "1", "2", "3")
    report = await audit(store)
    assert report.damages == []
    assert (report.runs, report.events, report.covered, report.checkpoints) == (3, 7, 3, 1)


def two() -> tuple[Checkpoint, Checkpoint]:
    make = checkpoint_after(SIGNER, at=5.0)
    first = make(None, [], Mark(), Mark(count=1))
    return first, make(first, [], Mark(), Mark(count=2))


@pytest.mark.parametrize("wrong", [{"number": 3}, {"previous": bytes(32)}, {"number": 1, "previous": bytes(32)}])
def test_a_checkpoint_has_the_next_number_and_names_the_one_before(wrong: dict[str, object]) -> None:
    first, second = two()
    assert list(check_signatures([first, second], verify=None, keys=())) == []
    (damage,) = check_signatures([first, replace(second, **wrong)], verify=None, keys=())
    assert damage.what.endswith("does not follow the one before: one is missing, or was changed")


class Ghost(MemoryStore):
    """A store in which a run's head goes away: at once, or once its records were read."""

    left = 0

    async def head(self, run_id: str) -> RunHead | None:
        self.left -= 1
        return None if self.left < 0 else await super().head(run_id)


@pytest.mark.parametrize("heads", [0, 1])
@in_loop
async def test_a_run_without_a_head_is_told(heads: int) -> None:
    store = Ghost()
    store.left = 99
    await commit(store, "a", "1")
    store.left = heads
    report = await audit(store)
    assert [(damage.run_id, damage.seq, damage.what) for damage in report.damages] == [
        ("a", 0, "its head is not there")
    ]
    assert (report.runs, report.events) == (1, 0)


@in_loop
async def test_a_head_that_is_behind_its_events_is_no_journal_in_use() -> None:
    """Records beyond the head are those of a run that went on, as long as its head has gone on, too."""
    store = MemoryStore()
    await commit(store, "a", "1", "2")
    records = await store.read("a")

    class Behind(MemoryStore):
        async def read(self, run_id: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
            return records

    behind = Behind()
    await commit(behind, "a", "1")
    (damage,) = (await audit(behind)).damages
    assert (damage.run_id, damage.seq, damage.what) == ("a", 2, "2 records are there, the head counts 1")
