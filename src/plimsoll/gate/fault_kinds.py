"""Fault kinds, as such: how one strikes, what finding it must bring, and what an agent owes when it does."""

from dataclasses import dataclass
from enum import StrEnum

from plimsoll.core.calls import Fault
from plimsoll.gate.sites import SiteKind
from plimsoll.gate.verdict import Reach

__all__ = ["Expected", "FaultKind", "How"]

_HONEST = frozenset({Reach.REACHED, Reach.HELD, Reach.REFUSED, Reach.CANNED, Reach.FAILED})
"""Also reached: a scenario's goal may be that nothing is done. What was done unapproved is the ledger's to say."""


class How(StrEnum):
    """How a fault strikes."""

    DELAY = "delay"
    HANG = "hang"
    RAISE = "raise"
    """A real exception of the dependency's, before the effect."""
    LOSE = "lose"
    """The effect happens; then a real exception in place of the answer."""
    SILENCE = "silence"
    """The effect happens; then no answer ever comes."""
    HOLLOW = "hollow"
    """The effect happens; then an answer of the right kind with nothing in it."""
    AGE = "age"
    """The effect happens; then its answer with a date that is too old."""
    FORGE = "forge"
    """The effect happens; then a forged payload in place of the answer."""
    BREAK = "break"
    """A real exception after the first part of a streamed answer."""
    FORGE_INSTEAD = "forge_instead"
    """Nothing happens at a write; a forged payload in place of the answer."""
    CRASH_BEFORE = "crash_before"
    CRASH_AFTER = "crash_after"
    CRASH_APPEND = "crash_append"
    OUTAGE = "outage"
    PEOPLE = "people"
    KILL = "kill"
    ADVERSARY = "adversary"
    TAINT = "taint"
    """The true answer, or the true request, with a hostile text of the scenario's in it."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The finding that has to arrive: one of these faults, of these kinds (none named: any), and whom it names.

    `names` is whether the finding must name the dependency that was struck.
    """

    faults: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    names: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """One way in which the world, the process or people may fail.

    `lasting` are the sites at which every attempt at that dependency fails from there on; at all others, the first
    attempt alone does. `survivable` are the sites at which the goal must be reached nevertheless, as far as the
    contract provides for it (`plimsoll.gate.promises`); `endings` are acceptable otherwise. `claims` are those that
    the kind bears on wherever it strikes, `goal_claim` the one that breaks when a goal is missed that must be reached.
    """

    name: str
    about: str
    how: How
    strikes: frozenset[SiteKind]
    claims: tuple[str, ...]
    fault: Fault | None = None
    lasting: frozenset[SiteKind] = frozenset()
    survivable: frozenset[SiteKind] = frozenset()
    endings: frozenset[Reach] = _HONEST
    finding: Expected | None = None
    goal_claim: str = "fallbacks"
    variants: tuple[str, ...] = ("",)
    seconds: float = 0.0

    @property
    def fails_model(self) -> bool:
        """Whether a model that is struck gives no answer, so that another has to."""
        return self.how in (How.HANG, How.RAISE, How.LOSE, How.BREAK, How.FORGE, How.FORGE_INSTEAD)
