"""Attempts: the ladder, retries within a rung, one attempt under its timeout, and what its answer is worth."""

import asyncio
from typing import Any

import msgspec
from msgspec.structs import replace

from plimsoll.contract.model import Mode, Model
from plimsoll.core.calls import CallInfo, Effect, ErrorRecord, Fault, Outcome, Status, Usage, idempotency_key
from plimsoll.core.canonical import canonical_json
from plimsoll.core.errors import CallTimeout, LimitExceeded, Misuse
from plimsoll.core.events import AttemptSettled, Finding, RungChanged
from plimsoll.observability.findings import output_finding
from plimsoll.policies.classify import classify
from plimsoll.policies.deadline import attempt_timeout_s
from plimsoll.policies.ladder import Rung
from plimsoll.policies.limits import add_usage
from plimsoll.policies.retry import RetryPolicy
from plimsoll.policies.timeout import Expired, within
from plimsoll.runtime.compiled import Terms
from plimsoll.runtime.current import call_context
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.foreign import is_cancelled
from plimsoll.runtime.heeding import has_news, heed
from plimsoll.runtime.models import estimate_tokens
from plimsoll.runtime.showing import Showing, showing_context
from plimsoll.runtime.state import RunState
from plimsoll.runtime.underway import waited_for_a_thread

__all__ = ["Answer", "Attempt", "Footing", "ask", "climb", "retrying"]

_NO_RUNG = ErrorRecord(type="NoRung", message="the ladder has no rung")

_SENT_AGAIN = RetryPolicy(on=tuple(Fault), max_attempts=2)
"""What is deduplicated is sent again when nobody knows what came of it, whatever its own retry says."""

_NEVER_BEGAN = "NeverBegan"
"""The error of an attempt that waited for a thread until it was given up: it proves that nothing happened."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An outcome, and the native answer where there is one in this process."""

    outcome: Outcome
    native: Any = None
    has_native: bool = False


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """What one attempt brought, or the last of `number` attempts: a native answer, or an error."""

    number: int
    duration_s: float
    native: Any = None
    error: ErrorRecord | None = None
    usage: Usage | None = None
    value: Any = None
    """The answer as JSON."""
    barred: LimitExceeded | None = None
    """Why there was no further attempt, where a limit of the run did not allow one."""
    doubt: ErrorRecord | None = None
    """What became of an earlier attempt that may have happened all the same, whatever the last one proves of itself."""


