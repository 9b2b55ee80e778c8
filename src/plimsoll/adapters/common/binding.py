"""How a framework's calls reach the pipeline: bound to a run that is hardened, or to one that is only observed."""

from collections.abc import Callable, Mapping
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

__all__ = ["Binding", "Bound", "ObservedBinding"]


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

    def ordinal(self) -> int:
        """The number of the model request that begins now: 1, 2, …"""
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


class Binding(Waiting):
    """One run of a hardened agent, in this process."""

    __slots__ = ("_asked", "_audience", "deps", "model_of", "primary")

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
        self._audience = audience
        self._asked = 0

    @property
    def is_shown(self) -> bool:
        return self._audience.of(self.run) is not None

    @property
    def under_way(self) -> UnderWay:
        return self.run.state.env.under_way

    @property
    def now(self) -> Callable[[], float]:
        return self.run.state.env.clock.now

    def ordinal(self) -> int:
        self._asked += 1
        return self._asked

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
            return (await self.run.exchange(exchange, key=self.tool_key(call_id), defers=True)).outcome
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
        self._asked = 0
        self._responses = 0

    def ordinal(self) -> int:
        self._asked += 1
        return self._asked

    async def ask(self, exchange: StreamedExchange[str]) -> Any:
        native = await self._observed.call(exchange, lambda: exchange.send(None))
        self._responses += 1
        return native

    async def use(self, exchange: Exchange, call_id: str) -> Outcome:
        key = f"{self._responses}/{call_id}"
        native = await self._observed.call(exchange, lambda: exchange.send(None), key=key)
        return Outcome(status=Status.OK, value=exchange.encode(native))
