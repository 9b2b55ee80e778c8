"""Sinks, and the hub in front of them."""

import io
import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.core.errors import JournalUnavailable, KillSwitchEngaged, LimitExceeded
from plimsoll.core.events import Finding
from plimsoll.observability import findings
from plimsoll.observability.findings import (
    AlertSink,
    ConsoleSink,
    FindingHub,
    LogSink,
    MemorySink,
    claim_finding,
    journal_finding,
    kill_finding,
    limit_finding,
    output_finding,
)

SLOW = Finding(kind="slow", severity="warning", message="gpt answered slowly", dependency="gpt", fault="slow")


class Down:
    """A sink whose other side is down."""

    def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> None:
        raise ConnectionError("no route to host")


def emit(hub: FindingHub, finding: Finding, run_id: str = "run-1") -> bool:
    return hub.emit(finding, run_id=run_id, agent="shop", at=5.0)


def with_(finding: Finding, **changed: object) -> Finding:
    fields = {name: getattr(finding, name) for name in finding.__struct_fields__}
    return Finding(**(fields | changed))


def test_the_memory_sink_keeps_what_arrives() -> None:
    sink = MemorySink()
    hub = FindingHub([sink])

    assert emit(hub, SLOW)

    assert sink.entries == [(5.0, "run-1", SLOW)]
    assert sink.findings == [SLOW]


def test_a_finding_is_passed_on_once_per_run() -> None:
    sink = MemorySink()
    hub = FindingHub([sink])

    raised = [emit(hub, SLOW), emit(hub, with_(SLOW, message="again", evidence=("2",))), emit(hub, SLOW, "run-2")]

    assert raised == [True, False, True]
    assert [run_id for _, run_id, _ in sink.entries] == ["run-1", "run-2"]


@pytest.mark.parametrize("changed", [{"kind": "loop"}, {"dependency": "claude"}, {"dependency": None}, {"fault": "x"}])
def test_another_cause_is_another_finding(changed: dict[str, object]) -> None:
    hub = FindingHub()
    emit(hub, SLOW)

    assert emit(hub, with_(SLOW, **changed))


def test_a_finding_that_has_become_more_severe_is_passed_on_again() -> None:
    hub = FindingHub()
    severities = ["info", "critical", "warning", "critical", "unheard_of"]

    assert [emit(hub, with_(SLOW, severity=severity)) for severity in severities] == [True, True, False, False, False]


@pytest.mark.parametrize("kind", ["approval_pending", "approval_expired", "in_doubt", "in_doubt_unresolved"])
def test_what_asks_for_a_person_is_passed_on_for_every_call(kind: str) -> None:
    hub = FindingHub()
    one, other = with_(SLOW, kind=kind, evidence=("1",)), with_(SLOW, kind=kind, evidence=("2",))

    assert [emit(hub, one), emit(hub, other), emit(hub, one)] == [True, True, False]


def test_a_sink_that_is_down_breaks_nothing_and_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """It was counted where nobody ever looked."""
    sink = MemorySink()
    hub = FindingHub([Down(), sink, Down()])

    assert emit(hub, SLOW)
    assert emit(hub, SLOW, "run-2")

    assert len(sink.entries) == 2
    assert hub.failures == {"Down": 4}
    (said,) = caplog.messages
    assert said.startswith("Down raised ") and said.endswith(": alerts are lost")


def test_cancellation_passes_through_the_hub() -> None:
    class Cancelling:
        def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        emit(FindingHub([Cancelling()]), SLOW)


def test_what_was_raised_before_a_replay_is_not_raised_again() -> None:
    sink = MemorySink()
    hub = FindingHub([sink])

    hub.restore(SLOW, run_id="run-1")

    assert not emit(hub, SLOW)
    assert sink.entries == []
    assert emit(hub, SLOW, "run-2")


def test_a_run_that_is_over_is_forgotten() -> None:
    hub = FindingHub()
    emit(hub, SLOW)

    hub.forget("run-1")
    hub.forget("run-1")

    assert emit(hub, SLOW)