class Footing(msgspec.Struct, frozen=True):
    """Where a call stands on its ladder: rung number `index`, with `reserve_s` seconds kept for the rungs below.

    A tool has no ladder: its one rung is None. `site` is the dependency that is really asked here, and `terms` what
    the contract says of it.
    """

    state: RunState
    exchange: Exchange
    key: str
    effect: Effect
    site: str
    terms: Terms
    index: int = 0
    rung: Rung | None = None
    reserve_s: float = 0.0

    @property
    def refusals(self) -> tuple[str, ...]:
        """The exception classes by which it says that nothing happened."""
        return (*self.terms.refusals, *self.exchange.refusals, _NEVER_BEGAN)

    def remaining_s(self) -> float:
        """Seconds left before the run's deadline."""
        return self.state.deadline.remaining(self.state.env.clock)

    def barred(self, spent: Usage | None) -> LimitExceeded | None:
        """Why a model may not be asked once more here, where a limit of the run says so. `spent`: by this call."""
        if self.rung is None:
            return None
        return self.state.reserve_attempt(self.exchange, self.key, rung=self.rung.name, spent=spent)

    def note(self, attempt: int, fault: Fault, message: str, duration_s: float) -> None:
        """Records an attempt that failed, or was slow."""
        self.state.record(
            AttemptSettled(
                key=self.key,
                dependency=self.site,
                rung=self.index,
                attempt=attempt,
                fault=fault,
                message=message[:500],
                duration_s=round(duration_s, 6),
            )
        )


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

    A rung that would pass a limit of the run at its price is not asked. Where none answered and one was not asked for
    that reason, the run halts.
    """
    compiled = state.env.compiled
    ladder = compiled.ladders[exchange.dependency]
    attempts = 0
    spent: Usage | None = None
    barred: LimitExceeded | None = None
    last = _NO_RUNG
    for index, rung in enumerate(ladder.rungs):
        reserve_s = ladder.reserve_below_s(index, state.env.windows)
        terms = compiled.models[rung.name]
        footing = Footing(state, exchange, key, Effect.READ, rung.name, terms, index, rung, reserve_s)
        if index > 0:
            over = footing.barred(spent)
            if over is not None:
                state.raise_finding(_not_asked(footing, over))
                barred = over
                continue
            _descended(footing, last.fault)
        tried = await retrying(footing, spent)
        attempts += tried.number
        spent = tried.usage
        if tried.error is None:
            outcome = Outcome(status=Status.OK, value=tried.value, rung=index, attempts=attempts, usage=spent)
            return Answer(outcome, tried.native, has_native=True)
        last, barred = tried.error, tried.barred or barred
        if index + 1 < len(ladder.rungs) and not _may_descend(footing, last.fault):
            break
    if barred is not None:
        state.halt_at(barred)
    return Answer(Outcome(status=Status.FAILED, error=last, attempts=attempts, usage=spent))


def _may_descend(footing: Footing, fault: Fault) -> bool:
    state = footing.state
    if state.env.contract.protections.fallback is Mode.ENFORCE:
        return True
    state.raise_finding(_would("fall_back", footing.site, fault, "the next rung would have been asked"))
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
    number = 0
    doubt: ErrorRecord | None = None
    while True:
        number += 1
        tried = await _attempt(footing, number)
        spent = tried.usage if spent is None else add_usage(spent, tried.usage)
        error = tried.error
        if error is None:
            budget.succeeded()
            return tried if spent is tried.usage else replace(tried, usage=spent)
        proven = error.type in footing.refusals
        if proven and error.fault is Fault.EXCEPTION:
            error = replace(error, fault=Fault.REFUSED)
            tried = replace(tried, error=error)
            if tried.duration_s >= footing.terms.slow_s:
                _note_slow(footing, tried)
        else:
            footing.note(number, error.fault, error.message, tried.duration_s)
            await footing.state.keep_time(tried.duration_s)
            budget.failed()
            doubt = doubt or error
        tried = replace(tried, doubt=doubt)
        policy = _repeated_by(footing, number, error.fault, proven=proven)
        if policy is None or not budget.allows():
            return replace(tried, usage=spent)
        delay_s = policy.delay_s(number, rng=env.rng, retry_after_s=error.retry_after_s)
        if delay_s >= footing.remaining_s() - footing.reserve_s:
            return replace(tried, usage=spent)
        await env.clock.sleep(delay_s)
        footing.state.guard()
        barred = footing.barred(spent)
        if barred is not None:
            return replace(tried, usage=spent, barred=barred)


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
        footing.state.raise_finding(_would("retry", footing.site, fault, "it would have been tried again"))
        return None
    if footing.effect is not Effect.IDEMPOTENT or proven or not _SENT_AGAIN.retries(fault, number):
        return None
    under_way = env.under_way.of(idempotency_key(footing.state.id, footing.key))
    return None if under_way else _SENT_AGAIN


def _would(what: str, dependency: str, fault: Fault, words: str) -> Finding:
    """What a protection that only observes would have done."""
    return Finding(
        kind=f"would_{what}",
        severity="warning",
        message=f"{dependency}: {words} ({fault})",
        dependency=dependency,
        fault=fault.value,
        observed=True,
    )


async def _attempt(footing: Footing, number: int) -> Attempt:
    """One attempt: within its timeout, seen by the interceptor, its answer checked."""
    state, exchange, env = footing.state, footing.exchange, footing.state.env
    if has_news(state):
        await heed(state)
    showing = None if footing.rung is None else _showing(footing, footing.rung.model)
    if showing is not None and showing.is_watched:
        await showing.begin(rung=footing.index)
    started = env.clock.monotonic()
    whole_s = footing.terms.section.timeout_s
    allowed_s = attempt_timeout_s(whole_s, remaining_s=state.deadline.at - started, reserve_s=footing.reserve_s)
    timeout_s = allowed_s if env.contract.protections.timeout is Mode.ENFORCE else None
    info = CallInfo(
        run_id=state.id,
        key=footing.key,
        dependency=exchange.dependency,
        kind=exchange.kind,
        effect=footing.effect,
        attempt=number,
        rung=footing.index,
        deadline_s=started + (whole_s if timeout_s is None else timeout_s),
        sending=state.sends.get(footing.key, 0) or 1,
    )
    native, error = await _sent(footing, info, timeout_s, showing)
    duration_s = env.clock.monotonic() - started - (0.0 if showing is None else showing.stopwatch.stood_s)
    if timeout_s is None:
        _note_patience(footing, allowed_s, duration_s, showing)
    if error is not None:
        return Attempt(number, duration_s, error=error)
    window = env.windows.get(footing.site)
    if window is not None:
        window.observe(duration_s)
    attempt = _inspected(footing, number, duration_s, native)
    if duration_s >= footing.terms.slow_s and attempt.error is None:
        _note_slow(footing, attempt)
    return attempt


def _showing(footing: Footing, model: Model) -> Showing | None:
    """How this attempt at a model shows its answer. None where nobody is shown it, and it may be silent."""
    relay = footing.state.streams.relays.get(footing.key)
    if relay is None and model.idle_timeout_s is None:
        return None
    enforced = footing.state.env.contract.protections.timeout is Mode.ENFORCE
    return Showing(footing.site, relay=relay, idle_s=model.idle_timeout_s if enforced else None)


def _note_patience(footing: Footing, allowed_s: float, duration_s: float, showing: Showing | None) -> None:
    """Reports an attempt that a timeout which only observes would have given up."""
    idle_s = None if footing.rung is None else footing.rung.model.idle_timeout_s
    if duration_s >= allowed_s:
        words = f"it would have been given up after {allowed_s:.3g} s"
    elif idle_s is not None and showing is not None and showing.silent_s >= idle_s:
        words = f"it would have been given up after a silence of {idle_s:.3g} s"
    else:
        return
    footing.state.raise_finding(_would("time_out", footing.site, Fault.TIMEOUT, words))


async def _sent(
    footing: Footing, info: CallInfo, timeout_s: float | None, showing: Showing | None
) -> tuple[Any, ErrorRecord | None]:
    exchange, env = footing.exchange, footing.state.env
    token = call_context.set(info)
    shown = None if showing is None else showing_context.set(showing)
    stopwatch = None if showing is None else showing.stopwatch
    try:
        sending = env.interceptor(footing.site, info, exchange, lambda: exchange.send(footing.rung))
        return await within(timeout_s, sending, loop=footing.state.loop, stopwatch=stopwatch), None
    except Misuse:
        raise
    except Expired as error:
        assert timeout_s is not None
        late = await _late(footing, info, timeout_s)
        return late or (None, _timed_out(footing, info, timeout_s, error))
    except asyncio.CancelledError as error:
        if is_cancelled(error):
            raise
        return None, classify(error, now=env.clock.now())  # nobody cancelled this run: the dependency raised it
    except Exception as error:  # whatever a dependency raises is an outcome, never a crash
        return None, classify(error, now=env.clock.now())
    finally:
        call_context.reset(token)
        if shown is not None:
            showing_context.reset(shown)


def _timed_out(footing: Footing, info: CallInfo, timeout_s: float, error: Expired) -> ErrorRecord:
    env = footing.state.env
    timed_out = classify(CallTimeout(footing.site, timeout_s=timeout_s), now=env.clock.now())
    if env.under_way.never_began(info.idempotency_key) or waited_for_a_thread(error):
        why = f"no thread was free for {footing.site} within {timeout_s:g} s"
        return replace(timed_out, type=_NEVER_BEGAN, message=why)
    return timed_out


async def _late(footing: Footing, info: CallInfo, timeout_s: float) -> tuple[Any, ErrorRecord | None] | None:
    """What a thread brought that outlived its attempt and ended soon after; None where nothing came.

    A thread cannot be stopped, so an attempt whose thread is running is not over. It gets its timeout once more, if so
    much is left; after that, the doubt about it stays until it ends.
    """
    env = footing.state.env
    running = env.under_way.of(info.idempotency_key)
    if not running:
        return None
    await asyncio.wait(running, timeout=min(timeout_s, footing.remaining_s()))
    answered = [work for work, answers in running.items() if answers and work.done() and not work.cancelled()]
    if not answered:
        return None
    error = answered[-1].exception()
    if error is None:
        return answered[-1].result(), None
    return (None, classify(error, now=env.clock.now())) if isinstance(error, Exception) else None


def _inspected(footing: Footing, number: int, duration_s: float, native: Any) -> Attempt:
    """The attempt that brought `native`, and what that is worth."""
    state, exchange = footing.state, footing.exchange
    try:
        inspection = exchange.inspect(native)
        usage = inspection.usage if footing.rung is None else _priced(footing, inspection.usage)
        problem = inspection.problem
        observes = state.env.contract.protections.output_check is Mode.OBSERVE
        value = exchange.encode(native) if footing.rung is not None or problem is None or observes else None
        if footing.rung is not None:
            written = canonical_json(value)
            if usage is None and footing.rung.model.canned is None:
                usage = _priced(footing, _estimated(exchange, written))
    except Exception as broken:  # an answer that cannot even be looked at, or written down, is malformed
        malformed = ErrorRecord(type=type(broken).__name__, message=str(broken)[:500], fault=Fault.MALFORMED)
        return Attempt(number, duration_s, native, malformed)
    if problem is None:
        return Attempt(number, duration_s, native, None, usage, value)
    if observes:
        state.raise_finding(output_finding(footing.site, problem.fault, problem.detail, observed=True))
        return Attempt(number, duration_s, native, None, usage, value)
    error = ErrorRecord(type="OutputRejected", message=problem.detail, fault=problem.fault)
    return Attempt(number, duration_s, native, error, usage)


def _priced(footing: Footing, usage: Usage | None) -> Usage | None:
    if usage is None or footing.rung is None:
        return usage
    usd = footing.state.limits.cost(footing.rung.model, usage.input_tokens, usage.output_tokens)
    return usage if usd == usage.usd else replace(usage, usd=usd)


def _estimated(exchange: Exchange, written: bytes) -> Usage:
    """What a model that does not say has used, by a cautious estimate of what it was asked and answered."""
    return Usage(input_tokens=exchange.input_tokens, output_tokens=estimate_tokens(written))


def _note_slow(footing: Footing, attempt: Attempt) -> None:
    message = f"answered after {attempt.duration_s:.3g} s; from {footing.terms.slow_s:g} s on is slow"
    footing.note(attempt.number, Fault.SLOW, message, attempt.duration_s)
