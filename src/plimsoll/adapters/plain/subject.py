"""Subjects of the gate: an agent without a framework as the gate tries it, hardened or as it was written first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from plimsoll.adapters.common import bare, models, subject
from plimsoll.adapters.common.bare import BareFunction, Observed
from plimsoll.adapters.common.binding import ObservedBinding
from plimsoll.adapters.common.forging import HTTP_FAULTS, TOOL_FAULTS, UNKNOWING, Forge, TableForger, answer_faults
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
    return native if isinstance(native, ModelReply) else ModelReply(text=UNKNOWING)


def _saying(native: Any, text: str, reason: str) -> ModelReply:
    return ModelReply(text=text, finish_reason=reason, usage=_answer(native).usage)


_MODEL: Mapping[Fault, Forge] = {
    **HTTP_FAULTS,
    **answer_faults(_saying, lambda native: _answer(native).text),
    Fault.MALFORMED: lambda exchange, native: "<html>502</html>",
}
