"""Asking until somebody answers: retries at one rung, and the rungs of a ladder from the top down."""

from collections.abc import Coroutine
from typing import Any

import msgspec
from msgspec.structs import replace

from plimsoll.contract.model import Mode, Model
from plimsoll.core.calls import Effect, ErrorRecord, Fault, Outcome, Status, Usage, idempotency_key
from plimsoll.core.canonical import canonical_json
from plimsoll.core.errors import LimitExceeded
from plimsoll.core.events import Finding, RungChanged
from plimsoll.policies.limits import add_usage
from plimsoll.policies.retry import RetryPolicy
from plimsoll.runtime.attempts import Attempt, Footing, attempted, note_slow, would
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.hedging import hedged
from plimsoll.runtime.last_rungs import given_before, handed_over, waits_for_a_person
from plimsoll.runtime.state import RunState

__all__ = ["Answer", "ask", "climb", "retrying"]

_NO_RUNG = ErrorRecord(type="NoRung", message="the ladder has no rung")
_BARRED = ErrorRecord(type="LimitExceeded", message="a limit of the day was reached", fault=Fault.THROTTLED)

_SENT_AGAIN = RetryPolicy(on=tuple(Fault), max_attempts=2)
"""What is deduplicated is sent again when nobody knows what came of it, whatever its own retry says."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An outcome, and the native answer where there is one in this process."""

    outcome: Outcome
    native: Any = None
    has_native: bool = False


async def ask(state: RunState, exchange: Exchange, key: str) -> Answer:
    """Asks what has no ladder, and changes nothing: a tool that reads."""
    terms = state.env.compiled.tools[exchange.dependency]
    tried = await retrying(Footing(state, exchange, key, Effect.READ, exchange.dependency, terms))
    if tried.error is not None:
        return Answer(Outcome(status=Status.FAILED, error=tried.error, attempts=tried.number, usage=tried.usage))
    outcome = Outcome(status=Status.OK, value=tried.value, attempts=tried.number, usage=tried.usage)
    return Answer(outcome, tried.value, has_native=True)


async def climb(state: RunState, exchange: Exchange, key: str) -> Answer:
    """Tries the rungs of a model's ladder from the top down until one answers.

    A rung that would pass a limit of the run, or of the day, at its price is not asked. Where none answered and one was
    not asked for that reason, the run halts. A model of one's own that declines has not failed: where none answered,
    the outcome says why the others could not. A call that was handed over to a person stays with that person, whoever
    is back by then.
    """
    compiled = state.env.compiled
    ladder = compiled.ladders[exchange.dependency]
    attempts = 0
    spent: Usage | None = None
    barred: LimitExceeded | None = None
    last = failed = _NO_RUNG
    is_handed_over = bool(state.approvals.requests) and waits_for_a_person(state, exchange, key)
    for index, rung in enumerate(ladder.rungs):
        if is_handed_over and not rung.model.hand_over:
            continue
        reserve_s = ladder.reserve_below_s(index, state.env.windows)
        terms = compiled.models[rung.name]
        footing = Footing(state, exchange, key, Effect.READ, rung.name, terms, index, rung, reserve_s)
        over = footing.barred(spent) if index > 0 else None
        if over is None and state.day is not None and not footing.fits_today(spent):
            over = await footing.barred_today(spent)
        if over is not None:
            state.raise_finding(_not_asked(footing, over))
            barred = over
            if index == 0:
                last = failed = _BARRED
                if len(ladder.rungs) > 1 and not _may_descend(footing, last.fault):
                    break
            continue
        if index > 0 and not is_handed_over:
            _descended(footing, last.fault)
        is_handed_over = False
        tried = await _answered_at(footing, rung.model, spent)
        attempts += tried.number
        spent = spent if tried.usage is None else tried.usage  # which tells all that the call has used up
        if tried.error is None:
            _remember(footing, rung.model, tried)
            outcome = Outcome(status=Status.OK, value=tried.value, rung=index, attempts=attempts, usage=spent)
            return Answer(outcome, tried.native, has_native=True)
        if rung.model.is_model or rung.model.canned is not None:  # else nothing was there; why no model answers counts
            last = tried.error
            failed = last if last.fault is not Fault.REFUSED or failed is _NO_RUNG else failed
        barred = tried.barred or barred
        if index + 1 < len(ladder.rungs) and not _may_descend(footing, last.fault):
            break
    if barred is not None:
        if state.day is not None:
            state.day.settle(key, spent)
        state.halt_at(barred)
    return Answer(Outcome(status=Status.FAILED, error=failed, attempts=attempts, usage=spent))


def _answered_at(footing: Footing, model: Model, spent: Usage | None) -> Coroutine[Any, Any, Attempt]:
    """What a rung brings: a model, an answer that was given before, or a person."""
    if model.cached_for_s is not None:
        return given_before(footing, max_age_s=model.cached_for_s)
    return handed_over(footing) if model.hand_over else retrying(footing, spent)


