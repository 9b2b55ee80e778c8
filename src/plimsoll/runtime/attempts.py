"""One attempt: under its timeout, seen by the interceptor, and what its answer is worth."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from plimsoll.contract.model import Mode, Model
from plimsoll.core.calls import CallInfo, Effect, ErrorRecord, Fault, Usage
from plimsoll.core.canonical import canonical_json
from plimsoll.core.errors import CallTimeout, CircuitOpen, LimitExceeded, Misuse, RateLimited, Rejected, Shed
from plimsoll.core.events import AttemptSettled, Finding
from plimsoll.observability.findings import output_finding
from plimsoll.policies.admission import Admission, Admitted
from plimsoll.policies.classify import classify
from plimsoll.policies.deadline import attempt_timeout_s
from plimsoll.policies.ladder import Rung
from plimsoll.policies.limits import NOTHING, add_usage
from plimsoll.policies.timeout import Expired, within
from plimsoll.runtime.compiled import Terms
from plimsoll.runtime.current import call_context
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.foreign import is_cancelled
from plimsoll.runtime.heeding import has_news, heed
from plimsoll.runtime.models import estimate_tokens
from plimsoll.runtime.showing import Lead, Showing, showing_context
from plimsoll.runtime.state import RunState
from plimsoll.runtime.status import report_if_due
from plimsoll.runtime.underway import waited_for_a_thread

__all__ = ["Attempt", "Footing", "attempted", "inspected", "note_slow", "would"]

_NEVER_BEGAN = "NeverBegan"
"""The error of an attempt that waited for a thread until it was given up: it proves that nothing happened."""


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
    first_s: float | None = None
    """After how many seconds the first part of a streamed answer came."""
    was_sent: bool = True
    """Whether the dependency was asked at all; no policy of ours stood in the way."""


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

    async def barred_today(self, spent: Usage | None) -> LimitExceeded | None:
        """As `barred`, by a limit of the day: what all runs of the agent together may use up."""
        if self.rung is None:
            return None
        return await self.state.hold_today(self.exchange, self.key, rung=self.rung.name, spent=spent)

    def fits_today(self, spent: Usage | None) -> bool:
        """Whether this process has in hand of the day's limits what one more attempt needs at its worst. It is held for
        this call then, without waiting for anything."""
        day = self.state.day
        return day is None or self.rung is None or day.hold_of_hand(self.key, add_usage(spent, self.worst()) or NOTHING)

    def worst(self) -> Usage | None:
        """What one attempt here can use up at most; None for what is no model."""
        if self.rung is None:
            return None
        return self.state.limits.worst_case(self.rung.model, self.exchange.input_tokens)

    def prompt(self) -> Usage | None:
        """What it costs to have asked here and given it up, as far as anybody knows; None for what is no model."""
        if self.rung is None:
            return None
        tokens = self.exchange.input_tokens
        return Usage(input_tokens=tokens, usd=self.state.limits.cost(self.rung.model, tokens, 0))

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


def would(what: str, dependency: str, fault: Fault, words: str) -> Finding:
    """What a protection that only observes would have done."""
    return Finding(
        kind=f"would_{what}",
        severity="warning",
        message=f"{dependency}: {words} ({fault})",
        dependency=dependency,
        fault=fault.value,
        observed=True,
    )


def attempted(footing: Footing, number: int, lead: Lead | None = None) -> Coroutine[Any, Any, Attempt]:
    """One attempt, as far as circuit breaker, rate limit and bulkhead let it through.

    `lead` is told when the answer begins to come, where another attempt is made beside this one.
    """
    admission = footing.state.env.admissions.get(footing.site)
    if admission is None:
        return _made(footing, number, lead)
    return _admitted(admission, footing, number, lead)


async def _admitted(admission: Admission, footing: Footing, number: int, lead: Lead | None) -> Attempt:
    state, env = footing.state, footing.state.env
    if has_news(state):
        await heed(state)
    arrived = env.clock.monotonic()
    try:
        admitted = await admission.enter(
            criticality=state.criticality,
            tokens=footing.exchange.input_tokens,
            at_most_s=max(0.0, footing.remaining_s() - footing.reserve_s),
            would_refuse=partial(_would_refuse, footing),
        )
        if has_news(state):  # of while it waited for its turn
            await _heeded(state, admission, admitted)
    except Rejected as refusal:
        report_if_due(env)
        return Attempt(number, env.clock.monotonic() - arrived, error=classify(refusal), was_sent=False)
    try:
        tried = await _made(footing, number, lead)
    except BaseException:
        admitted.cancelled()
        raise
    if tried.error is None:
        admitted.succeeded(tried.duration_s)
    else:
        admitted.failed(_fault_in(footing, tried.error), tried.duration_s)
    report_if_due(env)
    return tried


async def _heeded(state: RunState, admission: Admission, admitted: Admitted) -> None:
    """Heeds what people have asked for meanwhile. Raises `CircuitOpen` where they have isolated the dependency."""
    try:
        await heed(state)
        admission.check(admitted)
    except BaseException:
        admitted.cancelled()
        raise


def _would_refuse(footing: Footing, refusal: Rejected) -> None:
    what = {CircuitOpen: "open_circuit", RateLimited: "throttle", Shed: "shed"}[type(refusal)]
    words = "it would not have been asked"
    if isinstance(refusal, RateLimited):
        words = f"it would have been held back for {refusal.retry_after_s:.3g} s"
    footing.state.raise_finding(would(what, footing.site, classify(refusal).fault, words))


def _fault_in(footing: Footing, error: ErrorRecord) -> Fault:
    """By what an attempt failed. A refusal in the dependency's own trade is none of its failures."""
    return Fault.REFUSED if error.type in footing.refusals and error.fault is Fault.EXCEPTION else error.fault


