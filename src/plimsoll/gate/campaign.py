"""The campaign: healthy runs, every fault at every site, storms; then the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from plimsoll.contract.model import Contract
from plimsoll.core.clock import Clock, SystemClock
from plimsoll.core.rng import seeded_rng
from plimsoll.gate.enumeration import brought_to_light, first_cells, further_down, storms
from plimsoll.gate.healthy import Healthy, healthy_runs, two_ways
from plimsoll.gate.scenario import Scenario
from plimsoll.gate.shrink import failures_told
from plimsoll.gate.subject import SubjectLike
from plimsoll.gate.summary import Findings, verdict
from plimsoll.gate.trying import Progress, Report, Task, try_all
from plimsoll.gate.verdict import Verdict

__all__ = ["run_campaign"]

_SYSTEM = SystemClock()
_REPLAYED = 30


def run_campaign(
    subject: SubjectLike,
    scenarios: Sequence[Scenario],
    *,
    promised: Contract | None = None,
    seed: int | None = None,
    storm_count: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    clock: Clock = _SYSTEM,
) -> Verdict:
    """Tries the agent in every scenario under every fault, and says whether it may ship.

    `promised` is the contract that it is judged by (None: the subject's own). `seed` and `storm_count` default to those
    of the contract's `[gate]`. `workers` is how many processes to use (None: one for each core; 1: this process).
    `progress` is told (done, total, what). The same seed gives the same `campaign_digest`, whatever the number of
    workers. `clock` is the real one: it dates the verdict and measures how long this took.
    """
    started_s = clock.monotonic()
    judged_by = promised or subject.contract
    campaign = _Campaign(
        judged_by=judged_by,
        seed=judged_by.gate.seed if seed is None else seed,
        workers=workers,
        progress=progress,
        healthy=healthy_runs(
            subject, scenarios, promised=judged_by, seed=judged_by.gate.seed if seed is None else seed
        ),
    )
    if not campaign.healthy.reasons:
        campaign.enumerate()
        campaign.replay()
        campaign.storm(judged_by.gate.storms if storm_count is None else storm_count)
    return verdict(campaign.findings(), subject, clock=clock, wall_s=clock.monotonic() - started_s)


@dataclass(slots=True, kw_only=True)
class _Campaign:
    """What is done so far."""

    judged_by: Contract
    seed: int
    workers: int | None
    progress: Progress | None
    healthy: Healthy
    cells: list[tuple[Task, Report]] = field(default_factory=list)
    storms: list[tuple[Task, Report]] = field(default_factory=list)
    unsteady: tuple[str, ...] = ()

    def enumerate(self) -> None:
        """Every fault at every site: first of the healthy runs, then of what the faulted runs brought to light."""
        stages = self.healthy.stages
        first = [task for number, stage in enumerate(stages) for task in first_cells(number, stage)]
        self.cells = self._try(first, "single faults")
        second = [task for number, stage in enumerate(stages) for task in brought_to_light(number, stage, self.cells)]
        self.cells += self._try(second, "faults where faults lead")
        while deeper := [task for number, each in enumerate(stages) for task in further_down(number, each, self.cells)]:
            self.cells += self._try(deeper, "faults where all above has failed")

    def replay(self) -> None:
        """A sample of the cells once more: the same plan must go the same way. None does in real time."""
        if any(stage.subject.outside for stage in self.healthy.stages):
            return
        sample = self.cells[:: 1 + len(self.cells) // _REPLAYED]
        again = self._try([task for task, _ in sample], "the same once more")
        self.unsteady = tuple(
            two_ways(
                f"{first.trial.scenario} under {' and '.join(map(str, task.injections))}", first.trial, later.trial
            )
            for (task, first), (_, later) in zip(sample, again, strict=True)
            if first.trial.digest != later.trial.digest and not (first.trial.stuck or later.trial.stuck)
        )

    def storm(self, count: int) -> None:
        """Combinations of faults, sampled from the cells that struck."""
        struck = [task for task, report in self.cells if report.trial.fired and len(task.injections) == 1]
        sampled = storms(self.healthy.stages, struck, count, rng=seeded_rng(f"storms:{self.seed}"))
        self.storms = self._try(sampled, "storms")

    def findings(self) -> Findings:
        """What there is to be said, failures told and shrunk."""
        failing = [(task, report) for task, report in (*self.cells, *self.storms) if report.trial.violations]
        told = failures_told(self.healthy.stages, failing, seed=self.seed)
        return Findings(
            contract=self.judged_by,
            seed=self.seed,
            healthy=self.healthy,
            cells=self.cells,
            storms=self.storms,
            failures=told,
            unsteady=self.unsteady,
        )

    def _try(self, tasks: Sequence[Task], text: str) -> list[tuple[Task, Report]]:
        reports = try_all(
            self.healthy.stages, tasks, seed=self.seed, workers=self.workers, progress=self.progress, text=text
        )
        return list(zip(tasks, reports, strict=True))
