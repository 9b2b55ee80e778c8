"""How surely a share is no chance."""

import math

__all__ = ["is_no_chance"]


def is_no_chance(count: int, total: int, *, share: float, odds: float) -> bool:
    """Whether `count` of `total` are so many more than `share` of them that chance has them at most once in 1/`odds`.

    By Chernoff's bound on the binomial tail, exp(-total * KL(count/total, share)), which says yes a little later than
    the exact figure would, and costs as much for ten as for ten million. `share` is above 0 and below 1.
    """
    if total <= 0 or count <= share * total:
        return False
    seen = count / total
    divergence = seen * math.log(seen / share)
    if count < total:
        divergence += (1.0 - seen) * math.log((1.0 - seen) / (1.0 - share))
    return total * divergence >= -math.log(odds) - 1e-9
