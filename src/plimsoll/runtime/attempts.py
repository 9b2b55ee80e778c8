"""Attempts: the ladder, retries within a rung, one attempt under its timeout, and what its answer is worth."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from plimsoll.contract.model import Mode, Model, Tool
from plimsoll.core.calls import CallInfo, CallKind, Effect, ErrorRecord, Fault, Outcome, Status, Usage
from plimsoll.core.errors import CallTimeout, Misuse
from plimsoll.core.events import AttemptSettled, RungChanged
from plimsoll.observability.findings import output_finding
from plimsoll.policies.classify import classify
from plimsoll.policies.deadline import attempt_timeout_s
from plimsoll.policies.ladder import Ladder, Rung
from plimsoll.runtime.current import call_context
from plimsoll.runtime.keys import idempotency_key
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.state import RunState

__all__ = ["Answer", "Attempt", "attempt", "climb", "retrying"]


@dataclass(frozen=True, slots=True)
class Answer:
    """An outcome, and the native answer where there is one in this process."""

    outcome: Outcome
    native: Any = None
    has_native: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt brought: a native answer, or an error."""

    number: int
    duration_s: float
    native: Any = None
    error: ErrorRecord | None = None
    usage: Usage | None = None


async def climb(state: RunState, exchange: Exchange, key: str, effect: Effect) -> Answer:
    """Tries the rungs of the ladder from the top until one answers. A tool has no ladder: one rung."""
    ladder = state.env.ladders.get(exchange.dependency) if exchange.kind is CallKind.MODEL else None
    rungs: tuple[Rung | None, ...] = ladder.rungs if ladder is not None else (None,)
    attempts = 0
    last = ErrorRecord(type="NoRung", message="the ladder has no rung")
    spent: Usage | None = None
    for index, rung in enumerate(rungs):
        reserve_s = ladder.reserve_below_s(index, state.env.windows) if ladder is not None else 0.0
        tried = await retrying(state, exchange, key, effect, index=index, rung=rung, reserve_s=reserve_s)
        attempts += tried.number
        spent = add_usage(spent, tried.usage)
        if tried.error is None:
            return _answered(exchange, tried, rung=index, attempts=attempts, usage=spent)
        last = tried.error
        if not _descends(state, exchange, key, ladder, index, last):
            break
    return Answer(Outcome(status=Status.FAILED, error=last, attempts=attempts, usage=spent))


def _descends(
    state: RunState, exchange: Exchange, key: str, ladder: Ladder | None, index: int, error: ErrorRecord
) -> bool:
    if ladder is None or index + 1 >= len(ladder.rungs):
        return False
    if state.env.contract.protections.fallback is Mode.OBSERVE:
        return False
    below = ladder.rungs[index + 1].name
    state.record(
        RungChanged(key=key, dependency=exchange.dependency, rung=index + 1, to=below, fault=error.fault)
    )
    return True


def _answered(exchange: Exchange, tried: Attempt, *, rung: int, attempts: int, usage: Usage | None) -> Answer:
    value = exchange.encode(tried.native)
    outcome = Outcome(status=Status.OK, value=value, rung=rung, attempts=attempts, usage=usage)
    return Answer(outcome, tried.native if exchange.kind is CallKind.MODEL else value, has_native=True)


def add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """Two calls' consumption together; None where neither consumed anything."""
    if one is None or other is None:
        return one or other
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        usd=one.usd + other.usd,
    )


async def retrying(
    state: RunState,
    exchange: Exchange,
    key: str,
    effect: Effect,
    *,
    index: int = 0,
    rung: Rung | None = None,
    reserve_s: float = 0.0,
) -> Attempt:
    """Attempts at one rung, as often as its retry policy, the retry budget and the deadline allow."""
    env = state.env
    name = rung.name if rung is not None else exchange.dependency
    policy = env.retries.get(name)
    budget = env.budget(name)
    number = 1
    spent: Usage | None = None
    while True:
        tried = await attempt(state, exchange, key, effect, number, index=index, rung=rung, reserve_s=reserve_s)
        spent = add_usage(spent, tried.usage)
        tried = replace(tried, usage=spent) if spent is not tried.usage else tried
        if tried.error is None:
            budget.succeeded()
            return tried
        refused = env.tool(exchange.dependency).proves_nothing_happened if rung is None else ()
        if tried.error.type in refused and tried.error.fault is Fault.EXCEPTION:
            return replace(tried, error=msgspec.structs.replace(tried.error, fault=Fault.REFUSED))
        fault = tried.error.fault
        state.record(
            AttemptSettled(
                key=key,
                dependency=name,
                rung=index,
                attempt=number,
                fault=fault,
                message=tried.error.message[:500],
                duration_s=round(tried.duration_s, 6),
            )
        )
        budget.failed()
        if effect is Effect.WRITE and tried.error.type not in refused:
            return tried
        if policy is None or not policy.retries(fault, number) or not budget.allows():
            return tried
        delay_s = policy.delay_s(number, rng=env.rng, retry_after_s=tried.error.retry_after_s)
        if delay_s >= state.deadline.remaining(env.clock) - reserve_s:
            return tried
        await env.clock.sleep(delay_s)
        state.guard()
        number += 1


