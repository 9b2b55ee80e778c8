"""`plimsoll learn rows`: what models learn from, out of a journal."""

import json
import os
from collections import Counter
from pathlib import Path

import click
import msgspec

from plimsoll.cli.command import Command
from plimsoll.cli.journal_access import journal_options, look_store, with_store
from plimsoll.cli.learn.common import json_option
from plimsoll.cli.printing import console, line, table
from plimsoll.core.errors import Misuse
from plimsoll.learning.journals import journal_rows

__all__ = ["rows"]


@click.command(cls=Command)
@journal_options
@click.option("--agent", help="Runs of this agent alone.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .jsonl file to make.")
@json_option
def rows(contract_path: Path, journal: Path | None, agent: str | None, out: Path, as_json: bool) -> None:
    """Writes rows from a journal: what each completed run was asked, and its first tool.

    The label of what was answered without a tool is `answer`. The file holds what
    people wrote, readable for you alone: it goes when their data goes. The journal is
    only read. Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll learn rows --out requests.jsonl
      plimsoll learn fit --data requests.jsonl --out router
    """
    if out.suffix != ".jsonl":
        raise Misuse(f"{out} does not end in .jsonl, and would not be read again: name it so")
    found = with_store(look_store(contract_path, journal), lambda store: journal_rows(store, agent=agent))
    if not found.rows:
        raise Misuse("no run has completed with a request that can be read: there are no rows")
    _write_private(out, b"".join(msgspec.json.encode(row) + b"\n" for row in found.rows))
    counts = Counter(row.label for row in found.rows)
    if as_json:
        click.echo(json.dumps({"out": str(out), "rows": counts.total(), "left_out": found.left_out, "labels": counts}))
        return
    table(console(), ("first tool", "rows"), [(label, f"{count:,}") for label, count in counts.most_common()])
    line(console(), f"{out}: {counts.total():,} rows. {found.left_out:,} completed runs had no text to learn from.")


def _write_private(file: Path, content: bytes) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Misuse(f"{file} is there already: name another file") from None
    except OSError as error:
        raise Misuse(f"{file} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
