"""Pydantic AI: `harden(agent, contract)` puts an agent under its contract, without changing the agent.

Every model request and every tool call of a hardened agent is a call through the pipeline: journaled, limited,
retried, passed down the ladder, approved and verified as the contract says. Needs the extra `pydantic-ai`.
"""

from plimsoll.core.errors import MissingExtra

try:
    import pydantic_ai as _pydantic_ai
except ImportError as error:
    raise MissingExtra("pydantic_ai", extra="pydantic-ai") from error

from plimsoll.adapters.pydantic_ai.bare import bare_subject
from plimsoll.adapters.pydantic_ai.conversations import Conversation
from plimsoll.adapters.pydantic_ai.describe import describe, survey
from plimsoll.adapters.pydantic_ai.forge import PydanticForger
from plimsoll.adapters.pydantic_ai.hardened import HardenedAgent, harden
from plimsoll.adapters.pydantic_ai.iterating import HardenedIteration
from plimsoll.adapters.pydantic_ai.streaming import StreamRestarted
from plimsoll.adapters.pydantic_ai.subject import AgentSubject, hardened_subject
from plimsoll.adapters.pydantic_ai.watching import HardenedStream

__all__ = [
    "AgentSubject",
    "Conversation",
    "HardenedAgent",
    "HardenedIteration",
    "HardenedStream",
    "PydanticForger",
    "StreamRestarted",
    "bare_subject",
    "describe",
    "harden",
    "hardened_subject",
    "survey",
]

del _pydantic_ai
