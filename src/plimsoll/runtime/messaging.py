"""Messages to a run that may go on as a new one meanwhile: each reaches the run that is there to act on it.

A run that is about to go on as another says so, durably, before it hands over what it has not acted on. Whoever posts
looks once more afterwards. So a message is handed over by the one or by the other, and by both is no harm.

A signal counts once in the whole chain, however often it is sent, and whichever run of it is the latest then.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from plimsoll.core.calls import CallKind, Ending
from plimsoll.core.errors import JournalUnavailable, Misuse, RunErased, RunParked, UnknownRun
from plimsoll.core.events import SignalReceived
from plimsoll.journal.store import CONTINUED, InboxEntry, InboxKind, RunHead, RunState, Store
from plimsoll.runtime.heeding import collect
from plimsoll.runtime.inbox import cancel_entry, copy_inbox, signal_entry, signal_request
from plimsoll.runtime.lineage import child_id, latest_link, link_id, link_of
from plimsoll.runtime.state import RunState as State

__all__ = ["deliver", "hand_over", "left_behind", "send", "still_asked"]


async def deliver(store: Store, run_id: str, make: Callable[[str], InboxEntry], *, what: str) -> bool:
    """Posts the message that `make` makes for a run, to `run_id` or the latest run that it goes on as.

    False when the message was there already. Raises `UnknownRun`, and `Misuse` when the run has ended: `what` can reach
    it no more.
    """
    target = await _target(store, run_id, what)
    while True:
        new = await store.post(make(target))
        then = await _target(store, run_id, None)
        if then == target:
            return new
        target = then


async def send(
    store: Store, run_id: str, name: str, payload: Any, *, signal_id: str, by: str, at: float
) -> tuple[bool, InboxEntry]:
    """Sends a signal to a run, or the latest run that it goes on as. Whether it is new, and the signal that stands.

    Raises `UnknownRun`, and `Misuse` when the run has ended.
    """
    first, target = link_of(run_id)[0], await _target(store, run_id, "a signal")
    entry = signal_entry(target, name, payload, signal_id=signal_id, by=by, at=at, sent_to=first)
    new = await store.post(entry, among=first)
    stands = None if new else await store.posted(entry.request_id, among=first)
    with suppress(RunErased):  # of a run that was erased nobody knows what it took
        await _hand_on(store, stands or entry)
    return new, stands or entry


async def _hand_on(store: Store, entry: InboxEntry) -> None:
    """Hands a signal on, from the run that it was posted to, where that has gone on meanwhile and did not take it.

    Usually nothing is to be done: the run is there, or has handed it over itself.
    """
    body, (first, number) = entry.body, link_of(entry.run_id)
    while (head := await store.head(link_id(first, number))) is not None and _is_gone_on(head):
        number += 1
        following = link_id(first, number)
        request_id = signal_request(following, body["signal_id"])
        if await store.posted(request_id, among=following) is None:
            if await _took(store, head, body["signal_id"]):
                return
            await store.post(
                signal_entry(
                    following, body["name"], body["payload"], signal_id=body["signal_id"], by=entry.by, at=entry.at
                )
            )


async def _took(store: Store, head: RunHead, signal_id: str) -> bool:
    """Whether a wait of this run received the signal."""
    if head.erased_at is not None:
        raise RunErased(head.run_id)
    events = [record.event for record in await store.read(head.run_id)]
    return any(isinstance(event, SignalReceived) and event.signal_id == signal_id for event in events)


def _is_gone_on(head: RunHead) -> bool:
    """Whether the run has gone on as another, or is about to: it takes no signal any more."""
    return head.ending is Ending.CONTINUED or head.reason == CONTINUED


async def hand_over(state: State, following: str) -> None:
    """Hands what was posted to a run, and it has not acted on, to the one that it goes on as."""
    await collect(state)
    store = state.env.store
    for entry in state.mailbox.signals():
        body = entry.body
        await store.post(
            signal_entry(
                following, body["name"], body["payload"], signal_id=body["signal_id"], by=entry.by, at=entry.at
            )
        )
    if state.cancelled is not None:
        cancelled = state.cancelled
        await store.post(cancel_entry(following, by=cancelled.by, reason=cancelled.reason, at=state.env.clock.now()))


async def left_behind(state: State) -> tuple[str, ...]:
    """The runs of the children that a run leaves behind when it ends: for each the first and the latest of its chain.

    Whoever advances one heeds what is posted to the first; what is parked is woken by what is posted to itself. Raises
    `RunParked` where the journal cannot be read.
    """
    store = state.env.store
    unasked = [intent.key for intent in state.replay.unasked_intents() if intent.kind is CallKind.RUN]
    left: dict[str, None] = {}
    try:
        for key in (*state.open_children, *unasked):
            head = await store.head(child_id(state.id, key))
            latest = None if head is None or head.seq == 0 else await latest_link(store, head)
            if head is not None and latest is not None and latest.state is not RunState.ENDED:
                left |= {head.run_id: None, latest.run_id: None}
    except JournalUnavailable as error:
        raise RunParked("journal", detail=str(error)) from error
    return tuple(left)


async def still_asked(state: State) -> int:
    """How many doubts a run that ends leaves for people to answer. What they have said by now it takes note of.

    Raises `RunParked` where the journal cannot be read.
    """
    if state.in_doubt:
        try:
            entries = await state.env.store.inbox(state.id)
        except JournalUnavailable as error:
            raise RunParked("journal", detail=str(error)) from error
        for entry in entries:
            if entry.kind is InboxKind.DOUBT:
                copy_inbox(state, entry)
    return state.in_doubt


async def _target(store: Store, run_id: str, what: str | None) -> str:
    """The id of the run to post to. `what` is that for which it must not have ended; None where it may have."""
    head = await store.head(run_id)
    if head is None or head.seq == 0:
        raise UnknownRun(run_id)
    head = await latest_link(store, head)
    if head.state is RunState.ENDED and what is not None:
        raise Misuse(f"run {run_id} has ended ({head.ending}): {what} cannot reach it any more")
    if head.state is RunState.RUNNING and head.reason == CONTINUED:
        first, number = link_of(head.run_id)
        return link_id(first, number + 1)
    return head.run_id
