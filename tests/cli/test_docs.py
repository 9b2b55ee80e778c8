"""The commands on the pages about the journal do what the pages say, one after the other."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import User

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^( *)```(sh|toml)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """The page's commands and settings, in their order."""
    found = BLOCK.findall((DOCS / page).read_text())
    return [(kind, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)) for indent, kind, text in found]


def command(folder: Path) -> None:
    """Puts `plimsoll` and `python` where a shell finds them."""
    folder.mkdir()
    for name, line in (
        ("plimsoll", f'exec {sys.executable} -m plimsoll "$@"'),
        ("python", f'exec {sys.executable} "$@"'),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(stat.S_IRWXU)


def shell(user: User, commands: str) -> str:
    """What the commands print. Each of them must succeed."""
    environment = {**os.environ, "PATH": f"{user.folder / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=user.folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.timeout(300)  # each command is a process of its own
@pytest.mark.parametrize("page", ["journal.md", "operations.md"])
def test_the_commands_of_a_page_do_what_it_says(user: User, page: str) -> None:
    command(user.folder / "bin")
    settings = [line for kind, text in blocks(page) if kind == "toml" for line in text.splitlines() if "=" in line]
    printed = []
    for kind, text in blocks(page):
        if kind == "sh" and "keys make" not in text and not (user.folder / ".plimsoll").exists():
            user.edit("[gate]\n", "[journal]\n" + "\n".join(settings) + "\n\n[gate]\n")
            user.asks("refund 20", run_id="ticket-7713")
            user.asks("refund 120", run_id="ticket-7714")
        if kind == "sh":
            printed.append(shell(user, text))
    assert any("Everything is as it was written: 2 runs" in each for each in printed)
    assert all("Not everything" not in each for each in printed)


SAID_BY_OTHERS = {
    "database or disk is full", "disk I/O error", "database is locked", "readonly database", "audit verify",
}  # fmt: skip


def test_every_message_that_the_page_explains_is_one_that_there_is() -> None:
    """The left column of `What to do when…` quotes the program, and SQLite."""
    table = (DOCS / "operations.md").read_text().split("## What to do when…")[1]
    quoted = [text for row in table.splitlines() for text in re.findall("`([^`]+)`", (row + "||").split("|")[1])]
    source = "".join(file.read_text() for file in (DOCS.parent / "src" / "plimsoll").rglob("*.py"))
    parts = [part.strip(" :") for message in quoted for part in re.split("…|; ", message)]
    assert len(quoted) > 12
    assert [part for part in parts if part not in SAID_BY_OTHERS and part not in source] == []
