"""The public names are those that were committed: one is added or taken away on purpose, and never by accident.

After a change that is meant: python -m tests.test_public_names
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

import pytest

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
HEAVY = (
    "plimsoll.learning.classifier",
    "plimsoll.learning.decoder.causal",
    "plimsoll.learning.decoder.served",
    "plimsoll.learning.conversations",
    "plimsoll.learning.encoder",
    "plimsoll.learning.explaining.deletion",
    "plimsoll.learning.explaining.fitted",
    "plimsoll.learning.explaining.gradients",
    "plimsoll.learning.explaining.html",
    "plimsoll.learning.explaining.reading",
    "plimsoll.learning.explaining.report",
    "plimsoll.learning.explaining.slices",
    "plimsoll.learning.export",
    "plimsoll.learning.guard_rows",
    "plimsoll.learning.guards",
    "plimsoll.learning.journals",
    "plimsoll.learning.lineage",
    "plimsoll.learning.manifest",
    "plimsoll.learning.options",
    "plimsoll.learning.policy",
    "plimsoll.learning.policy.fitting",
    "plimsoll.learning.policy.options",
    "plimsoll.learning.registry",
    "plimsoll.learning.rows",
    "plimsoll.learning.transfer",
)
"""Modules whose libraries need not be installed."""
SNAPSHOT = Path(__file__).with_name("public_names.txt")


SAID = "where this is meant: python -m tests.test_public_names, and a line in CHANGELOG.md"


def names(modules: Sequence[str]) -> list[str]:
    return [f"{module}.{name}" for module in modules for name in sorted(importlib.import_module(module).__all__)]


def committed() -> tuple[list[str], list[str]]:
    lines = SNAPSHOT.read_text().splitlines()
    heavy = [line for line in lines if line.rpartition(".")[0] in HEAVY]
    return [line for line in lines if line not in heavy], heavy


def test_the_public_names_are_those_that_were_committed() -> None:
    assert names(MODULES) == committed()[0], SAID


@pytest.mark.heavy
def test_those_of_modules_with_heavy_libraries_as_well() -> None:
    assert names(HEAVY) == committed()[1], SAID


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join([*names(MODULES), *names(HEAVY)]) + "\n")
