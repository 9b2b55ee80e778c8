"""Adapters: one package per agent framework. Only the one that is used is imported, so each can be an extra."""

import importlib
from pathlib import Path
from typing import Any

from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse

__all__ = ["ADAPTERS", "adapter_of", "harden"]

ADAPTERS = {
    "agents": "plimsoll.adapters.openai_agents",
    "langgraph": "plimsoll.adapters.langgraph",
    "plimsoll": "plimsoll.adapters.plain",
    "pydantic_ai": "plimsoll.adapters.pydantic_ai",
}
"""The adapter's module by the framework's top-level package. An agent without a framework is one of ours."""


def adapter_of(agent: Any) -> Any:
    """The adapter module for an agent object. Raises `Misuse` for a framework that has none."""
    for base in type(agent).__mro__:
        module = ADAPTERS.get(base.__module__.partition(".")[0])
        if module is not None:
            return importlib.import_module(module)
    known = ", ".join(sorted(ADAPTERS.keys() - {"plimsoll"}))
    raise Misuse(
        f"{type(agent).__module__}.{type(agent).__qualname__} is no agent of a framework known here ({known}). "
        "An agent of your own, an async callable, goes into a `plimsoll.adapters.plain.PlainAgent`, or a `Harness`."
    )


def harden(agent: Any, contract: Contract | str | Path, **options: Any) -> Any:
    """The agent under its contract: journaled, limited, recoverable, overseen.

    `contract` is a contract or the path of a `plimsoll.toml`. The options, and what is returned, are the adapter's: for
    Pydantic AI see `plimsoll.adapters.pydantic_ai.harden`, and so for the others. Raises `ContractError`, `Misuse`, and
    `MissingExtra` when the adapter's extra is not installed.
    """
    return adapter_of(agent).harden(agent, contract, **options)
