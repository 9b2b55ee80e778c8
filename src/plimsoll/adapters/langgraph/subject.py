"""Subjects of the gate: a graph as the gate tries it, hardened or as it was written first."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel
from langgraph.pregel import Pregel

from plimsoll.adapters.common import bare
from plimsoll.adapters.common.bare import BareFunction, Observed
from plimsoll.adapters.common.binding import ObservedBinding
from plimsoll.adapters.common.subject import AgentSubject, Framework
from plimsoll.adapters.langgraph.binding import bound_to
from plimsoll.adapters.langgraph.describe import check_seams, describe
from plimsoll.adapters.langgraph.forge import LangGraphForger
from plimsoll.adapters.langgraph.local import own_model
from plimsoll.adapters.langgraph.messages import output_of
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse

__all__ = ["FRAMEWORK", "bare_subject", "hardened_subject"]


FRAMEWORK = Framework(
    model=BaseChatModel, own=own_model, called="chat model", forger=LangGraphForger(), output_of=output_of
)
hardened_subject = FRAMEWORK.hardened_subject


def bare_subject(
    function: BareFunction,
    contract: Contract,
    *,
    agent: Pregel[Any, Any, Any, Any] | Sequence[Pregel[Any, Any, Any, Any]],
    name: str | None = None,
) -> AgentSubject:
    """A graph without any protection, as the gate tries it.

    `function` is what its service calls, `agent` the graph or graphs that it uses. They are made with `Hardening`, by
    which the gate sees what they do; it protects nothing here. Raises `Misuse` for one that is not.
    """
    agents = (agent,) if isinstance(agent, Pregel) else tuple(agent)
    missing = [each for one in agents for each in check_seams(one)]
    if missing:
        raise Misuse(f"its calls would not be seen: {'; '.join(missing)}")

    @contextmanager
    def observing(observed: Observed, model: BaseChatModel) -> Iterator[None]:
        with bound_to(ObservedBinding(observed, model)):
            yield

    return bare.bare_subject(
        function,
        contract,
        framework=FRAMEWORK,
        name=name,
        shapes=[describe(one) for one in agents],
        observing=observing,
    )
