"""`plimsoll erase`: destroys what a run's journal says of people, and leaves a chain that still verifies."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from plimsoll.cli.command import Command
from plimsoll.cli.journal_access import JSON_HELP, by_option, journal_options, open_store, with_store
from plimsoll.cli.printing import clean, typed
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.core.ids import RandomIds
from plimsoll.journal.erasing import check_over, erase_run, parts_of
from plimsoll.journal.evidence import Erased
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.journal.store import RunState
from plimsoll.runtime.lineage import link_of

__all__ = ["erase"]


@click.command(cls=Command, if_interrupted="Runs that were erased already stay so; say it again for the others.")
@journal_options
@click.argument("run_id", metavar="RUN")
@click.option("--reason", required=True, help="Why, for the record: such as the number of the request.")
@by_option()
@click.option("--force", is_flag=True, help="Also a run that has not ended: it ends where it stands.")
@click.option("--only", is_flag=True, help="This run alone, and nothing that belongs to it.")
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def erase(  # noqa: PLR0917 -- click hands every option over
    contract_path: Path, journal: Path | None, run_id: str, reason: str, by: str, force: bool, only: bool, as_json: bool
) -> None:
    """Erases what a run's journal says of people, for ever: what it was asked, what it
    sent, was told and answered.

    Only runs that were recorded with `encrypt = true` can be erased: the key of the
    run is destroyed, and the chain still verifies. Types, times, effects and endings
    stay. With the run go its children, the turns of a session of that name, the runs
    of its chain (those before it, too), and those that took back what it did; where one
    of them has not ended, none is erased. `--only` erases that run alone. `plimsoll
    audit log` shows who erased what, and why.

    What a run told its parent, or a turn the next ones, stands in their journals: the
    command names them. Backups made before still hold the key: see docs/operations.md. Exits with 0 when
    it is done (also when it was done before), with 1 on an error.

    \b
    Examples:
      plimsoll erase ticket-7713 --reason "request 4711 of the customer"
      plimsoll erase ticket-7713 --reason "request 4711" --force
      plimsoll erase ticket-7713/1:billing --only --reason "request 4711"
    """

    first = run_id if only else link_of(run_id)[0]

    async def work(store: SQLiteStore) -> _Done:
        clock, owner, done = SystemClock(), RandomIds().new("eraser"), _Done()
        while parts := [part for part in await _parts(store, first, only=only) if part not in done.parts]:
            if not force:
                await check_over(store, parts)
            for part in parts:  # and once more for what they may have begun meanwhile
                try:
                    erased = await erase_run(store, part, by=by, reason=reason, clock=clock, owner=owner, force=force)
                except Misuse as error:
                    done.parts[part] = str(error)
                else:
                    done.parts[part] = erased
        done.elsewhere = await _elsewhere(store, first)
        done.waiting = await _waiting(store, first)
        return done

    done = with_store(open_store(contract_path, journal), work)
    _show(done, as_json=as_json)


@dataclass(slots=True)
class _Done:
    """What came of each part, or why it could not be erased; who else was told of it, and which of these goes on."""

    parts: dict[str, Erased | str] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    @property
    def erased(self) -> list[dict[str, Any]]:
        """The parts that are erased, as JSON."""
        return [
            {"run_id": part, "wiped": each.wiped, "by": each.act.by, "at": each.act.at, "reason": each.act.reason}
            for part, each in self.parts.items()
            if isinstance(each, Erased)
        ]


async def _parts(store: SQLiteStore, run_id: str, *, only: bool) -> list[str]:
    return [run_id] if only else await parts_of(store, run_id)


async def _elsewhere(store: SQLiteStore, run_id: str) -> list[str]:
    """The ids of what was told of this run, and is not erased: its parent, and the session that it is a turn of."""
    head = await store.head(run_id)
    if head is None:
        return []
    parent = await store.head(head.parent) if head.parent else None
    turns = await store.heads(session=head.session) if head.session else []
    found = [head.parent] if parent is not None and parent.erased_at is None else []
    return [*found, head.session] if any(turn.erased_at is None for turn in turns) else found


async def _waiting(store: SQLiteStore, run_id: str) -> list[str]:
    """The ids of the later turns that were told of this one, and have not ended."""
    head = await store.head(run_id)
    if head is None or not head.session:
        return []
    return [turn.run_id for turn in await store.heads(session=head.session) if turn.state is not RunState.ENDED]


def _show(done: _Done, *, as_json: bool) -> None:
    refused = [each for each in done.parts.values() if isinstance(each, str)]
    if refused and len(refused) == len(done.parts):
        raise Misuse(refused[0])
    erased = done.erased
    if as_json:
        told = {"erased": erased, "elsewhere": done.elsewhere, "waiting": done.waiting, "refused": refused}
        click.echo(json.dumps(told))
    else:
        for each in erased:
            click.echo(f"Run {clean(each['run_id'])} is erased, by {clean(each['by'])}: {clean(each['reason'])}")
        for place in done.elsewhere:
            click.echo(f"What it told {clean(place)} stands there. To erase that: plimsoll erase {typed(place)}")
        for run_id in done.waiting:
            what = "has not ended, and is told [erased] from now on: if it made use of it, it cannot go on"
            click.echo(f"{clean(run_id)} {what}")
    if refused and not as_json:
        raise Misuse(f"{len(refused)} of {len(done.parts)} runs could not be erased: {'; '.join(refused)}")
    if refused:
        raise click.exceptions.Exit(1)
    if as_json:
        return
    if not all(each["wiped"] for each in erased):
        raise Misuse(
            "the keys are out of the journal, and may still stand in its write-ahead log, because another process is"
            " reading it; say it again to wipe them"
        )
