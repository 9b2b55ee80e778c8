"""The scene of one trial: what was planned, what was seen, and which life of the process is under way.

Injector, store and people all write here; the oracles read it when the trial is over.
"""

from collections import Counter
from collections.abc import Container, Coroutine, Iterator, Sequence
from copy import copy
from typing import Any, Self, TypeVar

from msgspec.structs import replace

from plimsoll.contract.model import Limits
from plimsoll.core.calls import CallInfo, CallKind
from plimsoll.core.clock import Clock, LoopClock
from plimsoll.core.events import Finding, Record
from plimsoll.core.rng import Rng
from plimsoll.gate.family import of_child
from plimsoll.gate.fault_kinds import FaultKind, How
from plimsoll.gate.faults import KINDS
from plimsoll.gate.planting import asked_with
from plimsoll.gate.sites import ASKED, SiteKind, dependency_of, site_kind, tool_of
from plimsoll.gate.stage import Stage
from plimsoll.gate.verdict import Injection, Step
from plimsoll.journal.memory import MemoryStore
from plimsoll.journal.store import RunHead
from plimsoll.runtime.result import RunResult

__all__ = ["RUN_ID", "Alerts", "CallMade", "Life", "Planned", "Scene", "SimulatedCrash"]


RUN_ID = "run-1"
"""The id under which the gate's client asks, and asks again when the process died before it answered."""

T = TypeVar("T")


class SimulatedCrash(BaseException):
    """The process died. Whatever it still tries raises this again."""


class Life:
    """One life of the agent's process. `death` says what ended it; empty while it lives."""

    __slots__ = ("death", "number", "owner")

    def __init__(self, number: int) -> None:
        self.number = number
        self.owner = f"life-{number}"
        self.death = ""

    def check(self) -> None:
        """Raises in a life that is over."""
        if self.death:
            raise SimulatedCrash(self.death)

    def end(self, why: str) -> SimulatedCrash:
        """Ends this life. Raise what is returned."""
        self.death = self.death or why
        return SimulatedCrash(self.death)


class CallMade:
    """One attempt that was seen on its way to a dependency. `ended_s` is None while it is under way.

    `site` is where it is in the trial, `name` whom it asks there, `dependency` the name of that in its own agent's
    contract. `streamed` is whether its answer came in parts, `done` whether the dependency did what it was asked to,
    whatever became of its answer, and `struck` whether a fault struck it.
    """

    __slots__ = (
        "dependency",
        "done",
        "ended_s",
        "error",
        "exchange",
        "info",
        "name",
        "native",
        "site",
        "started_s",
        "streamed",
        "struck",
    )

    def __init__(self, site: str, dependency: str, info: CallInfo, exchange: Any, started_s: float) -> None:
        self.site = site
        self.name = dependency
        self.dependency = dependency
        self.info = info
        self.exchange = exchange
        self.started_s = started_s
        self.ended_s: float | None = None
        self.error = ""
        self.native: Any = None
        self.streamed = False
        self.done = False
        self.struck = False

    @property
    def is_model(self) -> bool:
        """Whether a model was asked."""
        return self.info.kind is CallKind.MODEL


class Planned:
    """One injection of the plan, and whether it struck (`fired_s` is when) or never can (`inapplicable`).

    `about` is the dependency that its finding must name: the one struck, or the one that a person was asked about.
    """

    __slots__ = (
        "about",
        "dependency",
        "fired_s",
        "inapplicable",
        "injection",
        "kind",
        "lasting",
        "number",
        "site_kind",
    )

    def __init__(self, injection: Injection, stage: Stage) -> None:
        self.injection = injection
        self.kind: FaultKind = KINDS[injection.kind]
        self.dependency = dependency_of(injection.site)
        self.about = tool_of(self.dependency)
        self.site_kind: SiteKind = site_kind(injection.site, stage.contract)
        self.lasting = self.site_kind in self.kind.lasting
        self.number = int(injection.site.partition("@")[2]) if self.site_kind in _NUMBERED else 0
        self.fired_s: float | None = None
        self.inapplicable = False


_NUMBERED = (SiteKind.APPEND, SiteKind.APPROVAL)


class Alerts:
    """The trial's alert sink: what arrived, and when by its clock. Dependencies of `children` bear their names."""

    __slots__ = ("_children", "_clock", "_steps", "entries")

    def __init__(self, clock: Clock, steps: list[Step] | None, *, children: Container[str]) -> None:
        self._clock = clock
        self._children = children
        self._steps = steps
        self.entries: list[tuple[float, Finding]] = []

    def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> None:
        """Keeps a finding."""
        now_s = self._clock.monotonic()
        if finding.dependency and agent in self._children:
            finding = replace(finding, dependency=of_child(agent, finding.dependency))
        self.entries.append((now_s, finding))
        if self._steps is not None:
            self._steps.append(Step(at_s=now_s, who="alert", text=f"{finding.severity}: {finding.message}"))


