"""Attempts: the ladder, retries within a rung, one attempt under its timeout, and what its answer is worth."""

import asyncio
from typing import Any

import msgspec
from msgspec.structs import replace

from plimsoll.contract.model import Mode, Model, Tool
from plimsoll.core.calls import CallInfo, CallKind, Effect, ErrorRecord, Fault, Outcome, Status, Usage
from plimsoll.core.errors import CallTimeout, Misuse
from plimsoll.core.events import AttemptSettled, RungChanged
from plimsoll.observability.findings import output_finding
from plimsoll.policies.classify import classify
from plimsoll.policies.deadline import attempt_timeout_s
from plimsoll.policies.ladder import Ladder, Rung
from plimsoll.runtime.current import call_context
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.keys import idempotency_key
from plimsoll.runtime.state import RunState

__all__ = ["Answer", "Attempt", "Footing", "climb", "retrying"]


class Answer(msgspec.Struct, frozen=True):
    """An outcome, and the native answer where there is one in this process."""

    outcome: Outcome
    native: Any = None
    has_native: bool = False


class Attempt(msgspec.Struct, frozen=True):
    """What one attempt brought, or the last of `number` attempts: a native answer, or an error."""

    number: int
    duration_s: float
    native: Any = None
    error: ErrorRecord | None = None
    usage: Usage | None = None


class Footing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a call stands on its ladder: rung number `index`, with `reserve_s` seconds kept for the rungs below.

    A tool has no ladder: its one rung is None.
    """

    state: RunState
    exchange: Exchange
    key: str
    effect: Effect
    index: int = 0
    rung: Rung | None = None
    reserve_s: float = 0.0

    @property
    def site(self) -> str:
        """The dependency that is really asked here."""
        return self.exchange.dependency if self.rung is None else self.rung.name

    @property
    def section(self) -> Model | Tool:
        """What the contract says of it."""
        return self.state.env.tool(self.exchange.dependency) if self.rung is None else self.rung.model

    @property
    def refusals(self) -> tuple[str, ...]:
        """The exception classes by which it says that nothing happened."""
        section = self.section
        return (*section.proves_nothing_happened, *self.exchange.refusals) if isinstance(section, Tool) else ()

    def remaining_s(self) -> float:
        """Seconds left before the run's deadline."""
        return self.state.deadline.remaining(self.state.env.clock)

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


async def climb(state: RunState, exchange: Exchange, key: str, effect: Effect) -> Answer:
    """Tries the rungs of the ladder from the top down until one answers."""
    ladder = state.env.ladders.get(exchange.dependency) if exchange.kind is CallKind.MODEL else None
    rungs: tuple[Rung | None, ...] = (None,) if ladder is None else ladder.rungs
    attempts = 0
    spent: Usage | None = None
    last = ErrorRecord(type="NoRung", message="the ladder has no rung")
    for index, rung in enumerate(rungs):
        reserve_s = 0.0 if ladder is None else ladder.reserve_below_s(index, state.env.windows)
        footing = Footing(
            state=state, exchange=exchange, key=key, effect=effect, index=index, rung=rung, reserve_s=reserve_s
        )
        tried = await retrying(footing)
        attempts += tried.number
        spent = add_usage(spent, tried.usage)
        if tried.error is None:
            value = exchange.encode(tried.native)
            outcome = Outcome(status=Status.OK, value=value, rung=index, attempts=attempts, usage=spent)
            return Answer(outcome, tried.native if exchange.kind is CallKind.MODEL else value, has_native=True)
        last = tried.error
        if ladder is None or not _descends(footing, ladder, last):
            break
    return Answer(Outcome(status=Status.FAILED, error=last, attempts=attempts, usage=spent))


def _descends(footing: Footing, ladder: Ladder, error: ErrorRecord) -> bool:
    below = footing.index + 1
    if below >= len(ladder.rungs) or footing.state.env.contract.protections.fallback is Mode.OBSERVE:
        return False
    footing.state.record(
        RungChanged(
            key=footing.key,
            dependency=footing.exchange.dependency,
            rung=below,
            to=ladder.rungs[below].name,
            fault=error.fault,
        )
    )
    return True


