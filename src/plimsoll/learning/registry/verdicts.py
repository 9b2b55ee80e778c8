"""Verdicts: does what the gate said speak for this model?

The gate's report names every model of one's own that it tried, by its digest. A report that names no such model, or
another one, says nothing of this one, however good it is. Nor does one that contradicts itself: a decision that
somebody changed by hand does not fit the figures under it. That is no signature. Who can write a whole report can write
one that fits; let the gate and the promotion run in one place that nobody else writes to.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from plimsoll.learning.errors import PromotionRefused

__all__ = ["MAX_AGE_S", "GateVerdict", "check_verdict", "read_verdict"]

MAX_AGE_S = 30 * 86_400.0
"""So long a verdict speaks for a model where nothing else is said."""
_SKEW_S = 300.0
"""So far the clocks of two machines may be apart."""
_SHIP = "ship"
_AGAIN = "Run `plimsoll gate` on an agent whose contract names this model, and promote with its verdict.json"


class _Claim(msgspec.Struct, frozen=True):
    name: str
    tried: int
    passed: int


class _Storms(msgspec.Struct, frozen=True):
    tried: int
    passed: int
    lower_bound: float
    target: float


class GateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is read here of the gate's `verdict.json`. `local_models` are the digests of the models of one's own that
    were tried, by rung, and `guard_models` of the guards that tripped at a hostile text or a false claim. `digest` is
    SHA-256 of the report."""

    decision: str
    subject: str
    fingerprint: str
    contract_digest: str
    made_at: str
    trials: int
    failing_trials: int
    healthy: tuple[Any, ...]
    claims: tuple[_Claim, ...]
    failures: tuple[Any, ...]
    reach: dict[str, int]
    storms: _Storms | None
    reasons: tuple[str, ...]
    local_models: dict[str, str] = {}
    guard_models: dict[str, str] = {}
    digest: str = ""


def read_verdict(content: bytes, *, name: str = "the file") -> GateVerdict:
    """The verdict in a report of the gate. Raises `PromotionRefused`, which says where `name` is none."""
    try:
        verdict = msgspec.json.decode(content.decode(), type=GateVerdict)  # what is not read here is UTF-8, too
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PromotionRefused(
            f"{name} is no verdict of the gate: {error}. `plimsoll gate` writes one, `gate-report/verdict.json`"
        ) from error
    return msgspec.structs.replace(verdict, digest=hashlib.sha256(content).hexdigest())


def check_verdict(verdict: GateVerdict, *, digest: str, now: float, max_age_s: float = MAX_AGE_S) -> None:
    """Raises `PromotionRefused` unless the verdict is SHIP, of the model with this digest, at most `max_age_s` old, and
    at one with itself. `now` is in seconds since 1970."""
    if verdict.decision != _SHIP:
        why = f": {verdict.reasons[0].rstrip('.')}" if verdict.reasons else ""
        raise PromotionRefused(f"the gate says {verdict.decision.upper()}{why}. Mend that, and try it again")
    wrong = next(_contradictions(verdict), None)
    if wrong is not None:
        raise PromotionRefused(f"this verdict was altered: it says SHIP, and {wrong}. {_AGAIN}")
    _check_model(verdict, digest)
    _check_age(verdict, now, max_age_s)


def _check_model(verdict: GateVerdict, digest: str) -> None:
    tried = verdict.local_models | {f"guards.{name}": each for name, each in verdict.guard_models.items()}
    if not tried:
        raise PromotionRefused(
            "this verdict names no model of one's own that was tried, so it says nothing of this one. A rung counts"
            " where a scenario gives no stand-in for it; a guard where it stopped a text, as a scenario's `hostile` has"
            f" them. {_AGAIN}"
        )
    if digest not in tried.values():
        named = ", ".join(f"{rung} {each[:12]}" for rung, each in sorted(tried.items()))
        raise PromotionRefused(f"this verdict is of other models ({named}), and not of {digest[:12]}. {_AGAIN}")


def _check_age(verdict: GateVerdict, now: float, max_age_s: float) -> None:
    try:
        made = datetime.fromisoformat(verdict.made_at)
    except ValueError:
        raise PromotionRefused(f"this verdict was altered: {verdict.made_at!r} is no time. {_AGAIN}") from None
    age_s = now - (made if made.tzinfo is not None else made.replace(tzinfo=UTC)).timestamp()
    if age_s < -_SKEW_S:
        raise PromotionRefused(f"this verdict is of {verdict.made_at}, which is yet to come: set the clock right")
    if not age_s <= max_age_s:  # nor where that is no number
        days = f"{max_age_s / 86_400:g} days"
        raise PromotionRefused(f"this verdict has expired: it is of {verdict.made_at}, and holds for {days}. {_AGAIN}")


def _contradictions(verdict: GateVerdict) -> Iterator[str]:
    """Where the figures of a report do not add up to SHIP."""
    if verdict.failing_trials or verdict.failures:
        yield f"{max(verdict.failing_trials, len(verdict.failures))} of its trials failed"
    if not verdict.claims or not verdict.healthy:
        yield "it has no claims, or no healthy run"
    for claim in verdict.claims:
        if claim.passed != claim.tried:
            yield f"its claim `{claim.name}` held in {claim.passed} of {claim.tried} checks"
    if verdict.storms is None or verdict.storms.lower_bound < verdict.storms.target:
        yield "its storms do not reach their target"
    elif verdict.storms.passed > verdict.storms.tried:
        yield "more of its storms passed than there were"
    elif not verdict.storms.tried or verdict.storms.passed < verdict.storms.lower_bound * verdict.storms.tried:
        yield "fewer of its storms passed than it says"
    if verdict.trials != len(verdict.healthy) + sum(verdict.reach.values()):
        yield "its trials do not add up"
