"""The fallback ladder: what answers when the model above did not."""

from collections.abc import Mapping
from dataclasses import dataclass

from plimsoll.contract.model import Model
from plimsoll.core.errors import Misuse
from plimsoll.policies.deadline import LatencyWindow

__all__ = ["Ladder", "Rung", "build_ladders", "build_windows"]


@dataclass(frozen=True, slots=True)
class Rung:
    """One place on a ladder: a model of the contract, by its name there."""

    name: str
    model: Model

    @property
    def prior_s(self) -> float:
        """How long it is taken to need before anything was measured: from when it counts as slow; no model, nothing."""
        if not self.model.is_model:
            return 0.0
        return self.model.slow_s if self.model.slow_s is not None else self.model.timeout_s / 2


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rungs from the top down, without repeats. Raises `Misuse` for an empty one and for a rung that comes twice."""

    rungs: tuple[Rung, ...]

    def __post_init__(self) -> None:
        names = [rung.name for rung in self.rungs]
        if not names:
            raise Misuse("a ladder has at least one rung")
        if len(set(names)) < len(names):
            raise Misuse(f"a rung comes twice in the ladder {' → '.join(names)}")

    def reserve_below_s(self, index: int, windows: Mapping[str, LatencyWindow]) -> float:
        """Seconds to keep for the rungs below `index` (from 0): the sum of their recent 95th percentiles.

        `windows` is by name of the rung; one without a window counts with its prior. What is no model needs no time,
        and no rung counts for more than its own timeout.
        """
        reserve = 0.0
        for rung in self.rungs[index + 1 :]:
            if rung.model.is_model:
                window = windows.get(rung.name)
                needed = rung.prior_s if window is None else window.p95()
                reserve += min(needed, rung.model.timeout_s)
        return reserve


def build_ladders(models: Mapping[str, Model]) -> dict[str, Ladder]:
    """Each model's ladder: itself, then what it falls back to, each followed by what that falls back to in its turn.

    A rung that came before is not repeated, so a cycle ends by itself. Canned answers come last: they always answer,
    and nothing below one would ever be asked. Raises `Misuse` for a fallback that is no model of the contract.
    """
    return {name: _ladder(name, models) for name in models}


def build_windows(ladders: Mapping[str, Ladder]) -> dict[str, LatencyWindow]:
    """A fresh latency window for each ladder's first model, where that takes time to answer."""
    tops = [ladder.rungs[0] for ladder in ladders.values()]
    return {top.name: LatencyWindow(top.prior_s) for top in tops if top.model.is_model}


def _ladder(top: str, models: Mapping[str, Model]) -> Ladder:
    order: dict[str, Model] = {}
    waiting = [top]
    while waiting:
        name = waiting.pop()
        if name in order:
            continue
        if name not in models:
            raise Misuse(f"models.{top} falls back to {name!r}, which is no model of the contract")
        order[name] = models[name]
        waiting.extend(reversed(models[name].fallback))
    rungs = [Rung(name, model) for name, model in order.items()]
    first, *below = rungs
    below.sort(key=lambda rung: rung.model.canned is not None)
    return Ladder((first, *below))
