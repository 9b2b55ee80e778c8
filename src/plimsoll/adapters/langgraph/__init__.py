"""LangGraph and LangChain: `harden(agent, contract)` puts a graph under its contract.

Every model request and every tool call of a hardened graph is a call through the pipeline: journaled, limited,
retried, passed down the ladder, approved and verified as the contract says. Needs the extra `langgraph`.
"""

from plimsoll.core.errors import MissingExtra

try:
    import langchain as _langchain
    import langgraph as _langgraph
except ImportError as error:
    raise MissingExtra("langgraph", extra="langgraph") from error

from plimsoll.adapters.langgraph.describe import describe, survey
from plimsoll.adapters.langgraph.forge import LangGraphForger
from plimsoll.adapters.langgraph.hardened import HardenedGraph, harden
from plimsoll.adapters.langgraph.middleware import Hardening
from plimsoll.adapters.langgraph.models import journaled
from plimsoll.adapters.langgraph.subject import bare_subject, hardened_subject
from plimsoll.adapters.langgraph.tools import journaled_tool_call

__all__ = [
    "HardenedGraph",
    "Hardening",
    "LangGraphForger",
    "bare_subject",
    "describe",
    "harden",
    "hardened_subject",
    "journaled",
    "journaled_tool_call",
    "survey",
]

del _langchain, _langgraph
