"""What all runs of a harness share: the contract, the seams, and the state of each dependency."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plimsoll.contract.model import Contract, DayLimits, Mode, Tool
from plimsoll.core.calls import CallKind
from plimsoll.core.clock import Clock
from plimsoll.core.errors import UnknownDependency
from plimsoll.core.events import CallIntended, Finding
from plimsoll.core.ids import Ids
from plimsoll.core.rng import Rng
from plimsoll.journal.store import Store
from plimsoll.observability.findings import AlertSink, FindingHub, circuit_finding
from plimsoll.observability.listening import Listener
from plimsoll.oversight.rules import RuleBook
from plimsoll.policies.admission import Admission
from plimsoll.policies.answer_cache import AnswerCache
from plimsoll.policies.circuit_breaker import CircuitChanged, CircuitState
from plimsoll.policies.deadline import LatencyWindow
from plimsoll.policies.hedge import HedgeBook
from plimsoll.policies.ladder import Ladder, build_windows
from plimsoll.policies.retry import RetryBudget, RetryPolicy
from plimsoll.runtime.compiled import CompiledContract
from plimsoll.runtime.daily import DayBook
from plimsoll.runtime.databases.sharing import Transactions
from plimsoll.runtime.exchange import Exchange, Interceptor
from plimsoll.runtime.guards import Guards
from plimsoll.runtime.isolation import Isolation
from plimsoll.runtime.kin import ChildExchange, Kin
from plimsoll.runtime.models import ModelExchange, ModelFunction
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.tools import BoundTool, ToolExchange, ToolSpec, Verifier
from plimsoll.runtime.underway import UnderWay

__all__ = ["Environment"]


@dataclass(slots=True, kw_only=True)
class Environment:
    """Built once by the harness. The dictionaries at the end are the dependencies' live state, by name."""

    compiled: CompiledContract
    fingerprint: str
    surroundings: Surroundings
    tools: Mapping[str, ToolSpec]
    models: Mapping[str, ModelFunction]
    verifiers: Mapping[str, Verifier]
    transactions: Transactions = field(default_factory=lambda: Transactions({}))
    children: Mapping[str, Kin] = field(default_factory=dict)
    undoable: frozenset[str] = frozenset()
    """The tools whose calls can be taken back."""
    guards: Guards | None = None
    """What judges texts on their way; None: nothing does."""
    store: Store = field(init=False)
    clock: Clock = field(init=False)
    rng: Rng = field(init=False)
    ids: Ids = field(init=False)
    sinks: Sequence[AlertSink] = field(init=False)
    interceptor: Interceptor = field(init=False)
    listener: Listener | None = field(init=False)
    contract: Contract = field(init=False)
    rules: RuleBook = field(init=False)
    ladders: Mapping[str, Ladder] = field(init=False)
    retries: Mapping[str, RetryPolicy | None] = field(init=False)
    windows: dict[str, LatencyWindow] = field(init=False)
    budgets: defaultdict[str, RetryBudget] = field(default_factory=lambda: defaultdict(RetryBudget))
    """Retry budgets, each shared by all runs."""
    admissions: dict[str, Admission] = field(init=False)
    """Circuit breakers, rate limits and bulkheads, of the dependencies that have any."""
    isolation: Isolation = field(init=False)
    answers: dict[str, AnswerCache] = field(init=False)
    """The last answers of the ladders that may give one again."""
    report_at: float = 0.0
    """When, on the monotonic clock, this process is to report next how its dependencies stand."""
    day: DayBook | None = field(init=False)
    """What this process may spend of the limits of a day; None where there are none."""
    hedging: dict[tuple[str, bool], HedgeBook] = field(default_factory=dict)
    """Latencies by dependency, and by whether its answer is shown as it comes: its first part counts then."""
    under_way: UnderWay = field(init=False)
    _bound: dict[str, BoundTool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        outside = self.surroundings
        self.under_way = outside.under_way
        self.store, self.clock, self.rng, self.ids = outside.store, outside.clock, outside.rng, outside.ids
        self.sinks, self.interceptor, self.under_way = outside.sinks, outside.interceptor, outside.under_way
        self.contract, self.rules = self.compiled.contract, self.compiled.rules
        self.listener = None if outside.telemetry is None else outside.telemetry.listener(self.contract)
        if self.listener is not None:
            self.sinks = (*self.sinks, self.listener.sink)
        self.ladders, self.retries = self.compiled.ladders, self.compiled.retries
        self.windows = build_windows(self.ladders)
        self.admissions = {
            name: Admission(protected, dependency=name, clock=self.clock, on_change=self._circuit_changed)
            for name, protected in self.compiled.protected.items()
        }
        self.answers = {
            name: AnswerCache()
            for name, ladder in self.ladders.items()
            if any(rung.model.cached_for_s is not None for rung in ladder.rungs)
        }
        self.day = self._day_book()
        self.isolation = Isolation(self.admissions, agent=self.contract.agent.name)

    def _day_book(self) -> DayBook | None:
        limits = self.contract.limits.day
        if limits is None or limits == DayLimits():
            return None
        return DayBook(
            limits,
            account=self.contract.agent.name,
            owner=self.surroundings.owner,
            store=self.store,
            clock=self.clock,
            enforced=self.contract.protections.limits is Mode.ENFORCE,
            patience_s=self.contract.journal.patience_s,
        )

    def alert(self, finding: Finding, *, run_id: str = "*") -> None:
        """Alerts of something that no run's journal holds; `run_id` is `*` where it is about no run."""
        FindingHub(self.sinks).emit(finding, run_id=run_id, agent=self.contract.agent.name, at=self.clock.now())

    def hedge_book(self, name: str, *, is_shown: bool) -> HedgeBook:
        """What is known of the latencies of a dependency that is hedged."""
        book = self.hedging.get((name, is_shown))
        if book is None:
            book = self.hedging[name, is_shown] = HedgeBook(self.compiled.hedges[name])
        return book

    def _circuit_changed(self, change: CircuitChanged) -> None:
        self.report_at = 0.0
        if change.after is not CircuitState.HALF_OPEN:
            self.alert(circuit_finding(change.dependency, state=change.after, why=change.why))

    def tool(self, name: str) -> Tool:
        """What the contract says of the tool `name`."""
        return self.contract.tool(name)

    def tool_exchange(self, name: str, args: dict[str, Any]) -> ToolExchange:
        """One call of a registered tool, with every default filled in.

        Raises `UnknownDependency`, and `Misuse` for arguments that the tool does not take or that JSON cannot carry.
        """
        tool = self._bound.get(name) or self._bind(name)
        return ToolExchange(tool, tool.filled(args))

    def _bind(self, name: str) -> BoundTool:
        spec = self.tools.get(name)
        if spec is None:
            raise UnknownDependency(name, known=list(self.tools))
        tool = BoundTool(
            spec,
            section=self.tool(name),
            verifier=self.verifiers.get(name),
            under_way=self.under_way,
            now=self.clock.now,
        )
        self._bound[name] = tool
        return tool

    def exchange_of(self, intent: CallIntended) -> Exchange | None:
        """The call of a tool, made again of its intent; None where the tool is a framework's, which alone can."""
        if intent.kind is not CallKind.TOOL or intent.dependency not in self.tools:
            return None
        return self.tool_exchange(intent.dependency, intent.args)

    def child_exchange(self, name: str, input: Any) -> ChildExchange:
        """One call of a child. Raises `UnknownDependency`, and `Misuse` for an input that JSON cannot carry."""
        kin = self.children.get(name)
        if kin is None:
            raise UnknownDependency(name, known=list(self.children))
        return ChildExchange(name, input, kin=kin)

    def model_exchange(self, name: str, prompt: Any) -> ModelExchange:
        """One request to a registered ladder. Raises `UnknownDependency`."""
        if name not in self.ladders:
            raise UnknownDependency(name, known=list(self.ladders))
        return ModelExchange(name, prompt, functions=self.models, sections=self.contract.models)