async def retrying(footing: Footing) -> Attempt:
    """Attempts at one rung, as often as its retry policy, the retry budget and the deadline allow.

    A write is attempted again only after an error that proves that nothing happened.
    """
    env = footing.state.env
    policy = env.retries.get(footing.site)
    budget = env.budget(footing.site)
    number = 0
    spent: Usage | None = None
    while True:
        number += 1
        tried = await _attempt(footing, number)
        spent = add_usage(spent, tried.usage)
        error = tried.error
        if error is None:
            budget.succeeded()
            return tried if spent is tried.usage else replace(tried, usage=spent)
        proven = error.type in footing.refusals
        if proven and error.fault is Fault.EXCEPTION:
            error = replace(error, fault=Fault.REFUSED)
            tried = replace(tried, error=error)
            _note_slow(footing, tried)
        else:
            footing.note(number, error.fault, error.message, tried.duration_s)
            await footing.state.keep_time(tried.duration_s)
            budget.failed()
        may_repeat = footing.effect is not Effect.WRITE or proven
        if policy is None or not may_repeat or not policy.retries(error.fault, number) or not budget.allows():
            return replace(tried, usage=spent)
        delay_s = policy.delay_s(number, rng=env.rng, retry_after_s=error.retry_after_s)
        if delay_s >= footing.remaining_s() - footing.reserve_s:
            return replace(tried, usage=spent)
        await env.clock.sleep(delay_s)
        footing.state.guard()


def add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """Two attempts' consumption together; None where neither consumed anything."""
    if one is None or other is None:
        return one or other
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        usd=one.usd + other.usd,
    )


async def _attempt(footing: Footing, number: int) -> Attempt:
    """One attempt: within its timeout, seen by the interceptor, its answer checked."""
    state, exchange, env = footing.state, footing.exchange, footing.state.env
    state.check_switch()
    timeout_s: float | None = None
    if env.contract.protections.timeout is Mode.ENFORCE:
        timeout_s = attempt_timeout_s(
            footing.section.timeout_s, remaining_s=footing.remaining_s(), reserve_s=footing.reserve_s
        )
    started = env.clock.monotonic()
    info = CallInfo(
        run_id=state.id,
        key=footing.key,
        dependency=exchange.dependency,
        kind=exchange.kind,
        effect=footing.effect,
        idempotency_key=idempotency_key(state.id, footing.key),
        attempt=number,
        rung=footing.index,
        deadline_s=started + (footing.section.timeout_s if timeout_s is None else timeout_s),
    )
    native, error = await _sent(footing, info, timeout_s)
    duration_s = env.clock.monotonic() - started
    if error is not None:
        return Attempt(number, duration_s, error=error)
    window = env.windows.get(footing.site)
    if window is not None:
        window.observe(duration_s)
    attempt = _inspected(footing, number, duration_s, native)
    if attempt.error is None:
        _note_slow(footing, attempt)
    return attempt


async def _sent(footing: Footing, info: CallInfo, timeout_s: float | None) -> tuple[Any, ErrorRecord | None]:
    exchange, env = footing.exchange, footing.state.env
    token = call_context.set(info)
    try:
        async with asyncio.timeout(timeout_s) as scope:
            return await env.interceptor(footing.site, info, exchange, lambda: exchange.send(footing.rung)), None
    except Misuse:
        raise
    except TimeoutError as timeout:
        if not scope.expired() or timeout_s is None:
            return None, classify(timeout, now=env.clock.now())
        late = await _late(footing, info, timeout_s)
        return late or (None, classify(CallTimeout(footing.site, timeout_s=timeout_s), now=env.clock.now()))
    except Exception as error:  # whatever a dependency raises is an outcome, never a crash
        return None, classify(error, now=env.clock.now())
    finally:
        call_context.reset(token)


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
    state = footing.state
    try:
        inspection = footing.exchange.inspect(native)
    except Exception as broken:  # an answer that cannot even be looked at is malformed
        malformed = ErrorRecord(type=type(broken).__name__, message=str(broken)[:500], fault=Fault.MALFORMED)
        return Attempt(number, duration_s, native, malformed)
    usage, problem = inspection.usage, inspection.problem
    if usage is not None and footing.rung is not None:
        usage = replace(usage, usd=state.limits.cost(footing.rung.model, usage))
    if problem is None:
        return Attempt(number, duration_s, native, None, usage)
    if state.env.contract.protections.output_check is Mode.OBSERVE:
        state.raise_finding(output_finding(footing.site, problem.fault, problem.detail, observed=True))
        return Attempt(number, duration_s, native, None, usage)
    error = ErrorRecord(type="OutputRejected", message=problem.detail, fault=problem.fault)
    return Attempt(number, duration_s, native, error, usage)


def _note_slow(footing: Footing, attempt: Attempt) -> None:
    section = footing.section
    slow_s = section.slow_s if section.slow_s is not None else section.timeout_s / 2
    if attempt.duration_s >= slow_s:
        message = f"answered after {attempt.duration_s:.3g} s; from {slow_s:g} s on is slow"
        footing.note(attempt.number, Fault.SLOW, message, attempt.duration_s)
