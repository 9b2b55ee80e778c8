"""A narrow campaign: healthy runs and a few chosen cells, for a verdict in a second.

What is tried besides can only add to its reasons to block, so those stand; it never ships, since no storm is tried.
"""

from collections.abc import Collection, Sequence

from plimsoll.contract.model import Contract
from plimsoll.core.clock import SystemClock
from plimsoll.gate.enumeration import brought_to_light, first_cells
from plimsoll.gate.healthy import healthy_runs
from plimsoll.gate.scenario import Scenario
from plimsoll.gate.sites import dependency_of
from plimsoll.gate.subject import SubjectLike
from plimsoll.gate.summary import Findings, verdict
from plimsoll.gate.trying import Report, Task, try_all
from plimsoll.gate.verdict import Verdict

__all__ = ["narrow_verdict"]

SEED = 7


def narrow_verdict(
    subject: SubjectLike,
    scenarios: Sequence[Scenario],
    *,
    kinds: Collection[str] = (),
    at: str = "",
    then: Collection[str] = (),
    promised: Contract | None = None,
) -> Verdict:
    """The verdict of the faults of these `kinds`, and of those of the kinds `then` at the sites that they reveal.

    `at` is the dependency that is struck first (empty: every one), `promised` the contract that it is judged by (None:
    the subject's own).
    """
    judged_by = promised or subject.contract
    healthy = healthy_runs(subject, scenarios, promised=judged_by, seed=SEED)

    def tried(tasks: list[Task]) -> list[tuple[Task, Report]]:
        return list(zip(tasks, try_all(healthy.stages, tasks, seed=SEED, workers=1), strict=True))

    cells: list[tuple[Task, Report]] = []
    if not healthy.reasons:
        stages = list(enumerate(healthy.stages))
        first = [task for number, stage in stages for task in first_cells(number, stage)]
        cells = tried([task for task in first if task.injections[0].kind in kinds and _is_at(at, task)])
        second = [task for number, stage in stages for task in brought_to_light(number, stage, cells)]
        cells += tried([task for task in second if task.injections[-1].kind in then])
    found = Findings(contract=judged_by, seed=SEED, healthy=healthy, cells=cells, storms=(), failures=())
    return verdict(found, subject, clock=SystemClock(), wall_s=0.0)


def _is_at(dependency: str, task: Task) -> bool:
    return not dependency or dependency_of(task.injections[0].site) == dependency
