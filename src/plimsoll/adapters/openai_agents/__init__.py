"""The OpenAI Agents SDK: `harden(agent, contract)` puts an agent under its contract, without changing the agent.

Every model request and every call of a function tool of a hardened agent is a call through the pipeline: journaled,
limited, retried, passed down the ladder, approved and verified as the contract says. Needs the extra `openai-agents`.
"""

from plimsoll.core.errors import MissingExtra

try:
    import agents as _agents
except ImportError as error:
    raise MissingExtra("agents", extra="openai-agents") from error

from plimsoll.adapters.openai_agents.describe import describe, survey
from plimsoll.adapters.openai_agents.forge import OpenAIForger
from plimsoll.adapters.openai_agents.hardened import HardenedAgent, harden
from plimsoll.adapters.openai_agents.subject import bare_subject, hardened_subject

__all__ = ["HardenedAgent", "OpenAIForger", "bare_subject", "describe", "harden", "hardened_subject", "survey"]

del _agents
