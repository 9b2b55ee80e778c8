"""What watching costs: each detector for a healthy call, each monitor, an alert; and a call's limits and its ladder.

CPU time, in this process, of what is done besides the call itself. Nothing is wrong in what is watched, since that is
what is paid for every day.

    python -m benchmarks.detectors [--quick] [--json] [--save]
"""

import asyncio
import sys
from collections.abc import Callable, Sequence

from benchmarks.common import cpu_s, finish, parser, table
from benchmarks.peers.work import answer, order_line
from plimsoll.contract.model import (
    AgentSection,
    Contract,
    DayLimits,
    Fresh,
    Limits,
    Model,
    OutputRule,
    ServiceLevel,
    ServiceLevels,
    Tool,
)
from plimsoll.core.calls import CallKind, Effect, Fault, Outcome, Status, Usage
from plimsoll.core.clock import SystemClock
from plimsoll.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    AttemptSettled,
    CallSettled,
    DoubtRaised,
    DoubtResolved,
    Event,
    Finding,
    Record,
    encode_event,
)
from plimsoll.journal import MemoryStore
from plimsoll.observability.detectors import (
    ApprovalDetector,
    AttemptDetector,
    ClaimDetector,
    Detector,
    DoubtDetector,
    LoopDetector,
    ProgressDetector,
    SpendingDetector,
)
from plimsoll.observability.findings import MemorySink
from plimsoll.observability.monitors.levels import LevelMonitor
from plimsoll.observability.monitors.reviewers import ReviewMonitor
from plimsoll.observability.monitors.views import Decision, Glance, View
from plimsoll.observability.monitors.waiting import QueueMonitor, SilenceMonitor
from plimsoll.observability.throttle import Throttle
from plimsoll.policies.deadline import LatencyWindow
from plimsoll.policies.ladder import build_ladders
from plimsoll.policies.limits import LimitLedger
from plimsoll.policies.output_check import check_value
from plimsoll.runtime.daily import DayBook

CALLS = 100
"""Of one run: as many models as tools, none like another."""
MANY = 1000
"""Decisions, running runs, and runs that say the same."""

CLAIMS = ("has been refunded", "I have cancelled", "was sent to you")
CONTRACT = Contract(
    agent=AgentSection(name="desk"),
    models={"primary": Model()},
    tools={f"tool-{number}": Tool(claims=(phrase,)) for number, phrase in enumerate(CLAIMS)},
    service_levels=ServiceLevels(
        models={"primary": ServiceLevel(objective=0.99, within_s=10.0)},
        tools={"find_order": ServiceLevel(objective=0.99)},
    ),
)
USED = Usage(input_tokens=900, output_tokens=120, usd=0.002)
SLOW = Finding(kind="slow", severity="warning", message="gpt answered slowly", dependency="gpt", fault="slow")


def calls() -> list[Event]:
    """The calls of a healthy run, as the journal has them."""
    return [
        CallSettled(
            key=f"{number}:find_order" if number % 2 else f"{number}:primary",
            kind=CallKind.TOOL if number % 2 else CallKind.MODEL,
            dependency="find_order" if number % 2 else "primary",
            effect=Effect.READ,
            args_digest=f"{number:064x}",
            result_digest=f"{number:064x}",
            duration_s=0.25,
            outcome=Outcome(
                status=Status.OK,
                value=order_line(f"W{number:08}", 7) if number % 2 else {"text": answer(f"W{number:08}", number)},
                usage=None if number % 2 else USED,
            ),
        )
        for number in range(CALLS)
    ]


def failures() -> list[Event]:
    """Attempts that failed, each in another call."""
    return [
        AttemptSettled(
            key=f"{number}:primary",
            dependency="primary",
            rung=0,
            attempt=1,
            fault=Fault.TIMEOUT,
            message="no answer within 30 s",
            duration_s=30.0,
        )
        for number in range(CALLS)
    ]


def us(work: Callable[[], object], *, of: int, times: int) -> float:
    """CPU microseconds of one of `of` things that `work` does."""
    return round(1e6 * cpu_s(work, times=times) / of, 2)


def watched(make: Callable[[], Detector], events: Sequence[Event], times: int) -> float:
    """A detector, for one event of a run."""
    reads = make().reads
    shown = [event for event in events if type(event) in reads]

    def watch() -> None:
        detector = make()
        for event in shown:
            for _ in detector.observe(event, at=0.0):
                pass

    return us(watch, of=len(events), times=times)


def levels(times: int) -> float:
    """Holding the calls to their service levels, for one record."""
    records = [
        Record(run_id="r", seq=seq, epoch=1, at=float(seq), body=encode_event(event), digest=bytes(32))
        for seq, event in enumerate(calls(), 1)
    ]
    monitor = LevelMonitor(CONTRACT.service_levels)
    assert monitor.is_needed
    return us(lambda: monitor.committed(records), of=len(records), times=times)


def queue(times: int) -> float:
    """Looking for people who are waited for, for one run that waits."""
    waiting = tuple(Glance(run_id=f"run-{number}", since=0.0) for number in range(MANY))
    monitor = QueueMonitor(300.0)
    return us(lambda: monitor.look(View(waiting=waiting), now=60.0), of=MANY, times=times)


def decisions() -> list[Event]:
    """An approval that is asked for and given, and a doubt that is raised and resolved."""
    asked = ApprovalRequested(
        request_id="r.a1",
        key="4:refund",
        dependency="refund",
        args={"amount": 60},
        args_digest="d",
        fingerprint="f",
        rule="amount > 50",
        approvers=("ana",),
        expires_at=9.0,
    )
    return [
        asked,
        ApprovalDecided(request_id="r.a1", decision_id="d1", decision="approved", args_digest="d", by="ana"),
        DoubtRaised(key="5:refund", dependency="refund", idempotency_key="k", fault=Fault.TIMEOUT, message="no answer"),
        DoubtResolved(key="5:refund", answer="happened", by="verify"),
    ]


