"""`plimsoll learn rows`: what models learn from, out of a journal."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import click
import msgspec

from plimsoll.cli.command import Command
from plimsoll.cli.journal_access import journal_file, journal_options, look_store, with_store
from plimsoll.cli.learn.common import json_option
from plimsoll.cli.printing import console, line, table
from plimsoll.core.errors import Misuse
from plimsoll.journal.store import Store
from plimsoll.learning.journals import JournalRows, journal_identity, journal_rows
from plimsoll.learning.lineage import JournalLineage, lineage_file, write_lineage, write_private

__all__ = ["rows"]


@click.command(cls=Command)
@journal_options
@click.option("--agent", help="Runs of this agent alone.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .jsonl file to make.")
@json_option
def rows(contract_path: Path, journal: Path | None, agent: str | None, out: Path, as_json: bool) -> None:
    """Writes rows from a journal: what each completed run was asked, and its first tool.

    The label of what was answered without a tool is `answer`. The file holds what
    people wrote, readable for you alone: it goes when their data goes. Beside it,
    `.lineage.json` names the runs that it comes from; a model that is fitted on it
    carries that. The journal is only read. Exits with 0 when it is done, with 1 on an
    error.

    \b
    Examples:
      plimsoll learn rows --out requests.jsonl
      plimsoll learn fit --data requests.jsonl --out router
    """
    if out.suffix != ".jsonl":
        raise Misuse(f"{out} does not end in .jsonl, and would not be read again: name it so")
    if out.exists():
        raise Misuse(f"{out} is there already: name another file")

    async def read(store: Store) -> tuple[JournalRows, str]:
        return await journal_rows(store, agent=agent), await journal_identity(store)

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
    write_private(out, content)
    counts = Counter(row.label for row in found.rows)
    if as_json:
        told = {"out": str(out), "rows": counts.total(), "left_out": found.left_out, "labels": counts}
        click.echo(json.dumps({**told, "lineage": str(lineage_file(out))}))
        return
    table(console(), ("first tool", "rows"), [(label, f"{count:,}") for label, count in counts.most_common()])
    line(console(), f"{out}: {counts.total():,} rows. {found.left_out:,} completed runs had no text to learn from.")
