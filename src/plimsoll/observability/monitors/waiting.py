"""Runs that say nothing, and people who are waited for."""

from plimsoll.core.errors import Misuse
from plimsoll.core.events import Finding
from plimsoll.observability.monitors.views import Raised, View

__all__ = ["QueueMonitor", "SilenceMonitor"]


class SilenceMonitor:
    """Raises `silent_run` for a run that runs and has recorded nothing for more than `silent_s` seconds, once."""

    def __init__(self, silent_s: float) -> None:
        if silent_s <= 0:
            raise Misuse("silent_s must be above 0")
        self._silent_s = silent_s
        self._told: dict[str, float] = {}

    def look(self, view: View, *, now: float) -> list[Raised]:
        silent = {run.run_id: run.since for run in view.running if now - run.since > self._silent_s}
        new = [run_id for run_id, since in silent.items() if self._told.get(run_id) != since]
        self._told = silent
        return [(run_id, self._finding(now - silent[run_id])) for run_id in new]

    def _finding(self, silent_s: float) -> Finding:
        return Finding(
            kind="silent_run",
            severity="critical",
            message=(
                f"the run has recorded nothing for {silent_s:.0f} s, more than {self._silent_s:g} s: its process hangs,"
                " or nobody goes on with it; `plimsoll runs resume RUN --take-over` does"
            ),
            fault="silence",
        )


class QueueMonitor:
    """Raises `queue_too_old` when a run has waited for people for more than `waiting_s` seconds, and then as often.

    What waits is told together, by the oldest.
    """

    def __init__(self, waiting_s: float) -> None:
        if waiting_s <= 0:
            raise Misuse("waiting_s must be above 0")
        self._waiting_s = waiting_s
        self._told_at: float | None = None

    def look(self, view: View, *, now: float) -> list[Raised]:
        late = [run for run in view.waiting if now - run.since > self._waiting_s]
        if not late:
            self._told_at = None
            return []
        if self._told_at is not None and 0 <= now - self._told_at < self._waiting_s:
            return []
        self._told_at = now
        oldest = min(late, key=lambda run: (run.since, run.run_id))
        finding = Finding(
            kind="queue_too_old",
            severity="warning",
            message=(
                f"{len(late)} run(s) have waited for people for more than {self._waiting_s:g} s, the oldest for"
                f" {now - oldest.since:.0f} s; `plimsoll approvals list` shows them"
            ),
            fault="waiting",
        )
        return [(oldest.run_id, finding)]