def reviewers(times: int) -> float:
    """Looking for rubber-stamping, for one decision."""
    decisions = tuple(
        Decision(run_id="r", by=f"person-{n % 7}", approved=n % 15 != 0, at=60.0 * n, asked_at=60.0 * n - 30.0)
        for n in range(MANY)
    )
    return us(lambda: ReviewMonitor().look(View(decided=decisions), now=0.0), of=MANY, times=times)


def silence(times: int) -> float:
    """Looking for runs that say nothing, for one that runs."""
    running = tuple(Glance(run_id=f"run-{number}", since=0.0) for number in range(MANY))
    monitor = SilenceMonitor(300.0)
    return us(lambda: monitor.look(View(running=running), now=60.0), of=MANY, times=times)


def claims(times: int) -> float:
    """Holding a run's answer against three phrases, none of which it says."""
    detector, text = ClaimDetector(CONTRACT), answer("W00000042", 1)
    assert not detector.undone_in(text)
    return us(lambda: detector.undone_in(text), of=1, times=10 * times)


async def alerts(times: int) -> float:
    """An alert of a cause that has been told."""
    throttle = Throttle(MemorySink(), clock=SystemClock())

    def emit() -> None:
        for number in range(MANY):
            throttle.emit(SLOW, run_id=f"run-{number}", agent="desk", at=0.0)

    spent = us(emit, of=MANY, times=times)
    await throttle.settle()
    return spent


def limits(times: int) -> float:
    """The limits of a run, for one call of a model."""
    model = Model(usd_per_million_input_tokens=2.0, usd_per_million_output_tokens=10.0)

    def run() -> None:
        ledger = LimitLedger(Limits(steps=CALLS, tokens=10**9, usd=10**6))
        for number in range(CALLS):
            key = str(number)
            ledger.before_call(active_s=1.0, worst=ledger.worst_case(model, 900), key=key)
            ledger.settled(USED, key=key)

    return us(run, of=CALLS, times=times)


async def day(times: int) -> float:
    """The limits of a day, for one call of a model that is paid for out of what the process has drawn already."""
    most = DayLimits(usd=10_000.0, tokens=10**12)
    book = DayBook(most, account="desk", owner="bench", store=MemoryStore(), clock=SystemClock())
    worst = Usage(input_tokens=900, output_tokens=4096, usd=0.04)
    tab = book.tab()
    await tab.hold("first", Usage(input_tokens=10**9, usd=100.0))
    tab.settle("first", None)

    def run() -> None:
        for number in range(CALLS):
            key = str(number)
            assert tab.hold_of_hand(key, worst)
            tab.settle(key, None)

    return us(run, of=CALLS, times=times)


def stale(times: int) -> float:
    """Looking how old an answer is that says so, beyond the other checks of it."""
    fresh = OutputRule(type="object", fresh=Fresh(field="as_of", max_age_s=600.0))
    value = {**order_line("W1", 7), "as_of": "2026-01-01T12:00:00Z"}
    noon = 1_767_268_800.0
    assert check_value(value, fresh, now=lambda: noon) is None
    with_it = us(lambda: check_value(value, fresh, parsed=True, now=lambda: noon), of=1, times=100 * times)
    without = us(lambda: check_value(value, fresh, parsed=True), of=1, times=100 * times)
    return round(with_it - without, 2)


def ladder(times: int) -> float:
    """What is kept for the two rungs below, for one call that the first rung answers."""
    names = ("primary", "backup", "small", "canned")
    models = {"primary": Model(fallback=names[1:]), "backup": Model(), "small": Model(), "canned": Model(canned="No.")}
    rungs = build_ladders(models)["primary"]
    windows = {name: LatencyWindow(prior_s=5.0) for name in names[:3]}
    for window in windows.values():
        for number in range(64):
            window.observe(1.0 + number / 64)

    def run() -> None:
        for _ in range(CALLS):
            windows["primary"].observe(1.5)
            rungs.reserve_below_s(0, windows)

    return us(run, of=CALLS, times=times)


def measure(times: int) -> dict[str, float]:
    """All of it, in µs."""
    healthy = calls()
    return {
        "failures": watched(AttemptDetector, healthy, times),
        "a_failure": watched(AttemptDetector, failures(), times),
        "loops": watched(lambda: LoopDetector(3), healthy, times),
        "progress": watched(lambda: ProgressDetector(3), healthy, times),
        "spending": watched(lambda: SpendingDetector(Limits(tokens=10**9, usd=10**6)), healthy, times),
        "claims": watched(lambda: ClaimDetector(CONTRACT), healthy, times),
        "an_answer": claims(times),
        "stale": stale(times),
        "levels": levels(times),
        "silence": silence(times),
        "queue": queue(times),
        "approvals": watched(ApprovalDetector, decisions()[:2], times),
        "doubts": watched(DoubtDetector, decisions()[2:], times),
        "reviewers": reviewers(times),
        "an_alert": asyncio.run(alerts(times)),
        "limits": limits(times),
        "day": asyncio.run(day(times)),
        "ladder": ladder(times),
    }


def main() -> int:
    args = parser(__doc__ or "").parse_args()
    spent = measure(10 if args.quick else 200)
    table("What watching costs", [("what", "CPU µs"), *((name, f"{each}") for name, each in spent.items())])
    finish("detectors", args, {"us": spent, "calls": CALLS, "many": MANY, "phrases": len(CLAIMS)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
