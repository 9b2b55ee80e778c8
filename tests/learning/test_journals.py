"""Rows from a journal say what runs were asked and did, in whatever form an adapter records a request."""

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
from plimsoll.journal import SQLiteStore
from plimsoll.learning.journals import ANSWER, JournalRows, journal_rows
from plimsoll.learning.rows import MAX_CHARACTERS, Row, read_file

CONTRACT = Contract(
    agent=AgentSection(name="shop"),
    journal=JournalSection(path="journal.db"),
    tools={"find": Tool(effect=Effect.READ), "pay": Tool(effect=Effect.IDEMPOTENT)},
)


async def agent(run: Run, asked: Any) -> str:
    """Looks and pays where it is to pay, looks alone where it is to look."""
    words = json.dumps(asked)
    if "fail" in words:
        raise ValueError("no")
    if "find" in words or "pay" in words:
        await run.call("find", {})
    if "pay" in words:
        await run.call("pay", {})
    if "refund first" in words:
        await run.call("pay", {"again": True})
    return "done"


async def find() -> str:
    return "found"


async def pay(again: bool = False) -> str:
    return "paid"


def journal_of(folder: Path, *asked: Any, first: int = 0) -> Path:
    """A journal of one run for each request, numbered from `first` on: it may be there already."""
    path = folder / "journal.db"

    async def work() -> None:
        async with Harness(
            CONTRACT, agent=agent, surroundings=local(CONTRACT, path=path, sinks=()), tools=[find, pay], models={}
        ) as harness:
            for number, request in enumerate(asked, first):
                result = await harness.run(request, run_id=f"run-{number}")
                assert result.ending is (Ending.FAILED if "fail" in json.dumps(request) else Ending.COMPLETE), result
            await harness.store.close()

    asyncio.run(work())
    return path


def rows_of(path: Path, **chosen: Any) -> JournalRows:
    async def work() -> JournalRows:
        store = SQLiteStore.look(path)
        try:
            return await journal_rows(store, **chosen)
        finally:
            await store.close()

    return asyncio.run(work())


def test_the_label_is_the_first_tool_of_a_run_that_completed(tmp_path: Path) -> None:
    path = journal_of(tmp_path, "hello", "find it", "find and pay", "please fail")
    assert rows_of(path) == JournalRows(
        (Row("hello", ANSWER), Row("find it", "find"), Row("find and pay", "find")),
        ("run-0", "run-1", "run-2"),
        left_out=0,
    )


def test_a_write_is_known_by_its_intent_and_a_read_by_its_outcome(tmp_path: Path) -> None:
    assert rows_of(journal_of(tmp_path, "refund first")).rows == (Row("refund first", "pay"),)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"prompt": "find it", "message_history": [{"kind": "request"}]}, "find it"),
        ({"prompt": ["find it", {"kind": "image-url", "url": "x"}]}, "find it"),
        ({"messages": [{"role": "user", "content": "first"}, {"role": "assistant", "content": "yes"}]}, "first"),
        ([{"type": "human", "content": "old"}, {"type": "human", "content": "find it"}], "find it"),
        ([{"role": "user", "content": [{"type": "input_text", "text": "find it"}]}], "find it"),
    ],
)
def test_a_request_is_read_in_every_form_that_an_adapter_records(tmp_path: Path, asked: Any, text: str) -> None:
    assert [row.text for row in rows_of(journal_of(tmp_path, asked)).rows] == [text]


def test_what_has_no_text_is_counted(tmp_path: Path) -> None:
    path = journal_of(tmp_path, None, 7, " ", "[erased]", {"order": "W1"}, "x" * (MAX_CHARACTERS + 1), "good")
    assert rows_of(path) == JournalRows((Row("good", ANSWER),), ("run-6",), left_out=6)


def test_runs_of_another_agent_are_not_these(tmp_path: Path) -> None:
    path = journal_of(tmp_path, "hello")
    assert len(rows_of(path, agent="shop").rows) == 1
    assert rows_of(path, agent="other") == JournalRows((), (), left_out=0)


def test_the_command_writes_what_fit_reads_for_one_person_alone(tmp_path: Path) -> None:
    path, out = journal_of(tmp_path, "hello", "find it", "find me", 7), tmp_path / "rows.jsonl"
    command = ["learn", "rows", "--journal", str(path), "--out", str(out)]
    told = CliRunner().invoke(main, [*command, "--json"])
    assert json.loads(told.stdout) == {
        "out": str(out),
        "rows": 3,
        "left_out": 1,
        "labels": {ANSWER: 1, "find": 2},
        "lineage": f"{out}.lineage.json",
    }
    assert [row.label for row in read_file(out)] == [ANSWER, "find", "find"]
    assert out.stat().st_mode & 0o777 == 0o600
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 1 and "is there already" in again.stderr


@pytest.mark.parametrize(
    ("out", "said"), [("rows.csv", "does not end in .jsonl"), ("no/where/rows.jsonl", "cannot be written")]
)
def test_a_file_that_cannot_be(tmp_path: Path, out: str, said: str) -> None:
    path = journal_of(tmp_path, "hello")
    ended = CliRunner().invoke(main, ["learn", "rows", "--journal", str(path), "--out", str(tmp_path / out)])
    assert ended.exit_code == 1 and said in ended.stderr


def test_a_journal_without_rows(tmp_path: Path) -> None:
    path = journal_of(tmp_path, "please fail")
    ended = CliRunner().invoke(main, ["learn", "rows", "--journal", str(path), "--out", str(tmp_path / "rows.jsonl")])
    assert ended.exit_code == 1 and "there are no rows" in ended.stderr
    assert not (tmp_path / "rows.jsonl").exists()