async def _made(footing: Footing, number: int, lead: Lead | None) -> Attempt:
    """One attempt: within its timeout, seen by the interceptor, its answer checked."""
    state, exchange, env = footing.state, footing.exchange, footing.state.env
    if has_news(state):
        await heed(state)
    showing = None if footing.rung is None else _showing(footing, footing.rung.model, lead)
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
        given_up = error.fault is Fault.TIMEOUT and error.type != _NEVER_BEGAN
        return Attempt(number, duration_s, error=error, usage=footing.prompt() if given_up else None)
    window = env.windows.get(footing.site)
    if window is not None:
        window.observe(duration_s)
    attempt = inspected(footing, number, duration_s, native)
    if showing is not None and showing.first_s is not None:
        attempt = replace(attempt, first_s=showing.first_s)
    if duration_s >= footing.terms.slow_s and attempt.error is None:
        note_slow(footing, attempt)
    return attempt


def _showing(footing: Footing, model: Model, lead: Lead | None) -> Showing | None:
    """How this attempt at a model shows its answer. None where nobody is shown it, and it may be silent."""
    relay = footing.state.streams.relays.get(footing.key)
    if relay is None and model.idle_timeout_s is None and lead is None:
        return None
    enforced = footing.state.env.contract.protections.timeout is Mode.ENFORCE
    return Showing(footing.site, relay=relay, idle_s=model.idle_timeout_s if enforced else None, lead=lead)


def _note_patience(footing: Footing, allowed_s: float, duration_s: float, showing: Showing | None) -> None:
    """Reports an attempt that a timeout which only observes would have given up."""
    idle_s = None if footing.rung is None else footing.rung.model.idle_timeout_s
    if duration_s >= allowed_s:
        words = f"it would have been given up after {allowed_s:.3g} s"
    elif idle_s is not None and showing is not None and showing.silent_s >= idle_s:
        words = f"it would have been given up after a silence of {idle_s:.3g} s"
    else:
        return
    footing.state.raise_finding(would("time_out", footing.site, Fault.TIMEOUT, words))


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


def inspected(footing: Footing, number: int, duration_s: float, native: Any) -> Attempt:
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
            if usage is None and footing.rung.model.is_model:
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
    if min(usage.input_tokens, usage.output_tokens) < 0:
        return None  # nobody gives tokens back: as if it had not said
    usd = footing.state.limits.cost(footing.rung.model, usage.input_tokens, usage.output_tokens)
    return usage if usd == usage.usd else replace(usage, usd=usd)


def _estimated(exchange: Exchange, written: bytes) -> Usage:
    """What a model that does not say has used, by a cautious estimate of what it was asked and answered."""
    return Usage(input_tokens=exchange.input_tokens, output_tokens=estimate_tokens(written))


def note_slow(footing: Footing, attempt: Attempt) -> None:
    message = f"answered after {attempt.duration_s:.3g} s; from {footing.terms.slow_s:g} s on is slow"
    footing.note(attempt.number, Fault.SLOW, message, attempt.duration_s)
