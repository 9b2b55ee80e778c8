"""Checkpoints: what they cover, how they follow one another, and when they are made."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import JournalUnavailable, Misuse
from plimsoll.core.events import GENESIS
from plimsoll.journal import Halt, InboxEntry, InboxKind, MemoryStore
from plimsoll.journal.checkpointing import Checkpointer
from plimsoll.journal.checkpoints import (
    Checkpoint,
    Checkpointing,
    Leaf,
    MakeCheckpoint,
    checkpoint_after,
    parse_checkpoint,
)
from plimsoll.journal.evidence import EvidenceStore
from plimsoll.journal.merkle import merkle_root
from plimsoll.journal.messages import message_link, stored_message
from plimsoll.journal.signing import SigningKey, new_signing_key, public_key, verify
from plimsoll.journal.trail import Mark
from tests.journal.conftest import OpenStore
from tests.journal.helpers import STARTED, in_loop, journal_on, reports, settle, value
from tests.journal.signing import OTHER_SIGNER, PRIVATE, PUBLIC, SIGNER

MAKE = checkpoint_after(SIGNER, at=7.5)


async def commit(store: EvidenceStore, run_id: str, *texts: str, owner: str = "one") -> None:
    log = journal_on(store).open(await store.claim(run_id, owner=owner, at=1.0))
    for text in texts:
        log.append(value(text))
    await log.durable()


@in_loop
async def test_a_checkpoint_covers_the_runs_that_went_on(open_store: OpenStore) -> None:
    store = open_store("one")
    assert await store.checkpoint(MAKE) is None, "nothing is there"
    await store.claim("claimed", owner="one", at=1.0)
    await commit(store, "a", "1", "2")
    await commit(store, "b", "1")
    first = await store.checkpoint(MAKE)
    assert await store.checkpoint(MAKE) is None, "nothing is new"
    await commit(store, "a", "3")
    await commit(store, "c", "1")
    second = await store.checkpoint(checkpoint_after(SIGNER, at=8.5))
    assert first is not None and second is not None
    assert await store.checkpoints() == [first, second]
    assert (first.number, first.at, first.previous, first.runs) == (1, 7.5, bytes(32), 2)
    assert (second.number, second.at, second.previous, second.runs) == (2, 8.5, first.digest, 2)
    leaves = [await store.leaves(1), await store.leaves(2)]
    places = [[(leaf.run_id, leaf.seq) for leaf in some] for some in leaves]
    assert places == [[("a", 2), ("b", 1)], [("a", 3), ("c", 1)]]
    assert leaves[0][0].digest == (await store.read("a"))[1].digest
    for checkpoint, some in zip((first, second), leaves, strict=True):
        assert checkpoint.root == merkle_root([leaf.encoded for leaf in some])
        assert checkpoint.key == public_key(PUBLIC, source="here")
        assert checkpoint.signed_by(verify)
    await store.close()


@in_loop
async def test_messages_and_acts_are_covered_too(open_store: OpenStore) -> None:
    store = open_store("one")
    entries = [
        InboxEntry(request_id=name, run_id=f"run-{name}", kind=InboxKind.DOUBT, body=1, by="ann", at=1.0)
        for name in ("q", "p")
    ]
    for entry in entries:
        await store.post(entry)
    first = await store.checkpoint(MAKE)
    await store.engage(Halt(scope="*", by="ann", reason="enough", at=1.0))
    second = await store.checkpoint(MAKE)
    assert first is not None and second is not None
    assert (first.runs, first.inbox.count, first.acts) == (0, 2, Mark())
    one = message_link(GENESIS, 1, stored_message(entries[0], None))
    two = message_link(one, 2, stored_message(entries[1], None))
    assert [await store.inbox_digest(count) for count in range(4)] == [GENESIS, one, two, None]
    assert first.inbox.digest == two
    assert (second.inbox, second.acts.count) == (first.inbox, 1)
    assert second.acts.digest == (await store.acts())[0].digest
    assert await store.checkpoint(MAKE) is None, "nothing is new"
    await store.close()


@in_loop
async def test_a_checkpoint_that_cannot_be_signed_is_none(open_store: OpenStore) -> None:
    def broken(*args: object) -> Checkpoint:
        raise Misuse("the key is on holiday")

    store = open_store("one")
    await commit(store, "a", "1")
    with pytest.raises(Misuse, match="holiday"):
        await store.checkpoint(broken)
    assert await store.checkpoints() == []
    made = await store.checkpoint(MAKE)
    assert made is not None and made.number == 1
    await store.close()


@in_loop
async def test_owners_take_turns(open_store: OpenStore) -> None:
    one, two = open_store("one"), open_store("two")
    for turn, (store, owner) in enumerate(((one, "one"), (two, "two")) * 2, 1):
        await commit(store, "a", f"{turn}", owner=owner)
        made = await store.checkpoint(MAKE)
        assert made is not None and (made.number, made.runs) == (turn, 1)
    await one.close()
    await two.close()


def checkpoint() -> Checkpoint:
    return MAKE(None, [Leaf("a", 2, bytes(32))], Mark(), Mark(count=1, digest=bytes(32)))


def test_a_checkpoint_is_read_back_as_it_was_written() -> None:
    made = checkpoint()
    assert parse_checkpoint(made.body, made.signature) == made
    assert b"signature" not in made.body
    for body in (b"", b"{}", made.body.replace(b'"number":1', b'"number":"1"')):
        with pytest.raises(ValueError):
            parse_checkpoint(body, made.signature)
    with pytest.raises(ValueError, match=r"^it is not written as a checkpoint is$"):
        parse_checkpoint(made.body + b" ", made.signature)


@pytest.mark.parametrize("field", Checkpoint.__struct_fields__)
def test_everything_in_a_checkpoint_is_signed(field: str) -> None:
    made = checkpoint()
    other = {"number": 2, "at": 8.5, "runs": 2, "acts": Mark(count=1), "inbox": Mark()}
    altered = replace(made, **{field: other.get(field, b"\x01" * 32)})
    assert made.signed_by(verify) and not altered.signed_by(verify)
    assert altered.digest != made.digest


# --------------------------------------------------------------------------------------------------------------- keys


def test_signatures_are_those_of_one_key() -> None:
    signature = SIGNER.sign(b"message")
    public = public_key(PUBLIC, source="here")
    assert SIGNER.public == public and len(public) == 32
    assert verify(public, b"message", signature)
    for key, message, signed in (
        (OTHER_SIGNER.public, b"message", signature),
        (public, b"massage", signature),
        (public, b"message", signature[:-1]),
        (b"short", b"message", signature),
    ):
        assert not verify(key, message, signed)


def test_a_new_key_signs() -> None:
    private, public = new_signing_key()
    assert (private, public) != new_signing_key()
    signer = SigningKey(private, source="here")
    assert verify(public_key(public, source="here"), b"message", signer.sign(b"message"))


@pytest.mark.parametrize("pem", ["", "nonsense", PUBLIC, PRIVATE.replace("M", "N")], ids=range(4))
def test_what_is_no_private_key(pem: str) -> None:
    with pytest.raises(Misuse, match=r"audit\.key holds no Ed25519 private key in PEM; `plimsoll keys make --signing`"):
        SigningKey(pem, source="audit.key")


@pytest.mark.parametrize("pem", ["", "nonsense", PRIVATE], ids=range(3))
def test_what_is_no_public_key(pem: str) -> None:
    with pytest.raises(Misuse, match=r"audit\.pub holds no Ed25519 public key in PEM"):
        public_key(pem, source="audit.pub")


# --------------------------------------------------------------------------------------------------- when they are made


class Watched(MemoryStore):
    """A store that waits at `gate`, or fails, before it makes a checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def checkpoint(self, make: MakeCheckpoint) -> Checkpoint | None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await super().checkpoint(make)

    async def made(self) -> list[tuple[int, float]]:
        await settle()
        return [(checkpoint.number, checkpoint.at) for checkpoint in await self.checkpoints()]


