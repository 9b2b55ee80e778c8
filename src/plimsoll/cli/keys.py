"""`plimsoll keys`: keys for an encrypted journal, for its checkpoints and for alerts, and another master key."""

import importlib
import os
from pathlib import Path
from typing import Any

import click

from plimsoll.cli.command import Command
from plimsoll.cli.journal_access import by_option, journal_options, journal_section, open_store, with_store
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.journal.keys import MASTER_ENV, SIGNING_ENV, master_key_text, master_keys, new_master_key, ring_of
from plimsoll.runtime.alerting import WEBHOOK_ENV, new_webhook_key

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """Keys for an encrypted journal, its checkpoints and alerts, and another master key.

    \b
    Examples:
      plimsoll keys make journal.key             # encrypts
      plimsoll keys make audit.key --signing     # signs; writes audit.key.pub, too
      plimsoll keys make alerts.key --webhook    # signs alerts
      plimsoll keys rotate new.key               # puts every run under a new key
    """


@keys.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--signing", is_flag=True, help="A key that signs checkpoints, and its public key in FILE.pub.")
@click.option("--webhook", is_flag=True, help="A key that signs alerts; whoever gets them needs it, too.")
def make(file: Path, signing: bool, webhook: bool) -> None:
    """Makes a key in FILE, which must not be there yet, readable for you alone.

    A master key encrypts; a signing key vouches for checkpoints, a webhook key
    for alerts. Whoever has the first can read the journal, and without it nobody
    can. Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll keys make journal.key
      plimsoll keys make audit.key --signing
      plimsoll keys make alerts.key --webhook
    """
    if signing and webhook:
        raise Misuse("--signing or --webhook: one key does not do both")
    if webhook:
        _write(file, f"{new_webhook_key()}\n")
        click.echo(f"{file} signs alerts. In the contract: [alerts] webhook_key_file = …,")
        click.echo(f"or its text in {WEBHOOK_ENV}. Give it to whoever gets the alerts: it verifies, too.")
        return
    if not signing:
        _write(file, f"{new_master_key()}\n")
        click.echo(f"{file} holds a new master key. In the contract: [journal] encrypt = true, key_file = …,")
        click.echo(f"or its text in {MASTER_ENV}. Keep a copy apart: without it nobody can read what it encrypts.")
        return
    leaf: Any = importlib.import_module("plimsoll.journal.signing")
    private, public = leaf.new_signing_key()
    _write(file, private)
    _write(file.with_name(file.name + ".pub"), public, mode=0o644)
    click.echo(f"{file} signs, {file}.pub verifies. In the contract: [journal] signing_key_file = …,")
    click.echo(f"or its text in {SIGNING_ENV}. Give the public key to whoever audits.")


def _write(file: Path, text: str, *, mode: int = 0o600) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise Misuse(f"{file} is there already, and a key must not be lost; name another file") from None
    except OSError as error:
        raise Misuse(f"{file} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as out:
        out.write(text)


@keys.command(cls=Command, if_interrupted="Some runs are under the new key: keep both, and say it again.")
@journal_options
@click.argument("file", type=click.Path(path_type=Path))
@by_option()
def rotate(contract_path: Path, journal: Path | None, file: Path, by: str) -> None:
    """Puts the key of every run under the new master key in FILE.

    The runs themselves are not touched. The master key used so far must be at hand,
    where the contract or the environment names it. Give running processes both keys
    before (the new one first), and take the old one away after. It may be repeated.

    Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll keys make new.key
      plimsoll keys rotate new.key
    """
    section = journal_section(contract_path, journal)
    old = master_key_text(section, directory=contract_path.parent, environ=os.environ)
    if old is None:
        raise Misuse(f"the master key used so far is not here: set {MASTER_ENV}, or key_file in the contract")
    try:
        new = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"{file} cannot be read: {error}") from error
    master_keys(new, source=str(file))
    ring = ring_of(f"{new}\n{old[0]}", source=f"{file} and {old[1]}", encrypt=False)
    store = open_store(contract_path, journal, keys=ring)
    changed = with_store(store, lambda opened: opened.rewrap(by=by, at=SystemClock().now()))
    click.echo(f"{changed} run keys are under the new master key {ring.first} now.")
    click.echo(f"Put {file} in the place of the old one. Backups made before are under the old one still.")
