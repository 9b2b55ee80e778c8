"""The public names are those that were committed: one is added or taken away on purpose, and never by accident.

After a change that is meant: python -m tests.test_public_names
"""

import importlib
from pathlib import Path

MODULES = (
    "plimsoll",
    "plimsoll.adapters.langgraph",
    "plimsoll.adapters.openai_agents",
    "plimsoll.adapters.plain",
    "plimsoll.adapters.pydantic_ai",
    "plimsoll.gate",
    "plimsoll.journal",
    "plimsoll.observability.telemetry",
    "plimsoll.policies",
    "plimsoll.services.gateway",
)
SNAPSHOT = Path(__file__).with_name("public_names.txt")


def names() -> str:
    lines = (f"{module}.{name}" for module in MODULES for name in sorted(importlib.import_module(module).__all__))
    return "\n".join(lines) + "\n"


def test_the_public_names_are_those_that_were_committed() -> None:
    said = "where this is meant: python -m tests.test_public_names, and a line in CHANGELOG.md"
    assert names().splitlines() == SNAPSHOT.read_text().splitlines(), said


if __name__ == "__main__":
    SNAPSHOT.write_text(names())
