"""Heeding: before a run does anything further, it looks at what people have asked of it since it last looked."""

from plimsoll.core.errors import JournalUnavailable, RunParked
from plimsoll.core.events import CancelRequested
from plimsoll.journal.store import InboxEntry, InboxKind
from plimsoll.observability.findings import cancel_finding
from plimsoll.runtime.state import RunState

__all__ = ["collect", "has_news", "heed"]


def has_news(state: RunState) -> bool:
    """Whether there is anything to `heed`: without a coroutine, since it is asked before every attempt."""
    try:
        return state.env.store.outside() is not state.heeded
    except JournalUnavailable:
        return True


async def heed(state: RunState) -> None:
    """Looks at the kill switches, and into the inbox where anybody has posted anything. Microseconds where nobody has.

    Raises `RunHalted` once the run was killed or cancelled, and `RunParked` where the journal cannot be read.
    """
    outside = state.check_switch()
    state.env.isolation.heed(outside.halts)
    if await collect(state):
        state.guard()
    state.heeded = outside


async def collect(state: RunState) -> list[InboxEntry]:
    """The messages that were posted since the run last looked. From a cancellation on it can make no further call.

    Who cancels what the run is part of, such as its parent, cancels the run. Raises `RunParked` where the journal
    cannot be read.
    """
    store, mailbox = state.env.store, state.mailbox
    try:
        posted = store.outside().posted
        if posted == mailbox.posted:
            return []
        found = mailbox.fresh(await store.inbox(state.id, after=mailbox.position))
        for scope in state.scopes:
            if scope != state.id:
                others = await store.inbox(scope, after=mailbox.elsewhere.get(scope, 0))
                mailbox.elsewhere[scope] = others[-1].position if others else mailbox.elsewhere.get(scope, 0)
                found += [entry for entry in others if entry.kind is InboxKind.CANCEL]
    except JournalUnavailable as error:
        raise RunParked("journal", detail=str(error)) from error
    mailbox.posted = posted
    for entry in found:
        if entry.kind is InboxKind.CANCEL and state.cancelled is None:
            state.record(CancelRequested(by=entry.by, reason=entry.body["reason"]))
            state.raise_finding(cancel_finding())
    return found
