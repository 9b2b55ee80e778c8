"""`plimsoll audit`: whether the journal is as it was written, and files that show it."""

import importlib
import json
import os
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from plimsoll.cli.command import Command, GateCommand
from plimsoll.cli.journal_access import (
    JSON_HELP,
    journal_options,
    journal_section,
    look_store,
    open_store,
    with_store,
)
from plimsoll.cli.printing import clean, console, table
from plimsoll.cli.wording import stamp
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import JournalCorrupt, MissingExtra, Misuse
from plimsoll.journal.audit import AuditReport
from plimsoll.journal.audit import audit as audit_store
from plimsoll.journal.checkpoints import Checkpoint, VerifySignature, checkpoint_after
from plimsoll.journal.evidence import Damage
from plimsoll.journal.export import CheckpointLine, export_lines
from plimsoll.journal.export_audit import audit_export
from plimsoll.journal.keys import SIGNING_ENV, signer
from plimsoll.journal.sqlite import SQLiteStore

__all__ = ["audit"]

_SQLITE = b"SQLite format 3\0"


@click.group()
def audit() -> None:
    """Whether the journal is as it was written, and files that show it.

    \b
    Examples:
      plimsoll audit verify --key audit.key.pub
      plimsoll audit export runs.jsonl ticket-7713
      plimsoll audit verify runs.jsonl --key audit.key.pub
    """


# ------------------------------------------------------------------------------------------------------------- verify


@audit.command(cls=GateCommand)
@journal_options
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--key", "keys", multiple=True, type=click.Path(path_type=Path), help="Public key that signs; repeatable."
)
@click.option("--against", type=click.Path(path_type=Path), help="A checkpoint that was kept elsewhere.")
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def verify(  # noqa: PLR0917 -- click hands every option over
    contract_path: Path,
    journal: Path | None,
    file: Path | None,
    keys: Sequence[Path],
    against: Path | None,
    as_json: bool,
) -> None:
    """Verifies the journal, or an exported FILE, and names what is not as it was written.

    The chains show accidental damage. That nobody rewrote them is shown by the signed
    checkpoints, with --key; that nobody set the whole file back, by --against, with a
    checkpoint that `plimsoll audit checkpoint --out` wrote. The file is opened for
    reading alone; of one in an earlier format a copy is read. Nothing is changed. Exits
    with 0 when all is well, with 1 when something is wrong, with 2 when it could not
    be tried.

    \b
    Examples:
      plimsoll audit verify
      plimsoll audit verify --key audit.key.pub --against last-checkpoint.json
      plimsoll audit verify runs.jsonl --key audit.key.pub
    """
    signed_by = {_public_key(each) for each in keys}
    check = _signatures(needed=bool(keys))
    if file is not None and not _is_database(file):
        if against is not None:
            raise click.UsageError("--against goes with a journal, not with an export")
        report = _verify_export(file, check, signed_by)
    else:
        known = None if against is None else _checkpoint_in(against)
        try:
            store = look_store(contract_path, file or journal)
            report = with_store(store, lambda opened: audit_store(opened, verify=check, keys=signed_by, against=known))
        except JournalCorrupt as error:  # so much that it cannot be gone through
            report = AuditReport(damages=[Damage(run_id=error.run_id, seq=error.seq, what=error.what)])
    _show(report, authentic=bool(keys), checked=check is not None, as_json=as_json)
    if report.damages:
        raise click.exceptions.Exit(1)


def _is_database(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise Misuse(f"{file} cannot be read: {error.strerror}") from error


def _verify_export(file: Path, check: VerifySignature | None, keys: Collection[bytes]) -> AuditReport:
    with file.open("rb") as lines:
        return audit_export(lines, verify=check, keys=keys)


def _signatures(*, needed: bool) -> VerifySignature | None:
    """What checks signatures; None where the extra is not installed and nobody asked for it."""
    try:
        leaf: Any = importlib.import_module("plimsoll.journal.signing")
    except MissingExtra:
        if needed:
            raise
        return None
    check: VerifySignature = leaf.verify
    return check


def _public_key(file: Path) -> bytes:
    leaf: Any = importlib.import_module("plimsoll.journal.signing")
    try:
        key: bytes = leaf.public_key(file.read_text(encoding="utf-8"), source=str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"{file} cannot be read: {error}") from error
    return key


def _checkpoint_in(file: Path) -> Checkpoint:
    try:
        return msgspec.json.decode(file.read_bytes(), type=CheckpointLine).checkpoint
    except OSError as error:
        raise Misuse(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise Misuse(f"{file} holds no checkpoint, as `plimsoll audit checkpoint --out` writes it: {error}") from error


def _show(report: AuditReport, *, authentic: bool, checked: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"ok": not report.damages, **msgspec.to_builtins(report)}))
        return
    for damage in report.damages:
        place = "the journal" if damage.run_id == "*" else clean(damage.run_id)
        where = f"{place}, event {damage.seq}" if damage.seq else place
        click.echo(f"{where}: {clean(damage.what)}")
    said = "Everything is as it was written" if not report.damages else "Not everything is as it was written"
    erased = f", {report.erased} of them erased" if report.erased else ""
    click.echo(f"{said}: {report.runs} runs{erased}, {report.events} events, {report.checkpoints} checkpoints.")
    if report.checkpoints:
        click.echo(f"Checkpoints cover {report.covered} of the events.")
    if not checked:
        click.echo("Signatures were not checked: pip install 'plimsoll-ai[encryption]'")
    elif not authentic:
        click.echo("Who signed was not checked: give --key. Who can rewrite the whole file can sign it anew.")
    if report.damages:
        click.echo("Keep the file as it is; docs/operations.md says what to do.")