def watched(clock: ManualClock, *, every_events: int = 3, every_s: float = 60.0) -> tuple[Watched, Checkpointer]:
    store = Watched()
    return store, Checkpointer(store, SIGNER, clock=clock, every_events=every_events, every_s=every_s)


@in_loop
async def test_one_is_made_after_so_many_events() -> None:
    clock = ManualClock(epoch_s=100.0)
    store, checkpointer = watched(clock)
    journal = journal_on(store)
    journal.subscribe(checkpointer.committed)
    log = journal.open(await store.claim("r", owner="one", at=0.0))
    for _ in range(2):
        await log.commit(value(1))
        assert await store.made() == []
    log.append(value(3))
    assert await store.made() == [], "not durable yet"
    await log.durable()
    assert await store.made() == [(1, 100.0)]
    assert await store.leaves(1) == [Leaf("r", 3, log.digest)]
    await log.commit(value(4))
    assert len(await store.made()) == 1
    await checkpointer.settle()
    assert len(await store.made()) == 2
    await checkpointer.settle()
    assert len(await store.made()) == 2


@in_loop
async def test_one_is_made_after_so_many_seconds_in_which_there_was_an_event() -> None:
    clock = ManualClock(epoch_s=100.0)
    store, checkpointer = watched(clock)
    log = journal_on(store).open(await store.claim("r", owner="one", at=0.0))
    first, second = (1, 160.0), (2, 220.0)
    for seconds, made in ((59.0, []), (60.0, [first]), (119.0, [first]), (120.0, [first, second])):
        clock.advance(seconds - clock.monotonic())
        checkpointer.committed([await log.commit(STARTED)])
        assert await store.made() == made
    clock.advance(1000.0)
    assert len(await store.made()) == 2, "nothing is new"


