"""Subjects of the gate: an agent without a framework as the gate tries it, hardened or as it was written first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from plimsoll.adapters.common import bare
from plimsoll.adapters.common.bare import BareFunction, Observed
from plimsoll.adapters.common.binding import ObservedBinding
from plimsoll.adapters.common.forging import HTTP_FAULTS, TOOL_FAULTS, UNKNOWING, Forge, TableForger, answer_faults
from plimsoll.adapters.common.subject import AgentSubject, Framework
from plimsoll.adapters.plain.agent import PlainAgent, calls_by
from plimsoll.adapters.plain.describe import describe
from plimsoll.adapters.plain.hardened import model_exchange, tool_exchange
from plimsoll.adapters.plain.local import own_function
from plimsoll.contract.model import Contract
from plimsoll.core.calls import Fault
from plimsoll.runtime.models import ModelFunction, ModelReply
from plimsoll.runtime.tools import ToolSpec

__all__ = ["FRAMEWORK", "PlainForger", "bare_subject", "hardened_subject"]


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
        framework=FRAMEWORK,
        name=name,
        shapes=[describe(one) for one in agents],
        observing=observing,
    )


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

FRAMEWORK = Framework(
    model=Callable,
    own=own_function,
    called="model function",
    forger=PlainForger(),
    output_of=lambda native: msgspec.to_builtins(native, enc_hook=str),
)
hardened_subject = FRAMEWORK.hardened_subject