class Scene:
    """Everything that one trial is about. `earlier` counts what the ledger had before it, by tool.

    `judged` are the questions to guards, which are no calls of the agent's.
    When the kill switch was engaged, `killed_at` calls had begun and the ledger had `rows_at_kill` rows; of the calls
    `under_way_at_kill` (by dependency), what they do may still come. `steps` is None where nobody asked for the story.
    """

    __slots__ = (
        "accepted",
        "active_s",
        "alerts",
        "appends",
        "approvals",
        "approved",
        "batches",
        "by_append",
        "by_approval",
        "by_site",
        "calls",
        "clock",
        "earlier",
        "error",
        "judged",
        "killed_at",
        "lasting",
        "latency",
        "lives",
        "noticed_crashes",
        "outage_until_s",
        "overrun",
        "planned",
        "result",
        "rng",
        "rows_at_kill",
        "stage",
        "steps",
        "store",
        "under_way_at_kill",
        "virtual_s",
        "world",
    )

    def __init__(
        self, stage: Stage, injections: Sequence[Injection], *, rng: Rng, latency: bool, recording: bool
    ) -> None:
        self.stage = stage
        self.rng = rng
        self.latency = latency
        self.clock: Clock = LoopClock()
        self.world = stage.scenario.world()
        self.earlier = Counter(row.tool for row in self.world.effects())
        self.store = MemoryStore()
        self.steps: list[Step] | None = [] if recording else None
        self.alerts = Alerts(self.clock, self.steps, children=stage.children)
        self.planned = [Planned(injection, stage) for injection in injections]
        self.by_site = {each.injection.site: each for each in self.planned if each.site_kind in ASKED}
        self.by_append = {each.number: each for each in self.planned if each.site_kind is SiteKind.APPEND}
        self.by_approval = {each.number: each for each in self.planned if each.site_kind is SiteKind.APPROVAL}
        self.lasting: dict[str, Planned] = {}
        self.calls: list[CallMade] = []
        self.judged: list[CallMade] = []
        self.batches: list[int] = []
        self.approvals = 0
        self.approved: list[tuple[str, str]] = []
        self.accepted: list[str] = []
        self.killed_at: int | None = None
        self.rows_at_kill = 0
        self.under_way_at_kill: Counter[str] = Counter()
        self.outage_until_s = -1.0
        self.noticed_crashes: list[float] = []
        self.overrun = False
        self.active_s = 0.0
        self.virtual_s = 0.0
        self.lives = 0
        self.result: RunResult | None = None
        self.error = ""
        for each in self.planned:
            if each.kind.how is How.ADVERSARY:
                each.fired_s = 0.0

    @property
    def adversary(self) -> str:
        """The kind of misbehaving model that is on stage; empty for the scenario's own models."""
        return next((each.kind.name for each in self.planned if each.kind.how is How.ADVERSARY), "")

    def asked(self) -> Any:
        """What the agent is asked in this trial."""
        input = self.stage.scenario.input
        for planned in self.planned:
            if planned.kind.how is How.TAINT and planned.site_kind is SiteKind.SCENARIO:
                tainted = asked_with(input, self.hostile(planned))
                if tainted is None:
                    planned.inapplicable = True
                else:
                    self.fire(planned)
                    return tainted
        return input

    def hostile(self, planned: Planned) -> str:
        """The text of the scenario's that this fault plants."""
        return self.stage.scenario.hostile[int(planned.injection.variant)]

    def begin(self, dependency: str, info: CallInfo, exchange: Any) -> CallMade:
        """Notes that a call is about to be sent, at a site that names the run where that is not the first one."""
        call = CallMade(f"{dependency}@{info.key}", dependency, info, exchange, self.clock.monotonic())
        if info.run_id != RUN_ID:
            call.name = self.named(info.run_id, dependency)
            within = info.run_id.removeprefix(RUN_ID).removeprefix("/") if info.run_id.startswith(RUN_ID) else ""
            call.site = f"{call.name}@{within}/{info.key}" if within else f"{call.name}@{info.key}"
        (self.judged if info.kind is CallKind.GUARD else self.calls).append(call)
        return call

    def strike(self, name: str, dependency: str) -> Planned | None:
        """The fault that strikes this attempt. It counts as fired from here on."""
        planned = self.by_site.get(name)
        if planned is None or planned.inapplicable or (planned.fired_s is not None and not planned.lasting):
            planned = self.lasting.get(dependency)
            return None if planned is None or planned.inapplicable else planned
        if planned.lasting:
            self.lasting[dependency] = planned
        self.fire(planned)
        return planned

    def named(self, run_id: str, dependency: str) -> str:
        """How the trial calls a dependency that the run `run_id` asks: a child's bears its agent's name."""
        children = self.stage.children
        agent = self._agent_of(run_id) if children else ""
        return of_child(agent, dependency) if agent in children else dependency

    def _agent_of(self, run_id: str) -> str:
        head = _at_once(self.store.head(run_id))
        return "" if head is None else head.agent

    def by_run(self) -> Iterator[tuple[Limits, Self]]:
        """Each run that made calls: the limits that it is under, and the scene with its calls alone."""
        run_ids = dict.fromkeys(call.info.run_id for call in self.calls)
        for run_id in run_ids:
            part = self if len(run_ids) == 1 else copy(self)
            part.calls = [call for call in self.calls if call.info.run_id == run_id]
            yield self.stage.children.get(self._agent_of(run_id), self.stage.contract).limits, part

    def heads(self) -> list[RunHead]:
        """The run, its children and the later ones of its chain, in the order in which they began."""
        return _at_once(self.store.heads())[::-1]

    def records(self) -> list[Record]:
        """The journal as it stands: the run's, its children's, and those of what they went on as."""
        return [record for head in self.heads() for record in _at_once(self.store.read(head.run_id))]

    def fire(self, planned: Planned) -> None:
        """A planned fault strikes now, for the first time or again."""
        if planned.fired_s is None:
            planned.fired_s = self.clock.monotonic()
            if self.steps is not None:
                self.tell("fault", f"{planned.injection}: {planned.kind.about}")

    def tell(self, who: str, text: str, *, duration_s: float | None = None, at_s: float | None = None) -> None:
        """Adds a line to the story, where one is told."""
        if self.steps is not None:
            at = self.clock.monotonic() if at_s is None else at_s
            self.steps.append(Step(at_s=at, who=who, text=text, duration_s=duration_s))


def _at_once(reading: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that never waits, as those of a store in memory."""
    try:
        reading.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("a store in memory waited")
