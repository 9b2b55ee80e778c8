"""Which events raise which findings."""

from collections.abc import Sequence

import pytest

from plimsoll.contract.model import AgentSection, Contract, Limits, Mode, Protections
from plimsoll.core.calls import CallKind, Effect, Ending, ErrorRecord, Fault, Outcome, Status
from plimsoll.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    AttemptSettled,
    CallIntended,
    CallSettled,
    DoubtRaised,
    DoubtResolved,
    Event,
    Finding,
    FindingRaised,
    RunEnded,
    RungChanged,
    RunParkedEvent,
    RunResumed,
    RunStarted,
    ValueRecorded,
)
from plimsoll.observability import people
from plimsoll.observability.detectors import (
    ApprovalDetector,
    AttemptDetector,
    ClaimDetector,
    Detector,
    DoubtDetector,
    LoopDetector,
    ProgressDetector,
    RecoveryDetector,
    SpendingDetector,
    default_detectors,
)

CONTRACT = Contract(agent=AgentSection(name="shop"), limits=Limits(repeats=2))
SILENT = ("empty", "whitespace", "truncated", "filtered", "malformed", "wrong_shape", "error_in_success", "stale")
LOUD = ("timeout", "rate_limited", "server_error", "connection", "client_error", "exception")


def seen(detector: Detector, *events: Event) -> list[Finding]:
    return [finding for event in events for finding in detector.observe(event, at=0.0)]


def brief(findings: Sequence[Finding]) -> list[tuple[str, str, str | None, str | None]]:
    return [(finding.kind, finding.severity, finding.dependency, finding.fault) for finding in findings]


def attempt(fault: Fault) -> AttemptSettled:
    return AttemptSettled(
        key="1:gpt", dependency="gpt", rung=0, attempt=2, fault=fault, message="card 4111", duration_s=1.25
    )


def settled(
    status: Status,
    fault: Fault | None = None,
    *,
    kind: CallKind = CallKind.TOOL,
    effect: Effect = Effect.READ,
) -> CallSettled:
    error = None if fault is None else ErrorRecord(type="E", message="card 4111", fault=fault)
    return CallSettled(
        key="1:gpt",
        kind=kind,
        dependency="gpt",
        effect=effect,
        args_digest="a",
        outcome=Outcome(status=status, error=error, attempts=3),
        duration_s=0.1,
    )


@pytest.mark.parametrize("fault", LOUD)
def test_an_attempt_that_failed(fault: str) -> None:
    assert brief(seen(AttemptDetector(), attempt(Fault(fault)))) == [("attempt_failed", "warning", "gpt", fault)]


@pytest.mark.parametrize("fault", SILENT)
def test_an_answer_that_is_none_is_a_silent_failure(fault: str) -> None:
    assert brief(seen(AttemptDetector(), attempt(Fault(fault)))) == [("silent_failure", "warning", "gpt", fault)]


def test_a_slow_answer() -> None:
    (finding,) = seen(AttemptDetector(), attempt(Fault.SLOW))

    assert brief([finding]) == [("slow", "warning", "gpt", "slow")]
    assert (finding.evidence, finding.message) == (("1:gpt",), "gpt answered slowly, attempt 2, 1.25 s")


@pytest.mark.parametrize("fault", LOUD)
def test_a_read_that_failed_is_a_warning(fault: str) -> None:
    found = seen(AttemptDetector(), settled(Status.FAILED, Fault(fault)))

    assert brief(found) == [("call_failed", "warning", "gpt", fault)]


@pytest.mark.parametrize(
    ("kind", "effect"),
    [
        (CallKind.MODEL, Effect.READ),
        (CallKind.TOOL, Effect.WRITE),
        (CallKind.TOOL, Effect.IDEMPOTENT),
        (CallKind.HTTP, Effect.WRITE),
    ],
)
def test_a_model_or_an_effect_that_failed_is_critical(kind: CallKind, effect: Effect) -> None:
    found = seen(AttemptDetector(), settled(Status.FAILED, Fault.TIMEOUT, kind=kind, effect=effect))

    assert brief(found) == [("call_failed", "critical", "gpt", "timeout")]


