"""How the dependencies of a process stand: what it reports of itself, for whoever operates it.

A report is left with the store, for a command line or a console in another process, and is gone with the process.
"""

import math
from contextlib import suppress

import msgspec

from plimsoll.core.errors import JournalUnavailable
from plimsoll.policies.circuit_breaker import CircuitState
from plimsoll.runtime.environment import Environment

__all__ = ["DependencyStatus", "ProcessStatus", "report_if_due", "status_of"]

REPORTED_EVERY_S = 2.0


class DependencyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one dependency stands. None: it has no such policy.

    `retry_after_s` is in how many seconds an open circuit lets a probe pass; none where only an operator can say so.
    `held_back_s` is for how many seconds its rate limit would hold the next call back. `hedge_after_s` is after how
    many seconds an attempt is made a second time, `hedged_share` the share of calls of which one was. `retry_tokens`
    are what is left of its retry budget.
    """

    name: str
    circuit: CircuitState | None = None
    failure_ratio: float | None = None
    retry_after_s: float | None = None
    under_way: int | None = None
    max_concurrent: int | None = None
    waiting: int | None = None
    held_back_s: float | None = None
    hedge_after_s: float | None = None
    hedged_share: float | None = None
    retry_tokens: float | None = None


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the dependencies of one agent stand in the process `owner`, at the wall-clock time `at`, in seconds."""

    owner: str
    agent: str
    at: float
    dependencies: tuple[DependencyStatus, ...] = ()


def status_of(env: Environment) -> ProcessStatus:
    """How the dependencies stand now that have been asked, or that a policy guards."""
    names = dict.fromkeys((*env.admissions, *(name for name, _ in env.hedging), *env.budgets))
    return ProcessStatus(
        owner=env.surroundings.owner,
        agent=env.contract.agent.name,
        at=env.clock.now(),
        dependencies=tuple(_dependency(env, name) for name in names),
    )


def report_if_due(env: Environment) -> None:
    """Leaves the process's status with the store, every two seconds and when a circuit has changed, where any policy
    guards a dependency. Where that cannot be done, nobody is held up."""
    now = env.clock.monotonic()
    if now < env.report_at or not (env.admissions or env.hedging):
        return
    env.report_at = now + REPORTED_EVERY_S
    reported = env.surroundings.reported
    reported[env.contract.agent.name] = msgspec.json.encode(status_of(env))
    with suppress(JournalUnavailable):
        env.store.report(env.surroundings.owner, b"[%b]" % b",".join(reported.values()))


def _dependency(env: Environment, name: str) -> DependencyStatus:
    admission = env.admissions.get(name)
    circuit = None if admission is None else admission.circuit
    compartment = None if admission is None else admission.compartment
    throttle = None if admission is None else admission.throttle
    books = [env.hedging[name, shown] for shown in (False, True) if (name, shown) in env.hedging]
    asked = sum(book.asked for book in books)
    retry_after_s = None if circuit is None else circuit.retry_after_s
    return DependencyStatus(
        name=name,
        circuit=None if circuit is None else circuit.state,
        failure_ratio=None if circuit is None else circuit.failure_ratio,
        retry_after_s=None if retry_after_s is None or math.isinf(retry_after_s) else retry_after_s,
        under_way=None if compartment is None else compartment.inside,
        max_concurrent=None if compartment is None else compartment.policy.max_concurrent,
        waiting=None if compartment is None else compartment.waiting,
        held_back_s=None if throttle is None else throttle.wait_s(tokens=1),
        hedge_after_s=max((book.after_s for book in books if book.after_s is not None), default=None),
        hedged_share=sum(book.extra for book in books) / asked if asked else None,
        retry_tokens=env.budgets[name].tokens if name in env.budgets else None,
    )
