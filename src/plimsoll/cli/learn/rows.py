"""`plimsoll learn rows`: what models learn from, out of a journal."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from plimsoll.cli.command import Command
from plimsoll.cli.journal_access import journal_file, journal_options, look_store, with_store
from plimsoll.cli.learn.common import json_option
from plimsoll.cli.printing import console, line, table
from plimsoll.core.errors import Misuse
from plimsoll.journal.store import Store
from plimsoll.learning.conversations import Conversation, journal_conversations
from plimsoll.learning.guard_rows import guard_rows
from plimsoll.learning.journals import ANSWER, JournalRows, journal_identity, journal_rows
from plimsoll.learning.lineage import JournalLineage, lineage_file, write_lineage, write_private
from plimsoll.learning.rows import Row

__all__ = ["rows", "written"]


_TASKS = {
    "first-tool": "first tool",
    "next-call": "next",
    "needs-human": "request",
    "claims-action": "answer",
}
"""What there is to learn, and what its rows are counted by."""


@click.command(cls=Command)
@journal_options
@click.option("--agent", help="Runs of this agent alone.")
@click.option(
    "--task",
    type=click.Choice(list(_TASKS)),
    default="first-tool",
    show_default=True,
    help="What is to be learned: a router, a policy, or a guard.",
)
@click.option("--tool", "tools", multiple=True, help="For needs-human: a tool that hands over.  [default: by name]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .jsonl file to make.")
@json_option
def rows(
    *,
    contract_path: Path,
    journal: Path | None,
    agent: str | None,
    task: str,
    tools: tuple[str, ...],
    out: Path,
    as_json: bool,
) -> None:
    """Writes rows from a journal, from runs that completed.

    \b
    first-tool     what each was asked, and its first tool; `answer` where it had none
    next-call      whole conversations: each call from what came before it
    needs-human    what each was asked: handed to a person, or not
    claims-action  what each answered: in a run that changed something, or not

    The file holds what people wrote, readable for you alone: it goes when their data
    goes. Beside it, `.lineage.json` names the runs that it comes from; a model that is
    fitted on it carries that. The journal is only read. Exits with 0 when it is done,
    with 1 on an error.

    \b
    Examples:
      plimsoll learn rows --out requests.jsonl
      plimsoll learn rows --task next-call --out conversations.jsonl
    """
    if out.suffix != ".jsonl":
        raise Misuse(f"{out} does not end in .jsonl, and would not be read again: name it so")
    if tools and task != "needs-human":
        raise Misuse(f"--tool is for --task needs-human, and not for {task}")
    found = written(contract_path, journal, task=task, agent=agent, tools=tools, out=out)
    counts = Counter(label for row in found.rows for label in _labels(row))
    if as_json:
        told = {"out": str(out), "rows": len(found.rows), "left_out": found.left_out, "labels": counts}
        click.echo(json.dumps({**told, "lineage": str(lineage_file(out))}))
        return
    table(console(), (_TASKS[task], "rows"), [(label, f"{count:,}") for label, count in counts.most_common()])
    line(console(), f"{out}: {len(found.rows):,} rows. {found.left_out:,} completed runs had no text to learn from.")


def written(
    contract_path: Path,
    journal: Path | None,
    *,
    agent: str | None,
    out: Path,
    task: str = "first-tool",
    tools: Sequence[str] = (),
) -> JournalRows[Any]:
    """Writes the journal's rows to `out`, whole or not at all, and their lineage beside it. Raises `Misuse`."""
    if out.exists():
        raise Misuse(f"{out} is there already: name another file")

    async def read(store: Store) -> tuple[JournalRows[Any], str]:
        return await _found(store, task, agent, tools), await journal_identity(store)

    found, identity = with_store(look_store(contract_path, journal), read)
    if not found.rows:
        raise Misuse("no run has completed with a request that can be read: there are no rows")
    content = b"".join(msgspec.json.encode(row) + b"\n" for row in found.rows)
    lineage = JournalLineage(
        journal=identity,
        name=journal_file(contract_path, journal).name,
        agent=agent,
        runs=tuple(dict.fromkeys(found.runs)),
        rows=len(found.rows),
        left_out=found.left_out,
        rows_digest=hashlib.sha256(content).hexdigest(),
    )
    write_lineage(out, lineage)
    scratch = out.with_name(f"{out.name}.new")
    scratch.unlink(missing_ok=True)
    write_private(scratch, content)
    scratch.replace(out)
    return found


async def _found(store: Store, task: str, agent: str | None, tools: Sequence[str]) -> JournalRows[Any]:
    match task:
        case "first-tool":
            return await journal_rows(store, agent=agent)
        case "next-call":
            return await journal_conversations(store, agent=agent)
        case guard:
            return await guard_rows(store, guard.replace("-", "_"), agent=agent, tools=tools)


def _labels(row: Row | Conversation) -> Iterator[str]:
    """What is counted: a row's label; what was done next, at each moment of a conversation."""
    if isinstance(row, Row):
        yield row.label
    else:
        yield from (ANSWER if decision.next is None else decision.next.tool for decision in row.decisions)
