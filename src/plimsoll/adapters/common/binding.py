"""How a framework's calls reach the pipeline: bound to a run that is hardened, or to one that is only observed."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from plimsoll.adapters.common.bare import Observed
from plimsoll.adapters.common.waiting import Waiting
from plimsoll.adapters.common.watching import Audience
from plimsoll.contract.model import Contract
from plimsoll.core.calls import Outcome, Status
from plimsoll.core.errors import Unwind
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.run import Run
from plimsoll.runtime.showing import Restarted
from plimsoll.runtime.streaming import StreamedExchange
from plimsoll.runtime.underway import UnderWay

__all__ = ["Binding", "Bound", "ObservedBinding", "Requests"]


class Bound(Protocol):
    """One run, as an adapter's wrappers of models and tools know it."""

    @property
    def run_id(self) -> str: ...
    @property
    def contract(self) -> Contract: ...
    @property
    def verifiers(self) -> Mapping[str, Callable[..., Any]]: ...
    @property
    def deps(self) -> Any: ...
    @property
    def primary(self) -> Any:
        """The model to ask first; None: the one that the framework would have asked."""
        ...

    @property
    def is_shown(self) -> bool:
        """Whether somebody is shown what the model says."""
        ...

    @property
    def under_way(self) -> UnderWay | None:
        """Where threads that outlive their attempts are known."""
        ...

    @property
    def now(self) -> Callable[[], float] | None:
        """Tells the wall-clock time, by which an answer may be stale; None where nobody looks."""
        ...

    @property
    def requests(self) -> "Requests":
        """The requests to its models."""
        ...

    def model_of(self, name: str, /) -> Any:
        """The model of a rung."""
        ...

    async def ask(self, exchange: StreamedExchange[str]) -> Any:
        """The native answer of a model. Raises `CallFailed`, or what takes the run off the stack."""
        ...

    async def use(self, exchange: Exchange, call_id: str) -> Outcome | None:
        """What came of a tool call; None where it waits for a person: the run leaves before it asks a model again."""
        ...


class Requests:
    """The requests to a run's models, numbered as they begin, and which of them has asked for which tool call.

    Branches ask beside each other, so which answer came last says nothing of who asked for a call.
    """

    __slots__ = ("_askers", "_count")

    def __init__(self) -> None:
        self._askers: dict[str, int] = {}
        self._count = 0

    def begun(self) -> int:
        """The number of the request that begins now: 1, 2, …"""
        self._count += 1
        return self._count

    def answered(self, number: int, call_ids: Iterable[str]) -> None:
        """The answer to this request asks for these tool calls."""
        self._askers.update(dict.fromkeys(call_ids, number))

    def asker(self, call_id: str) -> int | None:
        """The number of the request whose answer asked for this tool call; None: no model did."""
        return self._askers.get(call_id)


class Binding(Waiting):
    """One run of a hardened agent, in this process."""

    __slots__ = ("_audience", "deps", "model_of", "primary", "requests")

    def __init__(
        self,
        run: Run,
        *,
        contract: Contract,
        primary: Any,
        model_of: Callable[[str], Any],
        verifiers: Mapping[str, Callable[..., Any]],
        deps: Any,
        audience: Audience,
    ) -> None:
        super().__init__(run, contract=contract, verifiers=verifiers)
        self.primary = primary
        self.model_of = model_of
        self.deps = deps
        self.requests = Requests()
        self._audience = audience

    @property
    def is_shown(self) -> bool:
        return self._audience.of(self.run) is not None

    @property
    def under_way(self) -> UnderWay:
        return self.run.state.env.under_way

    @property
    def now(self) -> Callable[[], float]:
        return self.run.state.env.clock.now

    async def ask(self, exchange: StreamedExchange[str]) -> Any:
        self.leave()  # the calls beside one that waits have settled
        relay = self._audience.of(self.run)
        if relay is None:
            native = (await self.run.exchange(exchange)).unwrap()
        else:
            await relay.restart("next")
            async with self.run.streaming(exchange) as parts:
                async for part in parts:
                    await (relay.restart(part.why) if isinstance(part, Restarted) else relay.give(part))
            native = parts.reply
        self.responses += 1
        return native

    async def use(self, exchange: Exchange, call_id: str) -> Outcome | None:
        if self.bars():
            return None
        try:
            key = self.tool_key(call_id, response=self.requests.asker(call_id))
            return (await self.run.exchange(exchange, key=key, defers=True)).outcome
        except Unwind as signal:
            if self.may_wait(signal):
                return None
            raise


class ObservedBinding:
    """One run of an agent that is not hardened: its calls are put before the gate's interceptor, and believed."""

    is_shown = False
    under_way = None
    now = None
    deps = None
    verifiers: Mapping[str, Callable[..., Any]] = {}

    def __init__(self, observed: Observed, primary: Any) -> None:
        self._observed = observed
        self.primary = primary
        self.run_id = observed.run_id
        self.contract = observed.contract
        self.model_of = observed.model_of
        self.requests = Requests()
        self._responses = 0

    async def ask(self, exchange: StreamedExchange[str]) -> Any:
        native = await self._observed.call(exchange, lambda: exchange.send(None))
        self._responses += 1
        return native

    async def use(self, exchange: Exchange, call_id: str) -> Outcome:
        key = f"{self.requests.asker(call_id) or self._responses}/{call_id}"
        native = await self._observed.call(exchange, lambda: exchange.send(None), key=key)
        return Outcome(status=Status.OK, value=exchange.encode(native))
