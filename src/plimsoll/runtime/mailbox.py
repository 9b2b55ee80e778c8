"""A run's mailbox: what outsiders have sent to it, as far as it has looked, and the signals that it has not taken."""

from collections.abc import Iterable, Sequence

from plimsoll.core.errors import Misuse
from plimsoll.core.events import Event, SignalReceived
from plimsoll.journal.store import InboxEntry, InboxKind
from plimsoll.runtime.lineage import link_of

__all__ = ["Mailbox", "check_signal_name"]

_AT_ONCE = frozenset({InboxKind.SIGNAL, InboxKind.CANCEL, InboxKind.CHILD})
"""What a running run need not be woken for once more, but for the end of a child that it waits for. All else it acts on
when it wakes the next time."""


def check_signal_name(name: object) -> None:
    """Raises `Misuse` for what no signal can be called."""
    if not isinstance(name, str) or not name:
        raise Misuse(f"a signal needs a name, a text that is not empty, and {name!r} is none")


class Mailbox:
    """Pure state over a run's inbox and its events.

    `position` is that of the last message looked at; `seen` is the one up to which everything was acted on: whatever
    lies beyond it wakes the run once it is parked. `posted` is the store's count when it was last looked into, and
    `elsewhere` how far the inboxes of what the run is part of have been looked at.
    """

    __slots__ = ("_all_acted_on", "_ended", "_taken", "_waiting", "elsewhere", "position", "posted", "seen")

    def __init__(self) -> None:
        self.position = 0
        self.seen = 0
        self.posted = -1
        self.elsewhere: dict[str, int] = {}
        self._all_acted_on = True
        self._taken: set[str] = set()
        self._waiting: list[InboxEntry] = []
        self._ended: dict[str, int] = {}

    def observe(self, event: Event) -> None:
        """Takes note of an event of the run, live or replayed: a signal that was received is not there any more."""
        if isinstance(event, SignalReceived):
            self._taken.add(event.signal_id)

    def fresh(self, entries: Sequence[InboxEntry]) -> list[InboxEntry]:
        """Those of `entries` that were not looked at yet, in order, and looked at from now on."""
        found = [entry for entry in entries if entry.position > self.position]
        for entry in found:
            self.position = entry.position
            self._all_acted_on = self._all_acted_on and entry.kind in _AT_ONCE
            if self._all_acted_on:
                self.seen = entry.position
            if entry.kind is InboxKind.SIGNAL:
                self._waiting.append(entry)
            elif entry.kind is InboxKind.CHILD:
                self._ended[link_of(entry.body["run_id"])[0]] = entry.position
        return found

    def seen_but_for(self, children: Iterable[str]) -> int:
        """`seen`, for a run that parks while it waits for these children: one that has ended meanwhile wakes it."""
        return min([self.seen, *(self._ended[child] - 1 for child in children if child in self._ended)])

    def acted_on_all(self) -> None:
        """Everything that was looked at has been acted on."""
        self.seen, self._all_acted_on = self.position, True

    def signals(self) -> list[InboxEntry]:
        """The signals that no wait has received, the oldest first."""
        return [entry for entry in self._waiting if entry.body["signal_id"] not in self._taken]

    def has(self, name: str) -> bool:
        """Whether there is a signal of this name that no wait has received."""
        return self.take(name) is not None

    def take(self, name: str) -> InboxEntry | None:
        """The oldest signal of this name that no wait has received; None when there is none."""
        return next((entry for entry in self.signals() if entry.body["name"] == name), None)
