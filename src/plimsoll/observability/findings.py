"""Findings and where they go: alert sinks, and the hub in front of them.

Findings are made here too, where they come from no detector: a limit, the kill switch, the journal, an answer that was
observed to be none. Their messages are made of names and numbers, never of what an agent was asked or answered.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Protocol, TextIO
from urllib.parse import quote

from plimsoll.core.errors import KillSwitchEngaged, LimitExceeded
from plimsoll.core.events import Finding

__all__ = [
    "NO_RUN",
    "SEVERITIES",
    "AlertSink",
    "ConsoleSink",
    "FindingHub",
    "LogSink",
    "MemorySink",
    "cancel_finding",
    "claim_finding",
    "crash_loop_finding",
    "journal_finding",
    "kill_finding",
    "left_behind_finding",
    "limit_finding",
    "link_to",
    "mismatch_finding",
    "output_finding",
    "settle_sink",
    "stuck_finding",
    "version_finding",
]

SEVERITIES = {"info": 0, "warning": 1, "critical": 2}
"""How severe a finding is, by its word."""
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}
NO_RUN = "*"
"""In place of a run's id, where a finding is about none."""
_PER_CALL = ("approval_", "in_doubt", "recovered_after_crash")
_MAX_RUNS = 10_000
_LINE_CHARS = 500


class AlertSink(Protocol):
    """Where findings arrive. `emit` returns quickly and must not raise; the hub guards against one that does."""

    def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> None:
        """Takes a finding of run `run_id`, raised at wall-clock time `at`."""
        ...


async def settle_sink(sink: AlertSink) -> None:
    """Waits for the sink, where it is one that delivers beside the work: by its `settle`, which delivers what is left
    as far as that can be done within a few seconds. One that raises keeps nobody from ending."""
    settle = getattr(sink, "settle", None)
    if settle is not None:
        try:
            await settle()
        except Exception as error:
            kinds = type(sink).__name__, type(error).__name__
            logging.getLogger("plimsoll.alerts").warning("%s could not be settled (%s): alerts may be lost", *kinds)


def link_to(run_id: str, run_url: str | None) -> str:
    """Where the run can be looked at, by an address with `{run_id}` in it. Empty where there is none, or no run."""
    if run_url is None or run_id == NO_RUN:
        return ""
    return run_url.replace("{run_id}", quote(run_id, safe=""))


class MemorySink:
    """A test double: keeps what arrives."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, str, Finding]] = []

    @property
    def findings(self) -> list[Finding]:
        """The findings alone, in the order of arrival."""
        return [finding for _, _, finding in self.entries]

    def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> None:
        self.entries.append((at, run_id, finding))


class LogSink:
    """The standard library's logging, as logger `plimsoll.findings`.

    Logs names only: the kind, the cause, the run, the agent and the keys of the calls. A finding's message stays out,
    so that no argument and no prompt can come in by it. `run_url` adds a link to the run (see `link_to`).
    """

    def __init__(self, *, run_url: str | None = None) -> None:
        self._logger = logging.getLogger("plimsoll.findings")
        self._run_url = run_url

    def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> None:
        link = link_to(run_id, self._run_url)
        self._logger.log(
            _LEVELS.get(finding.severity, logging.WARNING),
            "%s%s dependency=%s fault=%s run=%s agent=%s calls=%s%s",
            finding.kind,
            " (observed)" if finding.observed else "",
            finding.dependency or "-",
            finding.fault or "-",
            run_id,
            agent,
            ",".join(finding.evidence) or "-",
            f" url={link}" if link else "",
        )


class ConsoleSink:
    """One line per finding, on `stream` (None: standard error, looked up when it writes).

    `run_url` adds a link to the run (see `link_to`).
    """

    def __init__(self, stream: TextIO | None = None, *, run_url: str | None = None) -> None:
        self._stream = stream
        self._run_url = run_url

    def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> None:
        observed = " (observed)" if finding.observed else ""
        line = f"plimsoll: {finding.severity}: {finding.kind}{observed}: {finding.message} [{agent} {run_id}]"
        link = link_to(run_id, self._run_url)
        printable = "".join(char if char.isprintable() else " " for char in line[:_LINE_CHARS])
        print(f"{printable} {link}" if link else printable, file=self._stream or sys.stderr)


class FindingHub:
    """Stands between a run and its alert sinks.

    Passes each finding on once per run, by kind, dependency and fault; again only when it has become more severe. What
    asks a person for something (approvals, doubts) is told apart by call as well. A sink that raises breaks nothing: it
    is logged, and counted in `failures`, by its class name, and the others still get the finding.
    """

    def __init__(self, sinks: Sequence[AlertSink] = ()) -> None:
        self.failures: dict[str, int] = {}
        self._sinks = tuple(sinks)
        self._seen: dict[str, dict[tuple[object, ...], int]] = {}

    def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> bool:
        """Whether the finding is new. If so, every sink gets it."""
        if not self._note(finding, run_id):
            return False
        for sink in self._sinks:
            try:
                sink.emit(finding, run_id=run_id, agent=agent, at=at)
            except Exception as error:  # an alert that cannot be sent must not stop the run that it is about
                self._failed(type(sink).__name__, error)
        return True

    def restore(self, finding: Finding, *, run_id: str) -> None:
        """Notes a finding that was raised before, without passing it on: for a replay."""
        self._note(finding, run_id)

    def forget(self, run_id: str) -> None:
        """Drops what is kept of a run that is over."""
        self._seen.pop(run_id, None)

    def _failed(self, sink: str, error: Exception) -> None:
        """Counts what a sink has lost, and says so the first time."""
        self.failures[sink] = self.failures.get(sink, 0) + 1
        if self.failures[sink] == 1:
            words = "%s raised %s: alerts are lost"
            logging.getLogger("plimsoll.alerts").warning(words, sink, type(error).__name__)

    def _note(self, finding: Finding, run_id: str) -> bool:
        seen = self._seen.get(run_id)
        if seen is None:
            if len(self._seen) >= _MAX_RUNS:
                del self._seen[next(iter(self._seen))]
            seen = self._seen[run_id] = {}
        calls = finding.evidence if finding.kind.startswith(_PER_CALL) else ()
        cause = (finding.kind, finding.dependency, finding.fault, calls)
        severity = SEVERITIES.get(finding.severity, 1)
        if severity <= seen.get(cause, -1):
            return False
        seen[cause] = severity
        return True


def limit_finding(error: LimitExceeded, *, observed: bool = False) -> Finding:
    """A limit would have been passed. The fault is the limit's name."""
    return Finding(
        kind="limit",
        severity="warning" if observed else "critical",
        message=f"limit {error.limit} reached: {error.needed:g} needed, {error.allowed:g} allowed",
        fault=error.limit,
        observed=observed,
    )