# --------------------------------------------------------------------------------------------------------- checkpoint


@audit.command(cls=Command)
@journal_options
@click.option("--out", type=click.Path(path_type=Path), help="Writes the latest checkpoint here, to be kept elsewhere.")
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def checkpoint(contract_path: Path, journal: Path | None, out: Path | None, as_json: bool) -> None:
    """Makes a signed checkpoint over everything that the journal holds now.

    Running processes make them by themselves (checkpoint_events and checkpoint_s in
    the contract's [journal]). Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll audit checkpoint --out last-checkpoint.json
    """

    async def work(store: SQLiteStore) -> tuple[Checkpoint | None, bool]:
        made = await _checkpointed(store, contract_path, journal)
        return made or ([None, *await store.checkpoints()][-1]), made is not None

    latest, is_new = with_store(open_store(contract_path, journal), work)
    if latest is None:
        raise Misuse("the journal is empty: there is nothing to cover")
    if out is not None:
        line = CheckpointLine(body=msgspec.Raw(latest.body), signature=latest.signature)
        try:
            out.write_bytes(msgspec.json.encode(line) + b"\n")
        except OSError as error:
            raise Misuse(f"{out} cannot be written: {error.strerror}") from error
    if as_json:
        click.echo(json.dumps({"number": latest.number, "at": latest.at, "runs": latest.runs, "new": is_new}))
        return
    what = f"covers {latest.runs} runs that went on" if is_new else "covers everything; nothing is new"
    click.echo(f"Checkpoint {latest.number} of {stamp(latest.at)} {what}.")


async def _checkpointed(store: SQLiteStore, contract_path: Path, journal: Path | None) -> Checkpoint | None:
    section = journal_section(contract_path, journal)
    signed_by = signer(section, directory=contract_path.parent, environ=os.environ)
    if signed_by is None:
        raise Misuse(
            f"there is no key to sign with: set {SIGNING_ENV}, or signing_key_file in the contract's [journal];"
            " `plimsoll keys make --signing` makes one"
        )
    return await store.checkpoint(checkpoint_after(signed_by, at=SystemClock().now()))


# ------------------------------------------------------------------------------------------------------------- export


@audit.command(cls=Command)
@journal_options
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("run_ids", metavar="[RUN]...", nargs=-1)
@click.option("--decrypt", is_flag=True, help="Hands over the keys of encrypted runs, so that the file can be read.")
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def export(  # noqa: PLR0917 -- click hands every option over
    contract_path: Path, journal: Path | None, file: Path, run_ids: Sequence[str], decrypt: bool, as_json: bool
) -> None:
    """Writes runs into FILE, which verifies by itself: all runs, or those named.

    It holds the events, every checkpoint, and for each run the proof that one covers
    it. What is encrypted stays so, unless --decrypt. With a signing key at hand a
    checkpoint is made before; else nothing in the journal is changed. Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll audit export all.jsonl
      plimsoll audit export runs.jsonl ticket-7713 ticket-7714 --decrypt
    """

    section = journal_section(contract_path, journal)
    signs = signer(section, directory=contract_path.parent, environ=os.environ) is not None

    async def work(store: SQLiteStore) -> tuple[int, int]:
        if signs:
            await _checkpointed(store, contract_path, journal)
        ids = list(dict.fromkeys(run_ids)) or await store.run_ids()
        return len(ids), await _write(file, export_lines(store, ids, at=SystemClock().now(), decrypt=decrypt))

    runs, lines = with_store((open_store if signs else look_store)(contract_path, journal), work)
    if as_json:
        click.echo(json.dumps({"file": str(file), "runs": runs, "lines": lines}))
        return
    click.echo(f"{file} holds {runs} runs. Verify it by: plimsoll audit verify {file} --key PUBLIC_KEY")


async def _write(file: Path, lines: AsyncIterator[bytes]) -> int:
    """Writes the lines into a new file; where that fails, there is none."""
    try:
        out = file.open("xb")
    except OSError as error:
        raise Misuse(f"{file} cannot be written: {error.strerror}") from error
    count = 0
    try:
        with out:
            async for line in lines:
                out.write(line)
                count += 1
    except BaseException:
        file.unlink()  # noqa: ASYNC240 -- nothing else is under way
        raise
    return count


# --------------------------------------------------------------------------------------------------------------- log


@audit.command("log", cls=Command)
@journal_options
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def show_log(contract_path: Path, journal: Path | None, as_json: bool) -> None:
    """Shows who erased runs, threw kill switches and changed keys, when and why.

    Exits with 0, with 1 on an error.

    \b
    Examples:
      plimsoll audit log
      plimsoll audit log --json | jq '.acts[] | select(.act == "erased")'
    """
    acts = with_store(look_store(contract_path, journal), lambda store: store.acts())
    if as_json:
        click.echo(json.dumps({"acts": msgspec.to_builtins(acts)}))
        return
    if not acts:
        click.echo("Nothing of the kind was done.")
        return
    rows = [(stamp(act.at), act.act.replace("_", " "), act.subject, act.by, act.reason) for act in acts]
    table(console(), ("when", "what", "on", "by", "why"), rows, whole=("when", "what", "on"))