@in_loop
async def test_one_at_a_time_is_under_way() -> None:
    store, checkpointer = watched(ManualClock(), every_events=1)
    store.gate.clear()
    log = journal_on(store).open(await store.claim("r", owner="one", at=0.0))
    for number in range(5):
        checkpointer.committed([await log.commit(value(number))])
        await settle()
    assert len(asyncio.all_tasks()) == 2
    closing = asyncio.create_task(checkpointer.settle())
    await settle()
    assert not closing.done()
    store.gate.set()
    await closing
    assert [leaf.seq for leaf in await store.leaves(1)] == [5]


@in_loop
async def test_one_that_cannot_be_made_is_made_later() -> None:
    found = reports()
    store, checkpointer = watched(ManualClock(), every_events=2)
    log = journal_on(store).open(await store.claim("r", owner="one", at=0.0))
    store.error = JournalUnavailable("the disk is full")
    checkpointer.committed([await log.commit(value(1)), await log.commit(value(2))])
    assert await store.made() == []
    store.error = None
    checkpointer.committed([await log.commit(value(3))])
    assert len(await store.made()) == 1
    assert found == []
    store.error = Misuse("the key is on holiday")
    await log.commit(value(4))
    checkpointer.committed([await log.commit(value(5))])
    checkpointer.committed([await log.commit(value(6))])
    with pytest.raises(Misuse, match="holiday"):
        await checkpointer.settle()


@in_loop
async def test_whoever_ends_waits_for_the_one_under_way_and_makes_no_more_than_is_needed() -> None:
    store, checkpointer = watched(ManualClock(), every_events=1)
    under_way: list[int] = []
    calls = 0
    make = store.checkpoint

    async def counted(given: MakeCheckpoint) -> Checkpoint | None:
        nonlocal calls
        calls += 1
        under_way.append(calls)
        assert len(under_way) == 1, "two at a time"
        made = await make(given)
        under_way.clear()
        return made

    store.checkpoint = counted  # type: ignore[method-assign]
    log = journal_on(store).open(await store.claim("r", owner="one", at=0.0))
    store.gate.clear()
    for number in range(2):
        checkpointer.committed([await log.commit(value(number))])
        await settle()
    closing = asyncio.create_task(checkpointer.settle())
    await settle()
    store.gate.set()
    await closing
    assert calls == 2, "the one under way, and one for the event that came meanwhile"
    await checkpointer.settle()
    assert calls == 2


@in_loop
async def test_whoever_ends_early_makes_the_first_one_then() -> None:
    store, checkpointer = watched(ManualClock())
    await checkpointer.settle()
    assert await store.made() == [], "nothing is there"
    log = journal_on(store).open(await store.claim("r", owner="one", at=0.0))
    checkpointer.committed([await log.commit(value(1))])
    await checkpointer.settle()
    assert len(await store.made()) == 1


@in_loop
async def test_by_default_one_is_made_after_1000_events_or_600_seconds() -> None:
    store, clock = Watched(), ManualClock()
    checkpointer = Checkpointer(store, SIGNER, clock=clock)
    record = await journal_on(store).open(await store.claim("r", owner="one", at=0.0)).commit(value(1))
    checkpointer.committed([record] * 999)
    assert await store.made() == []
    checkpointer.committed([record])
    assert len(await store.made()) == 1
    await commit(store, "r", "2")
    clock.advance(599.0)
    checkpointer.committed([record])
    assert len(await store.made()) == 1
    clock.advance(1.0)
    checkpointer.committed([record])
    assert len(await store.made()) == 2
    options = Checkpointing(signer=SIGNER)
    assert (options.every_events, options.every_s) == (1000, 600.0)


@pytest.mark.parametrize("option", [{"every_events": 0}, {"every_s": 0.0}])
def test_a_senseless_setting_is_refused(option: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"^every_events must be at least 1, every_s above 0$"):
        Checkpointer(MemoryStore(), SIGNER, clock=ManualClock(), **option)  # type: ignore[arg-type]
    Checkpointer(MemoryStore(), SIGNER, clock=ManualClock(), every_events=1, every_s=0.1)
