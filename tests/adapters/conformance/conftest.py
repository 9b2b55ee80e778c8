"""Every test of this folder runs once for each adapter."""

import importlib
from typing import Any

import pytest

BENCHES = {"pydantic_ai": "PydanticAI", "langgraph": "LangGraph", "openai_agents": "OpenAIAgents", "plain": "Plain"}


@pytest.fixture(scope="session", params=BENCHES)
def bench(request: pytest.FixtureRequest) -> Any:
    """The framework."""
    module = importlib.import_module(f"tests.adapters.conformance.benches.{request.param}")
    return getattr(module, BENCHES[request.param])()
