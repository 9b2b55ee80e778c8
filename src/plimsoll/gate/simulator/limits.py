"""How long a simulation may take."""

import math
from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a simulation is given up. `limit_s` is virtual; `patience_s` and `wall_limit_s` are real time."""

    limit_s: float
    patience_s: float
    wall_limit_s: float
    max_turns: int

    def __post_init__(self) -> None:
        if not 0 < self.limit_s < math.inf:
            raise ValueError(f"limit_s must be positive and finite, not {self.limit_s!r}")
        if not (self.patience_s > 0 and self.wall_limit_s > 0):
            raise ValueError("patience_s and wall_limit_s must be positive")
        if self.max_turns < 1:
            raise ValueError(f"max_turns must be at least 1, not {self.max_turns!r}")
