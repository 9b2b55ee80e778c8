"""Doubts, as a run's journal and its inbox tell them: which are open, and what somebody has said."""

from collections.abc import Sequence

from plimsoll.core.events import CallIntended, DoubtRaised, DoubtResolved, Event, RunEnded
from plimsoll.journal.store import InboxEntry, InboxKind

__all__ = ["answer_to", "answers", "open_doubts", "said_after_the_end", "sendings"]


def open_doubts(events: Sequence[Event]) -> dict[str, DoubtRaised]:
    """The doubts that `verify` could not settle and no person has, by call key."""
    raised: dict[str, DoubtRaised] = {}
    waiting: dict[str, DoubtRaised] = {}
    for event in events:
        if isinstance(event, DoubtRaised):
            raised[event.key] = event
        elif isinstance(event, DoubtResolved):
            if event.answer == "unknown" and event.key in raised:
                waiting[event.key] = raised[event.key]
            else:
                waiting.pop(event.key, None)
    return waiting


def sendings(events: Sequence[Event], key: str) -> int:
    """How often the write was sent, or meant to be. An answer to a doubt is about one sending of it."""
    return sum(isinstance(event, CallIntended) and event.key == key for event in events)


def answers(entry: InboxEntry, key: str, send: int) -> bool:
    """Whether a person's message is the answer to the doubt about this sending of the write."""
    return entry.kind is InboxKind.DOUBT and entry.body["key"] == key and entry.body.get("send", send) == send


def answer_to(events: Sequence[Event], inbox: Sequence[InboxEntry], key: str) -> InboxEntry | None:
    """What somebody has said to the doubt about the write as it was last sent."""
    send = sendings(events, key)
    return next((entry for entry in inbox if answers(entry, key, send)), None)


def said_after_the_end(events: Sequence[Event], key: str) -> DoubtResolved | None:
    """What somebody has said to a doubt that the run left when it ended."""
    over = next((place for place, event in enumerate(events) if isinstance(event, RunEnded)), len(events))
    said = [event for event in events[over:] if isinstance(event, DoubtResolved) and event.key == key]
    return said[-1] if said else None
