"""Hedging: what takes longer than nearly all others did is asked once more, and the first answer is taken.

Dean and Barroso, The Tail at Scale, https://research.google/pubs/the-tail-at-scale/. For what changes nothing only.
"""

import math
from dataclasses import dataclass
from typing import Self

from ddsketch import DDSketch
from msgspec.structs import asdict

from plimsoll.contract.model import HedgeSection
from plimsoll.core.errors import Misuse

__all__ = ["Hedge", "HedgeBook"]

_SPAN = 500
"""So many answers at least are remembered, and twice as many at most: a dependency that changes is learned anew."""
_LOOKED_UP_EVERY = 16
_MARGIN = 1.05
"""The sketch is right to one per cent: without a margin, calls that all take the same time would all be asked twice."""
_MOST_SAVED = 5.0
"""Extra calls that may be made at once after a long time without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """Asks a second time after the `quantile` of the latencies seen (between 0 and 1), from `min_observations` on
    (1 to 500).

    `max_extra` caps the extra load, as a share of the calls: where everything is slow, asking twice helps nobody.
    Raises `Misuse` for values that make no sense.
    """

    quantile: float = 0.97
    min_observations: int = 20
    max_extra: float = 0.05

    def __post_init__(self) -> None:
        if not 0.5 <= self.quantile < 1:
            raise Misuse(f"hedge.quantile is {self.quantile!r}; it is a share from 0.5 on and below 1")
        if not 1 <= self.min_observations <= _SPAN:
            what = f"at least one latency must be known, and no more than {_SPAN} are remembered for certain"
            raise Misuse(f"hedge.min_observations is {self.min_observations!r}; {what}")
        if not 0 < self.max_extra <= 1:
            raise Misuse(f"hedge.max_extra is {self.max_extra!r}; it is a share above 0, at most 1")

    @classmethod
    def from_contract(cls, section: HedgeSection) -> Self:
        """The policy that a contract describes."""
        return cls(**asdict(section))


class HedgeBook:
    """The state of one dependency's hedging: its latencies, and how much extra load it may still cause."""

    __slots__ = ("_after_s", "_old", "_saved", "_since", "_young", "asked", "extra", "policy")

    def __init__(self, policy: Hedge) -> None:
        self.policy = policy
        self.asked = 0
        """How many calls there were."""
        self.extra = 0
        """How many of them were asked a second time."""
        self._old, self._young = DDSketch(), DDSketch()  # the young one takes over when the old one is full
        self._saved = 0.0
        self._after_s: float | None = None
        self._since = 0

    @property
    def after_s(self) -> float | None:
        """After how many seconds a call is asked a second time; None while too little is known."""
        return self._after_s

    def begin(self) -> float | None:
        """A call begins. After how many seconds it may be asked once more; None: not at all."""
        self.asked += 1
        self._saved = min(_MOST_SAVED, self._saved + self.policy.max_extra)
        return self._after_s

    def observe(self, seconds: float) -> None:
        """A call was answered, by whichever was first, `seconds` after it was first asked."""
        if not (math.isfinite(seconds) and seconds >= 0):
            return
        self._old.add(seconds)
        if self._old.count > _SPAN:
            self._young.add(seconds)
        if self._old.count >= 2 * _SPAN:
            self._old, self._young = self._young, DDSketch()
        self._since += 1
        if self._old.count >= self.policy.min_observations and (
            self._after_s is None or self._since >= _LOOKED_UP_EVERY
        ):
            self._after_s = _MARGIN * (self._old.get_quantile_value(self.policy.quantile) or 0.0)
            self._since = 0

    @property
    def may_spend(self) -> bool:
        """Whether a call may be asked a second time now."""
        return self._saved >= 1

    def spend(self) -> bool:
        """Whether a call may be asked a second time now; if so, that is counted."""
        if not self.may_spend:
            return False
        self._saved -= 1
        self.extra += 1
        return True
