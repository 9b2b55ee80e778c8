"""A process that streams is really killed, at one word after the other: it answers in the end, and pays once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.speaking import WORDS

ROOT = Path(__file__).parents[2]


def speak(folder: Path, *how: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error", "-m", "tests.adapters.speaking", str(folder), *how]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_at(folder: Path, kind: str, *, word: int) -> list[str]:
    """What it was shown until it was killed, at that word, after which its model says nothing more."""
    process = speak(folder, kind, str(word))
    assert process.stdout is not None
    shown = [process.stdout.readline().rstrip("\n") for _ in range(word)]
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -9, errors
    return shown


@pytest.mark.parametrize("kind", ["core", "pydantic_ai"])
def test_a_process_that_is_killed_in_mid_stream_answers_in_its_next_life(kind: str, tmp_path: Path) -> None:
    assert killed_at(tmp_path, kind, word=3)[-1].endswith(WORDS[2])
    process = speak(tmp_path, kind)
    said, errors = process.communicate(timeout=40)
    assert process.returncode == 0, errors
    *shown, last = said.splitlines()
    result: dict[str, Any] = json.loads(last)
    whole = "".join(WORDS)
    assert (result["ending"], result["output"]) == ("complete", whole), result
    if kind == "core":
        assert shown == ["<resumed>", *WORDS]
    else:
        assert shown[-1] == whole
    assert [line.split()[1] for line in (tmp_path / "payments").read_text().splitlines()] == ["20.0"]
