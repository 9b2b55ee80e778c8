"""A user's folder: a shop with an agent, a contract, and the command line run in it."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from plimsoll import harden
from plimsoll.cli import main
from plimsoll.cli.agents import load
from plimsoll.runtime.result import RunResult

CONTRACT = """\
[agent]
name = "shop"
entrypoint = "shop.agent:agent"
deps = "shop.agent:open_shop"

[models.primary]
fallback = ["canned"]

[models.canned]
canned = "I cannot answer that now. Nothing further was done."
may_write = false

[tools.find_order]
effect = "read"

[tools.list_orders]
effect = "read"

[tools.issue_refund]
effect = "write"
approval = { when = "amount > 50", approvers = ["ana"] }

[tools.send_email]
effect = "write"

[gate]
scenarios = "shop.scenarios:SCENARIOS"
storms = 2
"""


class User:
    """Somebody with an agent, in a folder of her own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contract = folder / "plimsoll.toml"
        self.contract.write_text(CONTRACT)

    def run(self, *arguments: str, env: dict[str, str | None] | None = None, width: int = 80) -> Result:
        """What `plimsoll …` does. Nothing but a click error or an exit may come out of it."""
        return CliRunner(env={"COLUMNS": str(width)} | (env or {})).invoke(main, arguments)

    def ok(self, *arguments: str, **options: Any) -> str:
        """What a command that succeeds prints."""
        result = self.run(*arguments, **options)
        assert result.exit_code == 0, result.output
        return result.output

    def json(self, *arguments: str) -> Any:
        """The one JSON object of a command that succeeds: its last line, and all that it prints."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        assert result.stdout.count("\n") == 1
        return json.loads(result.stdout)

    def refused(self, *arguments: str, code: int = 1, **options: Any) -> str:
        """The one message of a command that does not succeed."""
        result = self.run(*arguments, **options)
        assert isinstance(result.exception, SystemExit), result.exception
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert "Traceback" not in result.stderr
        message = result.stderr[result.stderr.index("Error: ") :]
        assert message.count("\n") == 1, "one message, on one line"
        return message.strip()

    def asks(self, request: str, *, run_id: str, **options: Any) -> RunResult:
        """Her service serves one request."""

        async def serve() -> RunResult:
            deps = load("shop.agent:open_shop")
            async with harden(load("shop.agent:agent"), "plimsoll.toml", deps=deps, **options) as hardened:
                result: RunResult = await hardened.run(request, run_id=run_id)
                return result

        return asyncio.run(serve())

    def edit(self, old: str, new: str) -> None:
        text = self.contract.read_text()
        assert old in text
        self.contract.write_text(text.replace(old, new))

    @property
    def paid(self) -> list[float]:
        """What the world's ledger says was really paid."""
        ledger = self.folder / "ledger.jsonl"
        return [json.loads(row)["amount"] for row in ledger.read_text().splitlines()] if ledger.exists() else []


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    shutil.copytree(Path(__file__).parent / "shop", tmp_path / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("PLIMSOLL_TRACEBACK", raising=False)
    yield User(tmp_path)
    for name in [name for name in sys.modules if name == "shop" or name.startswith("shop.")]:
        del sys.modules[name]


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of a process of its own: it finds the shop in its working directory."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([".", *filter(None, [os.environ.get("PYTHONPATH")])])}
