"""Whatever prefix of a journal a crash leaves, under whatever clock and hash seed it is gone on with: replay agrees."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.assistant.scenarios import scenarios

ROOT = Path(__file__).parents[2]


def replayed(source: str, folder: Path, *, timeout_s: float) -> Any:
    """Records the source's journals in one process, and replays them in another."""
    file = folder / "journals.json"

    def run(what: str, hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "tests.proof.prefixes", what, source, str(file)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
            timeout=timeout_s,
            check=True,
        ).stdout

    run("record", "1")
    return json.loads(run("replay", "2"))


@pytest.mark.timeout(200)  # two processes of some seconds each; on a busy machine many more
def test_every_prefix_of_some_of_the_assistants_journals_agrees(tmp_path: Path) -> None:
    report = replayed("few", tmp_path, timeout_s=150)
    assert report["disagree"] == []
    assert report["journals"] == 4 and report["replays"] > 2 * report["prefixes"]


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_every_prefix_of_all_of_the_assistants_journals_agrees(tmp_path: Path) -> None:
    report = replayed("assistant", tmp_path, timeout_s=250)
    assert report["disagree"] == []
    assert report["journals"] == len(scenarios) and report["replays"] > 2 * report["prefixes"]


@pytest.mark.realdata
@pytest.mark.timeout(300)
def test_every_prefix_of_every_retail_journal_agrees(tmp_path: Path) -> None:
    assert os.environ.get("PLIMSOLL_REALDATA"), "set PLIMSOLL_REALDATA to the folder of the retail data"
    report = replayed("retail", tmp_path, timeout_s=250)
    assert report["disagree"] == []
    assert report["journals"] == 115 and report["prefixes"] > 900


@pytest.mark.timeout(200)
def test_an_agent_that_does_not_repeat_itself_is_caught(tmp_path: Path) -> None:
    disagree = replayed("mutants", tmp_path, timeout_s=150)["disagree"]
    for name in ("by_set", "by_clock"):
        assert any(f"{name}[:2]" in why and "ReplayMismatch" in why for why in disagree), name
