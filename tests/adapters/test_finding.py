"""The adapter of an agent is found by what made the agent, and says which extra it wants."""

import importlib
import sys

import pytest

from plimsoll.adapters import ADAPTERS, adapter_of, harden
from plimsoll.contract.model import AgentSection, Contract
from plimsoll.core.errors import MissingExtra, Misuse

EXTRAS = {"agents": "openai-agents", "langgraph": "langgraph", "pydantic_ai": "pydantic-ai"}


@pytest.mark.parametrize("framework", EXTRAS)
def test_an_adapter_without_its_framework_names_the_extra(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = ADAPTERS[framework]
    for module in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, framework, None)
    with pytest.raises(MissingExtra, match=rf"plimsoll-ai\[{EXTRAS[framework]}\]"):
        importlib.import_module(name)


@pytest.mark.parametrize("module", [*EXTRAS, "plimsoll"])
def test_an_adapter_has_what_the_command_line_asks_for(module: str) -> None:
    adapter = importlib.import_module(ADAPTERS[module])
    for name in ("harden", "describe", "survey", "hardened_subject", "bare_subject"):
        assert callable(getattr(adapter, name)) and name in adapter.__all__


def test_what_is_no_agent_is_told_so() -> None:
    with pytest.raises(Misuse, match=r"builtins\.int is no agent of a framework known here \(agents, langgraph, pyda"):
        adapter_of(3)
    with pytest.raises(Misuse, match=r"PlainAgent`, or a `Harness`"):
        harden(print, Contract(agent=AgentSection(name="desk")))