@pytest.mark.parametrize("fault", SILENT)
def test_a_call_that_failed_silently_is_both(fault: str) -> None:
    found = seen(AttemptDetector(), settled(Status.FAILED, Fault(fault)))

    assert brief(found) == [("silent_failure", "warning", "gpt", fault), ("call_failed", "warning", "gpt", fault)]


def test_a_failure_without_an_error_is_an_exception() -> None:
    assert brief(seen(AttemptDetector(), settled(Status.FAILED))) == [("call_failed", "warning", "gpt", "exception")]


def test_a_dependency_that_refused_did_its_work() -> None:
    assert seen(AttemptDetector(), attempt(Fault.REFUSED), settled(Status.FAILED, Fault.REFUSED)) == []


@pytest.mark.parametrize("status", [Status.OK, Status.REJECTED, Status.IN_DOUBT])
def test_a_call_that_did_not_fail_is_no_failure(status: Status) -> None:
    assert seen(AttemptDetector(), settled(status)) == []


def test_no_finding_repeats_what_a_dependency_said() -> None:
    for fault in Fault:
        for finding in seen(AttemptDetector(), attempt(fault), settled(Status.FAILED, fault)):
            assert "4111" not in finding.message


def test_going_on_after_a_crash() -> None:
    detector = RecoveryDetector()

    assert brief(seen(detector, RunResumed(crashed=True, fingerprint="f"))) == [
        ("recovered_after_crash", "warning", None, "crash")
    ]
    assert seen(detector, RunResumed(crashed=False, fingerprint="f")) == []


def test_descending_the_ladder() -> None:
    changed = RungChanged(key="1:gpt", dependency="gpt", rung=1, to="mini", fault=Fault.TIMEOUT)

    assert brief(seen(RecoveryDetector(), changed)) == [("fallback", "warning", "gpt", "timeout")]


def requested(request_id: str = "req-1") -> ApprovalRequested:
    return ApprovalRequested(
        request_id=request_id,
        key="3:refund",
        dependency="refund",
        args={"card": "4111"},
        args_digest="a",
        fingerprint="f",
        rule="amount > 50",
        approvers=("ann",),
        expires_at=9.0,
    )


def decided(decision: str, request_id: str = "req-1") -> ApprovalDecided:
    return ApprovalDecided(
        request_id=request_id, decision_id="d", decision=decision, args_digest="a", by="ann", note="card 4111"
    )


def test_an_approval_that_waits() -> None:
    (finding,) = seen(ApprovalDetector(), requested())

    assert brief([finding]) == [("approval_pending", "info", "refund", None)]
    assert finding.evidence == ("3:refund", "req-1")
    assert "4111" not in finding.message


@pytest.mark.parametrize(("decision", "severity"), [("denied", "info"), ("expired", "warning"), ("voided", "critical")])
def test_an_approval_that_was_not_given(decision: str, severity: str) -> None:
    detector = ApprovalDetector()
    detector.restore(requested())

    (finding,) = seen(detector, decided(decision))

    assert brief([finding]) == [(f"approval_{decision}", severity, "refund", decision)]
    assert finding.evidence == ("3:refund", "req-1")
    assert "4111" not in finding.message


def test_an_approval_that_was_given_is_no_finding() -> None:
    assert seen(ApprovalDetector(), decided("approved")) == []


def test_a_decision_on_an_unknown_request_is_reported_without_a_cause() -> None:
    (finding,) = seen(ApprovalDetector(), decided("expired", "req-9"))

    assert (finding.dependency, finding.evidence) == (None, ("req-9",))


def doubt(key: str = "3:refund") -> DoubtRaised:
    return DoubtRaised(key=key, dependency="refund", idempotency_key="i", fault=Fault.TIMEOUT, message="card 4111")


def test_a_doubt_and_its_resolution() -> None:
    detector = DoubtDetector()

    assert brief(seen(detector, doubt())) == [("in_doubt", "warning", "refund", "timeout")]
    assert brief(seen(detector, DoubtResolved(key="3:refund", answer="unknown", by="verify"))) == [
        ("in_doubt_unresolved", "critical", "refund", "timeout")
    ]
    assert seen(detector, DoubtResolved(key="3:refund", answer="happened", by="ann")) == []


