"""Exact bounds for a share that was sampled.

Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26
(1934), 404–413. The bound holds for every sample size: nothing is approximated by a normal distribution.
"""

import math

from plimsoll.core.errors import Misuse

__all__ = ["corrected_confidence", "lower_bound", "upper_bound"]

_HALVINGS = 100


def lower_bound(passed: int, tried: int, *, confidence: float) -> float:
    """The exact one-sided lower bound on the share of successes, from `passed` of `tried`.

    It is the share p at which `passed` or more successes in `tried` trials would have probability 1 − confidence; 0
    where nothing passed or nothing was tried. Raises `Misuse` for counts and confidences that make no sense.
    """
    _check(passed, tried, confidence)
    if passed == 0:
        return 0.0
    alpha = 1.0 - confidence
    if passed == tried:
        return float(alpha ** (1.0 / tried))
    low, high = 0.0, passed / tried
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if _tail(passed, tried, middle) < alpha:
            low = middle
        else:
            high = middle
    return low


def upper_bound(passed: int, tried: int, *, confidence: float) -> float:
    """The exact one-sided upper bound: 1 minus the lower bound on the share of failures."""
    _check(passed, tried, confidence)
    return 1.0 - lower_bound(tried - passed, tried, confidence=confidence)


def corrected_confidence(confidence: float, *, comparisons: int) -> float:
    """The confidence that each of `comparisons` bounds needs for all to hold with `confidence` (Bonferroni)."""
    if comparisons < 1:
        raise Misuse(f"{comparisons} comparisons; there is at least one")
    return 1.0 - (1.0 - confidence) / comparisons


def _tail(least: int, tried: int, share: float) -> float:
    """The probability of `least` or more successes in `tried` trials at `share` (strictly between 0 and 1)."""
    log_share, log_rest = math.log(share), math.log1p(-share)
    whole = math.lgamma(tried + 1)
    terms = (
        math.exp(
            whole
            - math.lgamma(successes + 1)
            - math.lgamma(tried - successes + 1)
            + successes * log_share
            + (tried - successes) * log_rest
        )
        for successes in range(least, tried + 1)
    )
    return min(1.0, math.fsum(terms))


def _check(passed: int, tried: int, confidence: float) -> None:
    if not 0 <= passed <= tried:
        raise Misuse(f"{passed} passed of {tried} tried makes no sense")
    if not 0.0 < confidence < 1.0:
        raise Misuse(f"a confidence lies between 0 and 1, not {confidence!r}")
