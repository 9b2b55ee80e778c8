"""Subjects of the gate: an agent without a framework as the gate tries it, hardened or as it was written first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from plimsoll.adapters.common import bare, models, subject
from plimsoll.adapters.common.bare import BareFunction, Observed
from plimsoll.adapters.common.binding import ObservedBinding
from plimsoll.adapters.common.forging import (
    ERROR_DOCUMENT,
    RETRY_AFTER_S,
    TOOL_FAULTS,
    Forge,
    HTTPStatusError,
    TableForger,
    raising,
)
from plimsoll.adapters.common.subject import AgentSubject, Connections
from plimsoll.adapters.plain.agent import PlainAgent, calls_by
from plimsoll.adapters.plain.describe import describe
from plimsoll.adapters.plain.hardened import HardenedFunction, model_exchange, tool_exchange
from plimsoll.contract.model import Contract
from plimsoll.core.calls import Fault
from plimsoll.runtime.models import ModelFunction, ModelReply
from plimsoll.runtime.tools import ToolSpec

__all__ = ["PlainForger", "bare_subject", "hardened_subject", "stand_ins"]


def hardened_subject(
    hardened: HardenedFunction, *, name: str | None = None, connections: Connections = lambda world: {}
) -> AgentSubject:
    """The hardened agent as the gate tries it: stand-ins for its models, the world as its dependencies.

    `connections` makes the databases of its transaction tools in a scenario's world, by the names of their connections.
    """
    return subject.hardened_subject(
        hardened, name=name, connections=connections, forger=PlainForger(), stand_ins=stand_ins
    )


def bare_subject(
    function: BareFunction,
    contract: Contract,
    *,
    agent: PlainAgent | Sequence[PlainAgent],
    name: str | None = None,
) -> AgentSubject:
    """An agent without any protection, as the gate tries it.

    `function` is what its service calls, and it calls `agent`. Every request to a model, and every tool call, passes
    the gate's interceptor and nothing else. After a crash the request is made once more from the start.
    """
    agents = (agent,) if isinstance(agent, PlainAgent) else tuple(agent)

    @contextmanager
    def observing(observed: Observed, model: ModelFunction) -> Iterator[None]:
        with calls_by(_Observing(observed, model)):
            yield

    return bare.bare_subject(
        function,
        contract,
        name=name,
        shapes=[describe(one) for one in agents],
        observing=observing,
        output_of=lambda native: msgspec.to_builtins(native, enc_hook=str),
        forger=PlainForger(),
        stand_ins=stand_ins,
    )


def stand_ins(contract: Contract, given: Mapping[str, Any]) -> dict[str, ModelFunction]:
    """The stand-ins for the contract's models, by their names. Raises `Misuse` where one is missing or is none."""
    return models.stand_ins(contract, given, kind=Callable, what="model function")  # type: ignore[arg-type]


class _Observing:
    """Makes the calls of one observed run."""

    def __init__(self, observed: Observed, model: ModelFunction) -> None:
        self._observed = observed
        self._bound = ObservedBinding(observed, model)

    async def tool(self, spec: ToolSpec, args: dict[str, Any], deps: Any) -> Any:
        exchange = tool_exchange(spec, args, deps, contract=self._observed.contract)
        return await self._observed.call(exchange, lambda: exchange.send(None))

    async def model(self, name: str, prompt: Any) -> Any:
        return await self._bound.ask(model_exchange(self._bound, name, prompt))


class PlainForger(TableForger):
    """Makes faults for exchanges of this adapter; a `plimsoll.gate.subject.Forger`."""

    def __init__(self) -> None:
        super().__init__(_MODEL, TOOL_FAULTS)


def _answer(native: Any) -> ModelReply:
    """The true answer, or one that a model might have given."""
    return native if isinstance(native, ModelReply) else ModelReply(text="I will look into it.")


def _saying(text: str, reason: str = "stop") -> Forge:
    return lambda exchange, native: ModelReply(text=text, finish_reason=reason, usage=_answer(native).usage)


def _truncated(exchange: Any, native: Any) -> ModelReply:
    answer = _answer(native)
    text = answer.text or "I will look into it."
    return ModelReply(text=text[: len(text) // 2 + 1], finish_reason="length", usage=answer.usage)


_MODEL: Mapping[Fault, Forge] = {
    Fault.RATE_LIMITED: raising(lambda: HTTPStatusError(429, headers={"Retry-After": str(RETRY_AFTER_S)})),
    Fault.SERVER_ERROR: raising(lambda: HTTPStatusError(503)),
    Fault.CLIENT_ERROR: raising(lambda: HTTPStatusError(400)),
    Fault.CONNECTION: raising(lambda: ConnectionResetError(104, "Connection reset by peer")),
    Fault.TIMEOUT: raising(lambda: TimeoutError("Request timed out.")),
    Fault.EXCEPTION: raising(lambda: ValueError("could not parse the response")),
    Fault.EMPTY: _saying(""),
    Fault.WHITESPACE: _saying(" \n\n "),
    Fault.TRUNCATED: _truncated,
    Fault.FILTERED: _saying("", "content_filter"),
    Fault.MALFORMED: lambda exchange, native: "<html>502</html>",
    Fault.ERROR_IN_SUCCESS: _saying(ERROR_DOCUMENT),
}
