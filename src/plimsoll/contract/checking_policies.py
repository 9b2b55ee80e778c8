"""Checks of the policies that models and tools share: hedge, circuit breaker, rate limit and bulkhead."""

from plimsoll.contract.model import CircuitBreakerSection, Model, RateLimitSection, Tool
from plimsoll.contract.notes import Notes
from plimsoll.contract.toml_places import Path
from plimsoll.core.calls import Effect

__all__ = ["POLICIES", "check_policies"]

POLICIES = ("hedge", "circuit_breaker", "rate_limit", "bulkhead")
"""The fields that are checked here."""


def check_policies(here: Path, section: Model | Tool, notes: Notes) -> None:
    """Notes what is doubtful about the policies of one model that is no canned answer, or of one tool."""
    if isinstance(section, Tool) and section.hedge is not None and section.effect is not Effect.READ:
        what = "may be made twice, and this changes something: it is never hedged"
        notes.error((*here, "hedge"), what, "remove it, or correct effect: only a read may be asked a second time")
    if section.circuit_breaker is not None:
        _check_breaker((*here, "circuit_breaker"), section.circuit_breaker, section.timeout_s, notes)
    if section.rate_limit is not None:
        _check_rate((*here, "rate_limit"), section.rate_limit, section, notes)


def _check_breaker(here: Path, breaker: CircuitBreakerSection, timeout_s: float, notes: Notes) -> None:
    if breaker.min_calls > breaker.window:
        what = f"is {breaker.min_calls}, and the window holds {breaker.window}: it would never open"
        notes.error((*here, "min_calls"), what, f"at most {breaker.window}, or a larger window")
    if breaker.window_s < timeout_s:
        what = f"is {breaker.window_s:g} s, less than one attempt may take ({timeout_s:g} s): it may never see two"
        notes.warning((*here, "window_s"), what, "some times timeout_s")


def _check_rate(here: Path, limit: RateLimitSection, section: Model | Tool, notes: Notes) -> None:
    if limit.calls_per_minute is None and limit.tokens_per_minute is None:
        notes.error(here, "limits nothing", "give it calls_per_minute, or tokens_per_minute")
    if limit.tokens_per_minute is not None and isinstance(section, Tool):
        what = "counts the tokens of a prompt, and a tool has none"
        notes.error((*here, "tokens_per_minute"), what, "use calls_per_minute")
