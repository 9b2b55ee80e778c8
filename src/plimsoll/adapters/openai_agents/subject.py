"""Subjects of the gate: an agent of the Agents SDK as the gate tries it, hardened or as it was written first."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from agents import Agent
from agents.models.interface import Model

from plimsoll.adapters.common import bare
from plimsoll.adapters.common.bare import BareFunction, Observed
from plimsoll.adapters.common.binding import ObservedBinding
from plimsoll.adapters.common.subject import AgentSubject, Framework
from plimsoll.adapters.openai_agents.cloning import Clones
from plimsoll.adapters.openai_agents.describe import check_seams, describe, family
from plimsoll.adapters.openai_agents.forge import OpenAIForger
from plimsoll.adapters.openai_agents.local import OwnModel
from plimsoll.adapters.openai_agents.messages import output_of
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse

__all__ = ["FRAMEWORK", "bare_subject", "hardened_subject"]

_SWAPPED = ("model", "tools", "handoffs")
"""What of an agent is replaced while the gate looks on."""


FRAMEWORK = Framework(
    model=Model, own=OwnModel, called="model of the Agents SDK", forger=OpenAIForger(), output_of=output_of
)
hardened_subject = FRAMEWORK.hardened_subject


def bare_subject(
    function: BareFunction,
    contract: Contract,
    *,
    agent: Agent[Any] | Sequence[Agent[Any]],
    name: str | None = None,
) -> AgentSubject:
    """An agent without any protection, as the gate tries it.

    `function` is what its service calls, `agent` the agent or agents that it uses. While one of its runs is tried they
    ask the scenario's `primary`, and every request to it, and every tool call, passes the gate's interceptor and
    nothing else. After a crash the request is made once more from the start, as a queue would.
    """
    agents = (agent,) if isinstance(agent, Agent) else tuple(agent)
    missing = [each for one in agents for each in check_seams(one, contract)]
    if missing:
        raise Misuse(f"its calls would not be seen: {'; '.join(missing)}")

    @contextmanager
    def observing(observed: Observed, model: Model) -> Iterator[None]:
        clones = Clones(ObservedBinding(observed, model), lambda one: model)
        with ExitStack() as stack:
            swaps = [(one, clones.of(one)) for first in agents for one in family(first)]
            for one, clone in swaps:
                stack.callback(one.__dict__.update, {name: getattr(one, name) for name in _SWAPPED})
                one.__dict__.update({name: getattr(clone, name) for name in _SWAPPED})
            yield

    return bare.bare_subject(
        function,
        contract,
        framework=FRAMEWORK,
        name=name,
        shapes=[describe(one) for one in agents],
        observing=observing,
    )
