"""Answering doubts: what a run, and those that it went on as, have in doubt, and a person's word on it.

A run that has not ended is told by its inbox, and acts on it. One that has ended acts no more: what is said of it is
added to its journal at once, where whoever takes its effects back, or audits it, finds it.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass

from msgspec.structs import replace

from plimsoll.core.clock import Clock
from plimsoll.core.errors import JournalUnavailable, Misuse, Superseded, UnknownRun
from plimsoll.core.events import CallIntended, DoubtRaised, DoubtResolved
from plimsoll.journal.store import InboxEntry, RunHead, RunState, Store
from plimsoll.journal.writer import Journal
from plimsoll.runtime.doubts import answer_to, open_doubts, said_after_the_end
from plimsoll.runtime.inbox import doubt_entry
from plimsoll.runtime.lineage import latest_link, link_id, link_of

__all__ = ["InDoubt", "answer", "in_doubt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InDoubt:
    """A write that waits for a person to say whether it happened.

    `run_id` is the first run's of its chain, by which people know it, and `key` names the call there: of a later run it
    ends in `~` and the run's number. `head` is the run's own, and `call` the call's own key. `intent` is the call as it
    was meant to be sent the `send`-th and last time; `said` is what somebody has answered, and nobody acted on yet.
    """

    run_id: str
    key: str
    head: RunHead
    call: str
    intent: CallIntended
    raised: DoubtRaised
    send: int
    said: DoubtResolved | None

    @property
    def over(self) -> bool:
        """Whether its run has ended: an answer is for the record then, and nothing is sent again."""
        return self.head.state is RunState.ENDED

    @property
    def numbered(self) -> str:
        """The key with the number of its run in the chain, also of the first."""
        return f"{self.call}~{link_of(self.head.run_id)[1]}"


async def in_doubt(store: Store, run_id: str | None = None) -> list[InDoubt]:
    """The writes that wait for a person: of one run and its whole chain, or of all runs, the oldest first.

    Costs as much as people are asked, however many runs there are. Raises `UnknownRun`.
    """
    heads = (await store.asking())[::-1]
    if run_id is not None:
        latest = await _latest(store, run_id)
        earlier = [each for each in heads if _same_life(each.run_id, latest.run_id) and each.run_id != latest.run_id]
        heads = [*earlier, latest] if latest.erased_at is None else earlier
    found = [doubt for head in heads for doubt in await _of_run(store, head)]
    shared = Counter((each.run_id, each.call) for each in found)
    return [
        dataclasses.replace(each, key=each.numbered) if shared[each.run_id, each.call] > 1 else each for each in found
    ]


async def answer(store: Store, run_id: str, key: str, said: DoubtResolved, *, owner: str, clock: Clock) -> bool:
    """Gives a person's answer to the doubt `key` of a run. False where this very answer was given already.

    `owner` is who writes it into the journal of a run that has ended. Raises `UnknownRun`, `RunErased`, and `Misuse`
    where nothing, or more than one write, is in doubt under that key, or it was answered otherwise.
    """
    while (doubt := await _meant(store, run_id, key)) is not None:
        said = replace(said, key=doubt.call)
        if doubt.over and not await _write_down(store, doubt, doubt.said or said, owner=owner, clock=clock):
            continue  # somebody was faster
        if doubt.said is not None:
            return _again(doubt.said, said, run_id=run_id)
        if doubt.over:
            return True
        new = await store.post(_entry(doubt, said, at=clock.now()))
        after = await _meant(store, run_id, doubt.numbered)
        if after is not None and after.over:  # it has ended meanwhile, and has not heard of it
            await _write_down(store, after, after.said or said, owner=owner, clock=clock)
        return new
    earlier = await _said_to_the_end(store, run_id, key)
    if earlier is not None:
        return _again(earlier, said, run_id=run_id)
    known = ", ".join(each.key for each in await in_doubt(store, run_id))
    raise Misuse(f"{key!r} of run {run_id} is not in doubt; what is: {known or 'nothing'}")


async def _latest(store: Store, run_id: str) -> RunHead:
    head = await store.head(link_id(*link_of(run_id)))
    if head is None or head.seq == 0:
        raise UnknownRun(run_id)
    return await latest_link(store, head)


async def _of_run(store: Store, head: RunHead) -> list[InDoubt]:
    """What one run, and not its chain, has in doubt."""
    events = [record.event for record in await store.read(head.run_id)]
    doubts = open_doubts(events)
    inbox = await store.inbox(head.run_id) if doubts else []
    first, number = link_of(head.run_id)
    found: list[InDoubt] = []
    for call, raised in doubts.items():
        intents = [event for event in events if isinstance(event, CallIntended) and event.key == call]
        entry = answer_to(events, inbox, call)
        found.append(
            InDoubt(
                run_id=first,
                key=call if number == 1 else f"{call}~{number}",
                head=head,
                call=call,
                intent=intents[-1],
                raised=raised,
                send=len(intents),
                said=None if entry is None else _said_by(entry),
            )
        )
    return found


async def _meant(store: Store, run_id: str, key: str) -> InDoubt | None:
    """The doubt that is meant by a key, with or without the number of its run; None where there is none."""
    doubts = await in_doubt(store, run_id)
    named = [each for each in doubts if key in (each.key, each.numbered)]
    meant = named or [each for each in doubts if key == each.call]
    if len(meant) > 1:
        names = ", ".join(each.numbered for each in meant)
        raise Misuse(f"several writes of run {run_id} are in doubt under the key {key!r}; name one of: {names}")
    return meant[0] if meant else None


def _said_by(entry: InboxEntry) -> DoubtResolved:
    body = entry.body
    happened = "happened" if body["happened"] else "not_happened"
    return DoubtResolved(key=body["key"], answer=happened, by=entry.by, value=body["value"], note=body.get("note", ""))


def _entry(doubt: InDoubt, said: DoubtResolved, *, at: float) -> InboxEntry:
    return doubt_entry(
        doubt.head.run_id,
        doubt.call,
        send=doubt.send,
        happened=said.answer == "happened",
        value=said.value,
        note=said.note,
        by=said.by,
        at=at,
    )


def _again(earlier: DoubtResolved, said: DoubtResolved, *, run_id: str) -> bool:
    """False, where the same was said before. Raises `Misuse` where it was not: the first answer stands."""
    if (earlier.answer, earlier.value) == (said.answer, said.value):
        return False
    word = "happened" if earlier.answer == "happened" else "did not happen"
    raise Misuse(f"{earlier.by} has said already that {earlier.key!r} of run {run_id} {word}; that stands")


async def _write_down(store: Store, doubt: InDoubt, said: DoubtResolved, *, owner: str, clock: Clock) -> bool:
    """Adds an answer to the journal of a run that has ended. False where somebody else has added something by now."""
    journal = Journal(store, clock=clock)
    try:
        head = await store.claim(doubt.head.run_id, owner=owner, at=clock.now(), expected=doubt.head.epoch)
        await journal.open(head).commit(said)
    except Superseded:
        return False
    except JournalUnavailable:
        journal.abandon()  # whoever answers is told that it was not written, so it may not be later
        raise
    finally:
        await journal.close()
    return True


async def _said_to_the_end(store: Store, run_id: str, key: str) -> DoubtResolved | None:
    """What was said of a write after its run had ended, where nothing is in doubt under that key any more."""
    first, number = link_of((await _latest(store, run_id)).run_id)
    call, named = link_of(key)
    for link, name in ((named, call), (1, key), (number, key)):
        events = [record.event for record in await store.read(link_id(first, link))]
        said = said_after_the_end(events, name)
        if said is not None:
            return said
    return None


def _same_life(one: str, other: str) -> bool:
    """Whether two runs are of one chain."""
    return link_of(one)[0] == link_of(other)[0]
