"""`plimsoll gate --self-test`: would this gate, with these scenarios, notice if a protection were gone?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from plimsoll.contract.model import Contract
from plimsoll.gate.enumeration import first_cells
from plimsoll.gate.healthy import healthy_runs
from plimsoll.gate.mutants import MUTANTS, Mutant
from plimsoll.gate.scenario import Scenario
from plimsoll.gate.sites import site_kind
from plimsoll.gate.stage import Stage
from plimsoll.gate.subject import Process, Subject, SubjectLike
from plimsoll.gate.trying import Progress, Report, Task, try_all, try_task
from plimsoll.gate.verdict import Trial
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["Fate", "MutantResult", "SelfTest", "self_test"]


_HARMFUL = "every scenario breaks a promise even when nothing fails, so there is no whole agent to break"


class Fate(StrEnum):
    """What became of a mutant."""

    BLOCKED = "blocked"
    """The gate would block it, by a claim that it hurts."""
    SURVIVED = "survived"
    """A gap: the protection acted in these scenarios, and the gate does not notice that it is gone."""
    NOT_EXERCISED = "not_exercised"
    """The protection never acted in these scenarios, so nothing is known about it."""
    NOT_APPLICABLE = "not_applicable"
    """The contract has nothing of the kind to take away."""


class MutantResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One mutant, what became of it, the claims it was blocked by, and an example in a sentence."""

    name: str
    about: str
    fate: Fate
    tried: int = 0
    broken: tuple[str, ...] = ()
    example: str = ""


class SelfTest(msgspec.Struct, frozen=True, kw_only=True):
    """All mutants. `reasons` say why the test could not be made at all."""

    results: tuple[MutantResult, ...]
    reasons: tuple[str, ...] = ()

    @property
    def gaps(self) -> tuple[MutantResult, ...]:
        """The mutants that survived."""
        return tuple(result for result in self.results if result.fate is Fate.SURVIVED)

    @property
    def passed(self) -> bool:
        """Whether it could be made and no mutant survived."""
        return not self.reasons and not self.gaps


def self_test(
    remake: Callable[[Contract], SubjectLike],
    contract: Contract,
    scenarios: Sequence[Scenario],
    *,
    seed: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    mutants: Sequence[Mutant] = MUTANTS,
) -> SelfTest:
    """Breaks an agent that passes, one protection after the other, and sees whether the gate notices.

    `remake` makes the subject under a contract. Only the cells that a mutant touches are tried, and it is judged by
    `contract`, which should be one that ships.
    """
    whole = remake(contract)
    chosen = contract.gate.seed if seed is None else seed
    healthy = healthy_runs(whole, scenarios, promised=contract, seed=chosen)
    if healthy.reasons or not healthy.stages:
        return SelfTest(results=(), reasons=healthy.reasons or (_HARMFUL,))
    bench = _Bench(contract, healthy.stages, remake, chosen, workers)
    results = []
    for number, mutant in enumerate(mutants, 1):
        results.append(bench.judge(mutant))
        if progress is not None:
            progress(number, len(mutants), mutant.name)
    return SelfTest(results=tuple(results))


@dataclass(frozen=True, slots=True)
class _Bench:
    contract: Contract
    stages: tuple[Stage, ...]
    remake: Callable[[Contract], SubjectLike]
    seed: int
    workers: int | None

    def judge(self, mutant: Mutant) -> MutantResult:
        changed = mutant.change(self.contract)
        if changed is None:
            return MutantResult(name=mutant.name, about=mutant.about, fate=Fate.NOT_APPLICABLE)
        tasks = self._tasks(mutant)
        reports = try_all(self._mutated(mutant, changed), tasks, seed=self.seed, workers=self.workers)
        hurt = [report.trial for report in reports if _counts(report) and _hurts(mutant, report.trial)]
        broken = {each.claim for trial in hurt for each in trial.violations} & mutant.claims
        fate = Fate.BLOCKED if hurt else Fate.SURVIVED if self._acted(mutant, tasks) else Fate.NOT_EXERCISED
        return MutantResult(
            name=mutant.name,
            about=mutant.about,
            fate=fate,
            tried=len(tasks),
            broken=tuple(sorted(broken)),
            example=_example(mutant, hurt[0]) if hurt else "",
        )

    def _tasks(self, mutant: Mutant) -> list[Task]:
        """The healthy runs, and the cells that the mutant touches."""
        chosen = [Task(number, ()) for number in range(len(self.stages))]
        for number, stage in enumerate(self.stages):
            chosen += [Task(number, injections) for injections in mutant.under(stage)]
        return chosen + [
            task
            for number, stage in enumerate(self.stages)
            for task in first_cells(number, stage)
            if task.injections[0].kind in mutant.kinds
            and site_kind(task.injections[0].site, stage.contract) in mutant.at
        ]

    def _mutated(self, mutant: Mutant, changed: Contract) -> list[Stage]:
        subject = _crippled(self.remake(changed), mutant)
        return [
            Stage(
                subject=subject,
                scenario=stage.scenario,
                contract=self.contract,
                baseline=stage.baseline,
                shown=stage.shown,
            )
            for stage in self.stages
        ]

    def _acted(self, mutant: Mutant, tasks: Sequence[Task]) -> bool:
        """Whether the protection did anything for the whole agent in the same trials."""
        return any(mutant.acted(try_task(self.stages, task, seed=self.seed).scene) for task in tasks)


def _crippled(subject: SubjectLike, mutant: Mutant) -> Subject:
    def live(surroundings: Surroundings, models: Mapping[str, Any], world: Any) -> Process:
        return subject.live(mutant.cripple(surroundings), models, world)

    return Subject(
        name=f"{subject.name} ({mutant.name})",
        fingerprint=subject.fingerprint,
        contract=subject.contract,
        hardened=subject.hardened,
        forger=subject.forger,
        live=live,
        family=subject.family,
        outside=subject.outside,
        local_models=subject.local_models,
        guard_models=subject.guard_models,
    )


def _counts(report: Report) -> bool:
    return report.trial.fired and not report.inapplicable


def _hurts(mutant: Mutant, trial: Trial) -> bool:
    return any(each.claim in mutant.claims for each in trial.violations)


def _example(mutant: Mutant, trial: Trial) -> str:
    broken = next(each for each in trial.violations if each.claim in mutant.claims)
    under = " and ".join(map(str, trial.injections)) or "no fault at all"
    return f"under {under}: {broken.message}"