def test_what_the_hub_keeps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "_MAX_RUNS", 3)
    hub = FindingHub()
    for number in range(4):
        emit(hub, SLOW, f"run-{number}")

    assert not emit(hub, SLOW, "run-3")
    assert emit(hub, SLOW, "run-0")


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["x", None]), st.sampled_from(["r", "s"]))))
def test_the_hub_agrees_with_a_set(raised: list[tuple[str, str | None, str]]) -> None:
    hub, seen = FindingHub(), set()
    for kind, dependency, run_id in raised:
        new = emit(hub, Finding(kind=kind, severity="info", message="", dependency=dependency), run_id)
        assert new == ((kind, dependency, run_id) not in seen)
        seen.add((kind, dependency, run_id))


SECRETIVE = Finding(
    kind="silent_failure",
    severity="critical",
    message="card 4111 1111",
    dependency="pay",
    fault="empty",
    evidence=("1:pay", "2:pay"),
    observed=True,
)


def test_the_log_has_names_and_no_message(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="plimsoll.findings"):
        LogSink().emit(SECRETIVE, run_id="run-1", agent="shop", at=5.0)

    (record,) = caplog.records
    assert (record.name, record.levelno) == ("plimsoll.findings", logging.CRITICAL)
    assert record.getMessage() == (
        "silent_failure (observed) dependency=pay fault=empty run=run-1 agent=shop calls=1:pay,2:pay"
    )


@pytest.mark.parametrize(
    ("severity", "level"),
    [("info", logging.INFO), ("warning", logging.WARNING), ("critical", logging.CRITICAL), ("odd", logging.WARNING)],
)
def test_the_severity_is_the_level(severity: str, level: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="plimsoll.findings"):
        LogSink().emit(Finding(kind="k", severity=severity, message="m"), run_id="r", agent="a", at=0.0)

    assert caplog.records[0].levelno == level
    assert caplog.records[0].getMessage() == "k dependency=- fault=- run=r agent=a calls=-"


def test_the_console_gets_one_line() -> None:
    stream = io.StringIO()
    finding = Finding(kind="loop", severity="critical", message="first\nsecond\x1b[31m\u202e", observed=True)

    ConsoleSink(stream).emit(finding, run_id="run-1", agent="shop", at=5.0)

    assert stream.getvalue() == "plimsoll: critical: loop (observed): first second [31m  [shop run-1]\n"


def test_the_console_is_standard_error_at_the_time_of_writing(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleSink().emit(SLOW, run_id="run-1", agent="shop", at=5.0)

    assert capsys.readouterr() == ("", "plimsoll: warning: slow: gpt answered slowly [shop run-1]\n")


@pytest.mark.parametrize("make", [MemorySink, LogSink, ConsoleSink, Down])
def test_every_sink_is_a_sink(make: Callable[[], AlertSink]) -> None:
    assert callable(make().emit)


def test_a_limit_is_its_own_fault() -> None:
    error = LimitExceeded("tokens", allowed=100, needed=120)

    assert limit_finding(error) == Finding(
        kind="limit", severity="critical", message="limit tokens reached: 120 needed, 100 allowed", fault="tokens"
    )
    assert (limit_finding(error, observed=True).severity, limit_finding(error, observed=True).observed) == (
        "warning",
        True,
    )


def test_a_kill_switch_says_what_it_was_pulled_on_and_repeats_no_reason() -> None:
    everything = kill_finding(KillSwitchEngaged("*", by="ann", reason="card 4111"))
    one = kill_finding(KillSwitchEngaged("run-1", by="ann", reason="card 4111"))

    assert (everything.kind, everything.fault, everything.severity) == ("kill_switch", "all", "critical")
    assert (one.kind, one.fault, one.severity) == ("kill_switch", "run", "critical")
    assert "4111" not in everything.message + one.message


def test_the_journals_trouble_and_its_end() -> None:
    trouble, over = journal_finding(JournalUnavailable("disk full")), journal_finding(None)

    assert (trouble.kind, trouble.severity, trouble.fault) == ("journal", "critical", "JournalUnavailable")
    assert (over.kind, over.severity, over.fault) == ("journal", "info", None)


def test_an_answer_that_is_none() -> None:
    assert output_finding("gpt", "empty", "there is no text", observed=True) == Finding(
        kind="silent_failure",
        severity="warning",
        message="gpt gave an answer that is none (empty): there is no text",
        dependency="gpt",
        fault="empty",
        observed=True,
    )


def test_a_claim_names_its_tools() -> None:
    finding = claim_finding(["refund", "cancel"])

    assert (finding.kind, finding.severity, finding.dependency) == ("claimed_not_done", "critical", "refund")
    assert finding.message.endswith("refund, cancel")
    assert not finding.observed
