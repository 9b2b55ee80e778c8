"""Conversations are read from a journal as they happened, and from a file with every fault named."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from plimsoll import Contract, Ending, Harness, Run, local
from plimsoll.cli import main
from plimsoll.contract.model import AgentSection, JournalSection, Tool
from plimsoll.core.calls import Effect
from plimsoll.core.errors import PlimsollError
from plimsoll.journal import SQLiteStore
from plimsoll.learning.conversations import (
    MAX_BYTES,
    Conversation,
    Made,
    digest_of,
    journal_conversations,
    read_conversations,
)
from plimsoll.learning.errors import DataError
from plimsoll.learning.journals import JournalRows

CONTRACT = Contract(
    agent=AgentSection(name="shop"),
    journal=JournalSection(path="journal.db"),
    tools={
        "find": Tool(effect=Effect.READ),
        "pay": Tool(effect=Effect.WRITE, proves_nothing_happened=("ValueError",)),
    },
)


async def agent(run: Run, asked: Any) -> str:
    """Looks an order up, and pays; what is refused is part of the conversation."""
    if asked == "fail":
        raise ValueError("no")
    if asked != "hello":
        await run.call("find", {"order": asked})
        try:
            await run.call("pay", {"order": asked, "usd": 12})
        except PlimsollError:
            return "refused"
    return "done"


async def find(order: str) -> Any:
    return json.dumps({"order": order, "status": "sent"})


async def pay(order: str, usd: int) -> Any:
    if order == "W2":
        raise ValueError("the card has expired")
    return {"paid": usd}


def journal_of(folder: Path, *asked: Any) -> Path:
    path = folder / "journal.db"

    async def work() -> None:
        surroundings = local(CONTRACT, path=path, sinks=())
        async with Harness(CONTRACT, agent=agent, surroundings=surroundings, tools=[find, pay], models={}) as harness:
            for number, request in enumerate(asked):
                result = await harness.run(request, run_id=f"run-{number}")
                assert result.ending is (Ending.FAILED if request == "fail" else Ending.COMPLETE), result
            await harness.store.close()

    asyncio.run(work())
    return path


def conversations_of(path: Path, **chosen: Any) -> JournalRows[Conversation]:
    async def work() -> JournalRows[Conversation]:
        store = SQLiteStore.look(path)
        try:
            return await journal_conversations(store, **chosen)
        finally:
            await store.close()

    return asyncio.run(work())


FOUND = Made(tool="find", arguments={"order": "W1"}, result={"order": "W1", "status": "sent"}, reads=True)
PAID = Made(tool="pay", arguments={"order": "W1", "usd": 12}, result={"paid": 12})


def test_a_conversation_is_what_was_asked_called_and_answered(tmp_path: Path) -> None:
    (conversation,) = conversations_of(journal_of(tmp_path, "W1")).rows
    assert conversation == Conversation(request="W1", calls=(FOUND, PAID), answer="done")
    assert [(len(each.before), each.next) for each in conversation.decisions] == [(0, FOUND), (1, PAID), (2, None)]


def test_what_was_refused_is_told_with_its_reason(tmp_path: Path) -> None:
    (conversation,) = conversations_of(journal_of(tmp_path, "W2")).rows
    assert not conversation.calls[1].ok and "the card has expired" in conversation.calls[1].result
    assert conversation.answer == "refused"


def test_what_did_not_complete_has_no_text_or_is_another_agents_is_left_out(tmp_path: Path) -> None:
    path = journal_of(tmp_path, "hello", "fail", 7)
    assert conversations_of(path) == JournalRows(
        (Conversation(request="hello", answer="done"),), ("run-0",), left_out=1
    )
    assert conversations_of(path, agent="other") == JournalRows((), (), left_out=0)


def test_the_command_writes_what_can_be_read_again(tmp_path: Path) -> None:
    path, out = journal_of(tmp_path, "W1", "hello"), tmp_path / "rows.jsonl"
    command = ["learn", "rows", "--task", "next-call", "--journal", str(path), "--out", str(out)]
    told = CliRunner().invoke(main, [*command, "--json"])
    assert told.exit_code == 0, told.output
    said = json.loads(told.stdout)
    assert (said["rows"], said["labels"]) == (2, {"find": 1, "pay": 1, "answer": 2})
    read, source = read_conversations(out)
    assert tuple(read) == conversations_of(path).rows
    assert source.lineage is not None and source.lineage.runs == ("run-0", "run-1") and not source.altered
    assert out.stat().st_mode & 0o777 == 0o600
    wrong = CliRunner().invoke(main, [*command[:-1], str(tmp_path / "other.jsonl"), "--tool", "pay"])
    assert wrong.exit_code == 1 and "--tool is for --task needs-human" in wrong.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it has no conversations"),
        (b'{"request": "a"}\n{"calls": []}', r":2: this is no .*`request`"),
        (b'{"request": "a", "calls": [{"tool": 3}]}', r":1: .*calls"),
        (b'{"request": " "}', ":1: its request is empty"),
        (b'\xff{"request": "a"}', ":1: this is no"),
        (b'{"request": "' + b"a" * 20_001 + b'"}', "20,000 are the most"),
        (b'{"request": "' + b"a" * MAX_BYTES + b'"}', "1,000,000 are the most"),
        (b'{"request": "a", "answer": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ":1: this is no"),
    ],
)
def test_what_is_no_conversation_is_told_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_conversations(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it cannot be read"):
        read_conversations(tmp_path / "none.jsonl")


def test_the_digest_is_of_every_conversation_in_its_place() -> None:
    one, other = Conversation(request="a"), Conversation(request="b", calls=(FOUND,))
    assert digest_of([one, other]) == digest_of([msgspec.convert(msgspec.to_builtins(one), Conversation), other])
    assert len({digest_of([one, other]), digest_of([other, one]), digest_of([one])}) == 3