def _remember(footing: Footing, model: Model, tried: Attempt) -> None:
    """Keeps what a model answered, for a rung that gives it again: as JSON, which no agent can change."""
    cache = footing.state.env.answers.get(footing.exchange.dependency)
    if cache is not None and model.is_model:
        key, written = footing.exchange.cache_key(), canonical_json(tried.value)
        cache.put(key, written, at=footing.state.env.clock.monotonic())


def _may_descend(footing: Footing, fault: Fault) -> bool:
    state = footing.state
    if state.env.contract.protections.fallback is Mode.ENFORCE:
        return True
    state.raise_finding(would("fall_back", footing.site, fault, "the next rung would have been asked"))
    return False


def _not_asked(footing: Footing, over: LimitExceeded) -> Finding:
    return Finding(
        kind="limit",
        severity="warning",
        message=f"{footing.site} was not asked: limit {over.limit} allows {over.allowed:g}, {over.needed:g} needed",
        dependency=footing.site,
        fault=over.limit,
    )


def _descended(footing: Footing, fault: Fault) -> None:
    footing.state.record(
        RungChanged(
            key=footing.key,
            dependency=footing.exchange.dependency,
            rung=footing.index,
            to=footing.site,
            fault=fault,
        )
    )


async def retrying(footing: Footing, spent: Usage | None = None) -> Attempt:
    """Attempts at one rung, as often as its retry policy, the retry budget, the limits and the deadline allow.

    A write is attempted again only after an error that proves that nothing happened; what is deduplicated, once at
    least, unless a thread of it still runs. `spent` is what the call has used up before; the attempt that is returned
    tells all that it has used up since it began.
    """
    env = footing.state.env
    budget = env.budgets[footing.site]
    is_hedged = footing.site in env.compiled.hedges
    number = tries = 0
    doubt: ErrorRecord | None = None
    while True:
        tries += 1
        tried = await (hedged(footing, number + 1, spent) if is_hedged else attempted(footing, number + 1))
        number = tried.number
        spent = tried.usage if spent is None else add_usage(spent, tried.usage)
        error = tried.error
        if error is None:
            budget.succeeded()
            return tried if spent is tried.usage else replace(tried, usage=spent)
        proven = not tried.was_sent or error.type in footing.refusals
        if not tried.was_sent:
            footing.note(number, error.fault, error.message, tried.duration_s)
            if doubt is not None:  # what was not sent says nothing of what was
                return replace(tried, error=doubt, doubt=doubt, usage=spent)
        elif proven and error.fault is Fault.EXCEPTION:
            error = replace(error, fault=Fault.REFUSED)
            tried = replace(tried, error=error)
            _refused(footing, tried, error)
        else:
            footing.note(number, error.fault, error.message, tried.duration_s)
            await footing.state.keep_time(tried.duration_s)
            if error.fault is not Fault.CLIENT_ERROR:  # our own mistake says nothing of how the dependency does
                budget.failed()
            doubt = doubt or error
        tried = replace(tried, doubt=doubt)
        policy = _repeated_by(footing, tries, error.fault, proven=proven)
        if policy is None or not budget.allows():
            return replace(tried, usage=spent)
        delay_s = policy.delay_s(tries, rng=env.rng, retry_after_s=error.retry_after_s)
        if delay_s >= footing.remaining_s() - footing.reserve_s:
            return replace(tried, usage=spent)
        await env.clock.sleep(delay_s)
        footing.state.guard()
        barred = footing.barred(spent)
        if barred is None and not footing.fits_today(spent):
            barred = await footing.barred_today(spent)
        if barred is not None:
            return replace(tried, usage=spent, barred=barred)


def _refused(footing: Footing, tried: Attempt, error: ErrorRecord) -> None:
    """Records what there is to be said of a refusal: that it was slow; of a model, why the next is asked."""
    if footing.rung is not None:
        footing.note(tried.number, error.fault, error.message, tried.duration_s)
    if tried.duration_s >= footing.terms.slow_s:
        note_slow(footing, tried)


def _repeated_by(footing: Footing, number: int, fault: Fault, *, proven: bool) -> RetryPolicy | None:
    """The policy by which attempt `number`, which failed so, is followed by another; None where it is by none.

    Reports the retry that a policy which only observes would have made. `proven`: nothing happened.
    """
    env = footing.state.env
    if footing.effect is Effect.WRITE and not proven:
        return None
    policy = env.retries.get(footing.site)
    if policy is not None and policy.retries(fault, number):
        return policy
    observed = env.compiled.observed_retries.get(footing.site) if policy is None else None
    if observed is not None and observed.retries(fault, number):
        footing.state.raise_finding(would("retry", footing.site, fault, "it would have been tried again"))
        return None
    if footing.effect is not Effect.IDEMPOTENT or proven or not _SENT_AGAIN.retries(fault, number):
        return None
    under_way = env.under_way.of(idempotency_key(footing.state.id, footing.key))
    return None if under_way else _SENT_AGAIN