def circuit_finding(dependency: str, *, state: str, why: str) -> Finding:
    """A dependency's circuit breaker opened, was isolated by an operator, or closed again."""
    closed = state == "closed"
    return Finding(
        kind="circuit_closed" if closed else "circuit_open",
        severity="info" if closed else "warning",
        message=f"{dependency} is {'asked again' if closed else 'not asked any more'}: {why}",
        dependency=dependency,
        fault="circuit_open",
    )


def kill_finding(error: KillSwitchEngaged) -> Finding:
    """An operator stopped the run. The fault is `all` or `run`: what the switch was pulled on."""
    scope = "all" if error.scope == "*" else "run"
    return Finding(
        kind="kill_switch",
        severity="critical",
        message=f"stopped by the kill switch on {'every run' if scope == 'all' else 'this run'}",
        fault=scope,
    )


def cancel_finding() -> Finding:
    """Somebody cancelled the run. Its journal says who, and why."""
    return Finding(
        kind="cancelled",
        severity="warning",
        message="the run was cancelled by a person; `plimsoll runs show` tells by whom, and why",
        fault="cancelled",
    )


def journal_finding(trouble: BaseException | None) -> Finding:
    """The journal cannot be written (`trouble` says why), or can again (None)."""
    if trouble is None:
        return Finding(
            kind="journal", severity="info", message="the journal can be written again", dependency="journal"
        )
    return Finding(
        kind="journal",
        severity="critical",
        message=f"the journal is in trouble ({type(trouble).__name__}); runs park until it can be written",
        dependency="journal",
        fault=type(trouble).__name__,
    )


def stuck_finding(error: BaseException) -> Finding:
    """A run cannot be gone on with. The fault is the error's class."""
    return Finding(
        kind="run_stuck",
        severity="critical",
        message=f"the run cannot be gone on with ({type(error).__name__}); `plimsoll runs show` tells its journal",
        dependency="journal",
        fault=type(error).__name__,
    )


def version_finding(theirs: str, ours: str) -> Finding:
    """A run belongs to another version of its agent than the one that came by it."""
    return Finding(
        kind="other_version",
        severity="warning",
        message=(
            f"the run belongs to version {theirs[:12]} of its agent, this is {ours[:12]}: it waits for that version,"
            " or for `plimsoll runs adopt`"
        ),
        fault="version",
    )


def crash_loop_finding(count: int, most: int) -> Finding:
    """A run's process has died too often."""
    return Finding(
        kind="crash_loop",
        severity="critical",
        message=(
            f"the run's process died {count} times, {most} are allowed: it waits for a person who finds out why"
            " (`plimsoll runs resume --force`)"
        ),
        fault="crash",
    )


def mismatch_finding() -> Finding:
    """The agent's code no longer does what the run's journal says."""
    return Finding(
        kind="replay_mismatch",
        severity="critical",
        message="the agent's code does not follow the run's journal any more; `plimsoll runs show` tells where",
        dependency="journal",
        fault="mismatch",
    )


def left_behind_finding(count: int) -> Finding:
    """A process stopped while runs were under way in it."""
    return Finding(
        kind="left_behind",
        severity="warning",
        message=f"{count} run(s) were under way when their process stopped: whoever wakes runs next goes on with them",
        fault="stopped",
    )


def output_finding(dependency: str, fault: str, detail: str, *, observed: bool = False) -> Finding:
    """A dependency answered, and its answer was none. `detail` quotes nothing of it."""
    return Finding(
        kind="silent_failure",
        severity="warning",
        message=f"{dependency} gave an answer that is none ({fault}): {detail}",
        dependency=dependency,
        fault=str(fault),
        observed=observed,
    )


def claim_finding(tools: Sequence[str], *, observed: bool = False) -> Finding:
    """The answer says that the effects of `tools` (at least one) were brought about, and the journal has none."""
    return Finding(
        kind="claimed_not_done",
        severity="critical",
        message=f"the answer claims what was never done: {', '.join(tools)}",
        dependency=tools[0],
        fault="claim",
        observed=observed,
    )