async def attempt(
    state: RunState,
    exchange: Exchange,
    key: str,
    effect: Effect,
    number: int,
    *,
    index: int = 0,
    rung: Rung | None = None,
    reserve_s: float = 0.0,
) -> Attempt:
    """One attempt: within its timeout, seen by the interceptor, its answer checked."""
    env = state.env
    section: Model | Tool = rung.model if rung is not None else env.tool(exchange.dependency)
    timeout_s: float | None = attempt_timeout_s(
        section.timeout_s, remaining_s=state.deadline.remaining(env.clock), reserve_s=reserve_s
    )
    started = env.clock.monotonic()
    info = CallInfo(
        run_id=state.id,
        key=key,
        dependency=exchange.dependency,
        kind=exchange.kind,
        effect=effect,
        idempotency_key=idempotency_key(state.id, key),
        attempt=number,
        rung=index,
        deadline_s=started + (timeout_s or 0.0),
    )
    if env.contract.protections.timeout is Mode.OBSERVE:
        timeout_s = None
    site = rung.name if rung is not None else exchange.dependency
    native, error = await _sent(state, exchange, info, site, rung, timeout_s)
    duration_s = env.clock.monotonic() - started
    if error is None:
        window = env.windows.get(site)
        if window is not None:
            window.observe(duration_s)
        native, error, usage = _inspected(state, exchange, native, section)
        _note_slow(state, key, site, index, number, duration_s, section, failed=error is not None)
        return Attempt(number, duration_s, native, error, usage)
    return Attempt(number, duration_s, error=error)


async def _sent(
    state: RunState, exchange: Exchange, info: CallInfo, site: str, rung: Rung | None, timeout_s: float | None
) -> tuple[Any, ErrorRecord | None]:
    token = call_context.set(info)
    try:
        async with asyncio.timeout(timeout_s) as scope:
            return await state.env.interceptor(site, info, exchange, lambda: exchange.send(rung)), None
    except Misuse:
        raise
    except TimeoutError as error:
        if scope.expired():
            return None, classify(CallTimeout(site, timeout_s=timeout_s or 0.0), now=state.env.clock.now())
        return None, classify(error, now=state.env.clock.now())
    except Exception as error:  # whatever a dependency raises is an outcome, never a crash
        return None, classify(error, now=state.env.clock.now())
    finally:
        call_context.reset(token)


def _inspected(
    state: RunState, exchange: Exchange, native: Any, section: Model | Tool
) -> tuple[Any, ErrorRecord | None, Usage | None]:
    try:
        inspection = exchange.inspect(native)
    except Exception as error:  # an answer that cannot even be looked at is malformed
        return None, ErrorRecord(type=type(error).__name__, message=str(error), fault=Fault.MALFORMED), None
    usage = inspection.usage
    if usage is not None and isinstance(section, Model):
        usage = msgspec.structs.replace(usage, usd=state.limits.cost(section, usage))
    problem = inspection.problem
    if problem is None:
        return native, None, usage
    if state.env.contract.protections.output_check is Mode.OBSERVE:
        state.raise_finding(output_finding(exchange.dependency, problem.fault, problem.detail, observed=True))
        return native, None, usage
    return native, ErrorRecord(type="OutputRejected", message=problem.detail, fault=problem.fault), usage


def _note_slow(
    state: RunState,
    key: str,
    site: str,
    index: int,
    number: int,
    duration_s: float,
    section: Model | Tool,
    *,
    failed: bool,
) -> None:
    slow_s = section.slow_s if section.slow_s is not None else section.timeout_s / 2
    if duration_s >= slow_s and not failed:
        message = f"answered after {duration_s:.3g} s; from {slow_s:g} s on is slow"
        state.record(
            AttemptSettled(
                key=key,
                dependency=site,
                rung=index,
                attempt=number,
                fault=Fault.SLOW,
                message=message,
                duration_s=round(duration_s, 6),
            )
        )


