"""Which faults to try where: every kind at every site that it strikes, and again at the sites that faults reveal."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from plimsoll.core.rng import Rng
from plimsoll.gate.fault_kinds import FaultKind, How
from plimsoll.gate.faults import KINDS
from plimsoll.gate.hostility import is_owed
from plimsoll.gate.sites import SCENARIO_SITE, Site, SiteKind, dependency_of
from plimsoll.gate.stage import Stage
from plimsoll.gate.trying import Report, Task
from plimsoll.gate.verdict import Injection

__all__ = ["brought_to_light", "first_cells", "further_down", "storms"]

_LARGEST_STORM = 3
_IN_ITS_PROCESS = frozenset({How.CRASH_APPEND, How.CRASH_BEFORE, How.CRASH_AFTER, How.OUTAGE})
"""How a fault strikes the process that keeps the journal: of an agent outside, that is the gateway, not the agent."""


def first_cells(number: int, stage: Stage) -> list[Task]:
    """Every kind at every site of the healthy run of stage `number`."""
    baseline = stage.baseline
    assert baseline is not None, "enumerated after the healthy runs"
    sites = [*baseline.sites.values(), *_appends(baseline.appends)]
    sites += [Site(f"approval@{count}", SiteKind.APPROVAL) for count in range(1, baseline.approvals + 1)]
    sites.append(Site(SCENARIO_SITE, SiteKind.SCENARIO))
    return [Task(number, (injection,)) for injection in _at(sites, stage)]


def brought_to_light(number: int, stage: Stage, tried: Sequence[tuple[Task, Report]]) -> list[Task]:
    """Every kind at every site that only faulted runs have: a backup rung, a verify, appends beyond the healthy run's.

    Each goes together with the first fault that brought its site to light, preferably one that must be survived. A bare
    agent that starts over makes the same calls under new keys: of those, only dependencies that are new count.
    """
    baseline = stage.baseline
    known = {dependency_of(name) for name in baseline.sites} if baseline and not stage.subject.hardened else set()
    return _beneath(number, stage, tried, lambda site: dependency_of(site.name) not in known)


def further_down(number: int, stage: Stage, tried: Sequence[tuple[Task, Report]]) -> list[Task]:
    """Every kind at the rungs that no fault has struck yet, because all above them must have failed."""
    struck = {dependency_of(each.site) for task, _ in tried if task.stage == number for each in task.injections}

    def is_new(site: Site) -> bool:
        return site.kind is SiteKind.MODEL and dependency_of(site.name) not in struck

    return _beneath(number, stage, tried, is_new)


def _beneath(
    number: int, stage: Stage, tried: Sequence[tuple[Task, Report]], counts: Callable[[Site], bool]
) -> list[Task]:
    """Every kind at those of the new sites that count, each together with what brought it to light."""
    found: dict[str, _Discovery] = {}
    for task, report in tried:
        if task.stage != number or report.inapplicable or _is_adversary(task):
            continue
        for site in (*report.new_sites(), *_new_appends(stage, report)):
            if not counts(site):
                continue
            before = found.get(site.name)
            if before is None or (report.goal and not before.goal):
                found[site.name] = _Discovery(site, task.injections, report.goal)
    return [
        Task(number, (*discovery.under, injection))
        for discovery in found.values()
        for injection in _at([discovery.site], stage)
        if all(injection.site != each.site for each in discovery.under)
    ]


def storms(stages: Sequence[Stage], cells: Sequence[Task], count: int, *, rng: Rng) -> list[Task]:
    """`count` storms: a scenario at random, then two or three of its cells at random, all at different sites.

    Every draw is uniform. Trials in which somebody means harm are no part of a storm.
    """
    pools = [
        [task.injections[0] for task in cells if task.stage == number and not _is_adversary(task)]
        for number in range(len(stages))
    ]
    pools = [pool if len({each.site for each in pool}) > 1 else [] for pool in pools]
    usable = [number for number, pool in enumerate(pools) if pool]
    if not usable:
        return []
    return [_storm(usable[_draw(rng, len(usable))], pools, rng) for _ in range(count)]


@dataclass(frozen=True, slots=True)
class _Discovery:
    site: Site
    under: tuple[Injection, ...]
    goal: bool


def _storm(number: int, pools: Sequence[Sequence[Injection]], rng: Rng) -> Task:
    pool = pools[number]
    size = min(2 + _draw(rng, _LARGEST_STORM - 1), len({each.site for each in pool}))
    chosen: list[Injection] = []
    while len(chosen) < size:
        candidate = pool[_draw(rng, len(pool))]
        if all(candidate.site != each.site for each in chosen):
            chosen.append(candidate)
    return Task(number, tuple(chosen), storm=True)


def _draw(rng: Rng, below: int) -> int:
    return int(rng.random() * below)


def _is_adversary(task: Task) -> bool:
    """Whether somebody means harm in it: their model, or their text."""
    return any(KINDS[injection.kind].how in (How.ADVERSARY, How.TAINT) for injection in task.injections)


def _appends(batches: Sequence[int], *, beyond: int = 0) -> list[Site]:
    numbered = list(enumerate(batches, 1))[beyond:]
    return [Site(f"append@{number}", SiteKind.APPEND, batch) for number, batch in numbered]


def _new_appends(stage: Stage, report: Report) -> list[Site]:
    baseline = stage.baseline
    return _appends(report.batches, beyond=len(baseline.appends)) if baseline is not None else []


def _at(sites: Iterable[Site], stage: Stage) -> Iterator[Injection]:
    places = list(sites)
    for kind in KINDS.values():
        for site in places:
            if site.kind in kind.strikes and _is_possible(kind, site, stage):
                for variant in _variants(kind, stage):
                    if variant != "prefix" or site.batch > 1:
                        yield Injection(kind=kind.name, site=site.name, variant=variant)


def _variants(kind: FaultKind, stage: Stage) -> Sequence[str]:
    """The ways in which it strikes: a hostile text, once for each that the scenario has."""
    return [str(number) for number in range(len(stage.scenario.hostile))] if kind.how is How.TAINT else kind.variants


def _is_possible(kind: FaultKind, site: Site, stage: Stage) -> bool:
    if stage.subject.outside and kind.how in _IN_ITS_PROCESS:
        return False
    if kind.how is How.BREAK:
        return site.streamed
    if kind.how is How.AGE:
        return stage.contract.tool(dependency_of(site.name)).output.fresh is not None
    if kind.how is How.TAINT:
        return not stage.subject.outside and is_owed(stage.contract, site.name, site.kind)
    if kind.how is How.HOLLOW:
        return dependency_of(site.name) not in stage.shown.hollow
    return kind.how is not How.ADVERSARY or kind.name in stage.scenario.adversaries
