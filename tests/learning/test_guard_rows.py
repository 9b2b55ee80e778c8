"""Rows for guards are labelled by what a journal says was done, and not by what somebody said."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from plimsoll import Contract, Ending, Harness, Run, local
from plimsoll.cli import main
from plimsoll.contract.model import AgentSection, JournalSection, Tool
from plimsoll.core.calls import Effect
from plimsoll.core.errors import Misuse, PlimsollError
from plimsoll.journal import SQLiteStore
from plimsoll.learning.guard_rows import guard_rows
from plimsoll.learning.journals import JournalRows
from plimsoll.learning.rows import Row, read_file

CONTRACT = Contract(
    agent=AgentSection(name="shop"),
    journal=JournalSection(path="journal.db"),
    tools={
        "find": Tool(effect=Effect.READ),
        "pay": Tool(effect=Effect.WRITE, proves_nothing_happened=("ValueError",)),
        "call_a_human": Tool(effect=Effect.READ),
    },
)


async def agent(run: Run, asked: Any) -> Any:
    """Calls the tool that is asked for, and says what it claims."""
    if "tool" in asked:
        try:
            await run.call(asked["tool"], {})
        except PlimsollError:
            return "I could not."
    return asked.get("says", "Your order is on its way.")


async def find() -> str:
    return "found"


async def pay() -> str:
    return "paid"


async def refused() -> str:
    raise ValueError("the card has expired")


async def call_a_human() -> str:
    return "called"


def journal_of(folder: Path, *asked: dict[str, Any], paying: Any = pay) -> Path:
    path = folder / "journal.db"
    paying.__name__ = "pay"

    async def work() -> None:
        surroundings = local(CONTRACT, path=path, sinks=())
        tools = [find, paying, call_a_human]
        async with Harness(CONTRACT, agent=agent, surroundings=surroundings, tools=tools, models={}) as harness:
            for number, request in enumerate(asked):
                result = await harness.run(request, run_id=f"run-{number}")
                assert result.ending is Ending.COMPLETE, result
            await harness.store.close()

    asyncio.run(work())
    return path


def rows_of(path: Path, kind: str, **chosen: Any) -> JournalRows[Row]:
    async def work() -> JournalRows[Row]:
        store = SQLiteStore.look(path)
        try:
            return await guard_rows(store, kind, **chosen)
        finally:
            await store.close()

    return asyncio.run(work())


def test_a_request_that_was_handed_over_needs_a_human(tmp_path: Path) -> None:
    path = journal_of(tmp_path, {"text": "a", "tool": "call_a_human"}, {"text": "b", "tool": "pay"}, {"text": "c"})
    labels = (Row("a", "needs_human"), Row("b", "other"), Row("c", "other"))
    assert rows_of(path, "needs_human") == JournalRows(labels, ("run-0", "run-1", "run-2"), left_out=0)
    assert [row.label for row in rows_of(path, "needs_human", tools=["pay"]).rows] == ["other", "needs_human", "other"]
    assert rows_of(path, "needs_human", agent="other") == JournalRows((), (), left_out=0)


def test_an_answer_claims_an_action_where_one_was_done(tmp_path: Path) -> None:
    path = journal_of(
        tmp_path,
        {"text": "a", "tool": "pay", "says": "I have paid."},
        {"text": "b", "tool": "find"},
        {"text": "c", "says": 7},
    )
    labels = (Row("I have paid.", "claims_action"), Row("Your order is on its way.", "other"))
    assert rows_of(path, "claims_action") == JournalRows(labels, ("run-0", "run-1"), left_out=1)


def test_what_was_refused_was_not_done(tmp_path: Path) -> None:
    path = journal_of(tmp_path, {"text": "a", "tool": "pay"}, paying=refused)
    assert rows_of(path, "claims_action").rows == (Row("I could not.", "other"),)
    assert rows_of(path, "needs_human", tools=["pay"]).rows == (Row("a", "other"),)


def test_a_journal_knows_of_no_other_guard(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="no rows for 'prompt_injection'"):
        rows_of(journal_of(tmp_path, {"text": "a"}), "prompt_injection")


@pytest.mark.parametrize(
    ("task", "labels"), [("needs-human", {"needs_human": 1, "other": 1}), ("claims-action", {"other": 2})]
)
def test_the_command_writes_what_fit_reads(tmp_path: Path, task: str, labels: dict[str, int]) -> None:
    path = journal_of(tmp_path, {"text": "a", "tool": "call_a_human"}, {"text": "b"})
    out = tmp_path / "rows.jsonl"
    told = CliRunner().invoke(
        main, ["learn", "rows", "--task", task, "--journal", str(path), "--out", str(out), "--json"]
    )
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["labels"] == labels
    assert len(read_file(out)) == 2