def test_a_doubt_raised_before_a_replay_is_remembered() -> None:
    detector = DoubtDetector()
    detector.restore(doubt())

    (finding,) = seen(detector, DoubtResolved(key="3:refund", answer="unknown", by="verify"))

    assert (finding.dependency, finding.message) == ("refund", "a person must find out whether refund happened")


def test_an_unresolved_doubt_of_which_nothing_is_known_names_its_call() -> None:
    (finding,) = seen(DoubtDetector(), DoubtResolved(key="7:x", answer="unknown", by="verify"))

    assert (finding.dependency, finding.message) == (None, "a person must find out whether 7:x happened")


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "_MAX_OPEN", 2)
    detector = ApprovalDetector()
    for number in range(3):
        detector.restore(requested(f"req-{number}"))

    assert [seen(detector, decided("denied", f"req-{number}"))[0].dependency for number in range(3)] == [
        None,
        "refund",
        "refund",
    ]


def test_the_default_set_is_fresh_for_every_run() -> None:
    one, other = default_detectors(CONTRACT), default_detectors(CONTRACT)

    assert [type(detector) for detector in one] == [
        AttemptDetector,
        LoopDetector,
        ProgressDetector,
        SpendingDetector,
        ApprovalDetector,
        DoubtDetector,
        RecoveryDetector,
    ]
    assert not {id(detector) for detector in one} & {id(detector) for detector in other}


@pytest.mark.parametrize(("mode", "observed"), [(Mode.ENFORCE, False), (Mode.OBSERVE, True)])
def test_the_default_set_follows_the_contract(mode: Mode, observed: bool) -> None:
    contract = Contract(agent=CONTRACT.agent, limits=CONTRACT.limits, protections=Protections(loops=mode))
    loops = default_detectors(contract)[1]

    assert [finding.observed for finding in seen(loops, settled(Status.OK), settled(Status.OK))] == [observed]


EVERYTHING: list[Event] = [
    RunStarted(agent="shop", fingerprint="f", contract_digest="c", input="hi"),
    ValueRecorded(key="1:now", value=5.0),
    attempt(Fault.TIMEOUT),
    RungChanged(key="1:gpt", dependency="gpt", rung=1, to="mini", fault=Fault.TIMEOUT),
    settled(Status.OK),
    settled(Status.OK),
    settled(Status.FAILED, Fault.EMPTY),
    requested(),
    RunParkedEvent(reason="approval", detail="req-1", active_s=1.0),
    RunResumed(crashed=True, fingerprint="f"),
    decided("expired"),
    CallIntended(
        key="3:refund",
        kind=CallKind.TOOL,
        dependency="refund",
        effect=Effect.WRITE,
        args={},
        args_digest="a",
        idempotency_key="i",
    ),
    doubt(),
    DoubtResolved(key="3:refund", answer="unknown", by="verify"),
    FindingRaised(finding=Finding(kind="loop", severity="critical", message="m")),
    RunEnded(ending=Ending.HALTED, reason="loop"),
]


def test_every_detector_takes_every_event_and_raises_nothing_on_replay() -> None:
    for make in (lambda: default_detectors(CONTRACT), lambda: [ClaimDetector(CONTRACT)]):
        for detector in make():
            for event in EVERYTHING:
                detector.restore(event)


def test_the_same_events_bring_the_same_findings() -> None:
    def run() -> list[Finding]:
        detectors = default_detectors(CONTRACT)
        return [
            finding for event in EVERYTHING for detector in detectors for finding in detector.observe(event, at=1.0)
        ]

    assert [finding.kind for finding in run()] == [
        "attempt_failed",
        "fallback",
        "loop",
        "silent_failure",
        "call_failed",
        "approval_pending",
        "recovered_after_crash",
        "approval_expired",
        "in_doubt",
        "in_doubt_unresolved",
    ]
    assert run() == run()
