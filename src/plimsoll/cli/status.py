"""`plimsoll status`: what runs, what waits, and how the dependencies stand; `plimsoll circuit`: an operator's word."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from plimsoll.cli.command import Command
from plimsoll.cli.families import state_of
from plimsoll.cli.journal_access import JSON_HELP, by_option, journal_options, places, with_a_look, with_operations
from plimsoll.cli.printing import clean, console, line, table, typed
from plimsoll.cli.wording import when
from plimsoll.contract.loading import load_contract
from plimsoll.contract.model import Contract, DayLimits
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.journal.store import Halt, RunState
from plimsoll.policies.circuit_breaker import CircuitState
from plimsoll.runtime.daily import NANOS
from plimsoll.runtime.isolation import CIRCUIT
from plimsoll.runtime.operations import EVERYTHING, Operations
from plimsoll.runtime.status import DependencyStatus, ProcessStatus

__all__ = ["circuit", "print_switches", "status"]

_COLUMNS = (
    "agent", "process", "dependency", "circuit", "failed", "under way", "held back", "asked twice", "retries left",
    "as of",
)  # fmt: skip

_OWNER_CHARS = 16


Day = dict[str, Any]
"""Of an agent, what is drawn of each limit of today and what is allowed, as JSON."""


@dataclass(frozen=True, slots=True)
class _Looked:
    runs: dict[str, int]
    requests: int
    in_doubt: int
    switches: list[Halt]
    processes: list[ProcessStatus]
    day: Day | None


def _limited(contract_path: Path) -> Contract | None:
    """The contract, where there is one and it limits a day."""
    contract = load_contract(contract_path) if contract_path.exists() else None
    return None if contract is None or contract.limits.day in (None, DayLimits()) else contract


async def _day(operations: Operations, contract: Contract) -> Day:
    """What today's limits allow, and what is drawn of each: spent, or set aside by a process to be spent."""
    drawn, limits = await operations.drawn_today(contract.agent.name), contract.limits.day or DayLimits()
    amounts = {"usd": drawn.nanos / NANOS, "tokens": drawn.tokens, "runs": drawn.runs}
    allowed = {name: getattr(limits, name) for name in amounts}
    return {
        "agent": contract.agent.name,
        "limits": {
            name: {"drawn": amount, "allowed": allowed[name]}
            for name, amount in amounts.items()
            if allowed[name] is not None
        },
    }


async def _look(operations: Operations, contract: Contract | None) -> _Looked:
    store = operations.store
    open_runs = [head for state in (RunState.RUNNING, RunState.PARKED) for head in await store.heads(state=state)]
    return _Looked(
        runs=dict(Counter(state_of(head) for head in open_runs)),
        requests=len(await operations.requests()),
        in_doubt=len(await operations.in_doubt()),
        switches=list(store.outside().halts.values()),
        processes=operations.statuses(),
        day=None if contract is None else await _day(operations, contract),
    )


@click.command(cls=Command)
@journal_options
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def status(contract_path: Path, journal: Path | None, *, as_json: bool) -> None:
    """Shows what runs, what waits for people, what the day's limits have been drawn on, which switches are engaged, and
    how the dependencies stand.

    Of its dependencies each process reports every two seconds while it works, and at once when a circuit opens or
    closes: those that have a circuit breaker, a bulkhead, a rate limit or a hedge in the contract. Exits with 0, with 1
    on an error.

    \b
    Examples:
      plimsoll status
      plimsoll status --json | jq '.processes[].dependencies[] | select(.circuit == "open")'
    """
    contract = _limited(contract_path)
    looked = with_a_look(contract_path, journal, lambda operations: _look(operations, contract))
    if as_json:
        click.echo(
            json.dumps(
                {
                    "runs": looked.runs,
                    "approvals_waiting": looked.requests,
                    "in_doubt": looked.in_doubt,
                    "switches": msgspec.to_builtins(looked.switches),
                    "processes": msgspec.to_builtins(looked.processes),
                    "day": looked.day,
                }
            )
        )
        return
    out = console()
    open_runs = ", ".join(f"{count} {state}" for state, count in sorted(looked.runs.items())) or "none open"
    line(out, f"Runs: {open_runs}. Waiting for people: {looked.requests} approval(s), {looked.in_doubt} doubt(s).")
    _print_day(out, looked.day)
    print_switches(out, looked.switches, options=places(contract_path, journal))
    _print_processes(out, looked.processes)


def _print_day(out: Console, day: Day | None) -> None:
    if day is None:
        return
    parts = [
        f"${each['drawn']:,.2f} of ${each['allowed']:,.2f}"
        if name == "usd"
        else f"{each['drawn']:,} of {each['allowed']:,} {name}"
        for name, each in day["limits"].items()
    ]
    line(out, f"Today (UTC) {day['agent']} has spent, or set aside to spend: {', '.join(parts)}.")


def print_switches(out: Console, halts: Sequence[Halt], *, options: str) -> None:
    """Says which switches are engaged, by whom, and how each is released."""
    for halt in halts:
        if halt.scope.startswith(CIRCUIT):
            agent, _, dependency = halt.scope.removeprefix(CIRCUIT).partition(":")
            line(out, (f"The circuit of {dependency} is isolated", "bold red"), f" by {halt.by}: {halt.reason}")
            line(out, f"  Restore it by: plimsoll circuit restore {typed(dependency)} --agent {typed(agent)}{options}")
            continue
        everything = halt.scope == EVERYTHING
        what = "every run" if everything else halt.scope
        line(out, (f"The kill switch is engaged on {what}", "bold red"), f" by {halt.by}: {halt.reason}")
        line(out, f"  Release it by: plimsoll kill {'--all' if everything else typed(halt.scope)} --release{options}")


def _print_processes(out: Console, processes: Sequence[ProcessStatus]) -> None:
    now = SystemClock().now()
    rows = [
        (process.agent, _short(process.owner), *_cells(dependency), when(process.at, now=now))
        for process in processes
        for dependency in process.dependencies
    ]
    if rows:
        table(out, _COLUMNS, rows, whole=("agent", "dependency"))
    else:
        line(out, "No process that lives has reported on its dependencies.")


def _short(owner: str) -> str:
    """An owner's name, as much of it as tells it from others; `--json` has the whole."""
    return owner if len(owner) <= _OWNER_CHARS else f"{owner[: _OWNER_CHARS - 1]}…"


def _cells(status: DependencyStatus) -> tuple[str, ...]:
    """What a row says of a dependency; a dash where it has no such policy."""
    circuit, under_way, hedged = "–", "–", "–"
    if status.circuit is not None:
        circuit = str(status.circuit)
        if status.circuit is CircuitState.OPEN and status.retry_after_s:
            circuit += f" for {status.retry_after_s:.0f} s"
    if status.under_way is not None:
        under_way = f"{status.under_way} of {status.max_concurrent}, {status.waiting} wait"
    if status.hedged_share is not None:
        after = "" if status.hedge_after_s is None else f", after {status.hedge_after_s:.2g} s"
        hedged = f"{status.hedged_share:.1%}{after}"
    counted = status.circuit is CircuitState.CLOSED and status.failure_ratio is not None
    failed = f"{status.failure_ratio:.0%}" if counted else "–"
    held_back = "–" if status.held_back_s is None else f"{status.held_back_s:.2g} s"
    retries = "–" if status.retry_tokens is None else f"{status.retry_tokens:g}"
    return status.name, circuit, failed, under_way, held_back, hedged, retries


# ----------------------------------------------------------------------------------------------------------- circuit


@click.group()
def circuit() -> None:
    """Forces a dependency's circuit breaker open, and restores it."""


def _agent_of(contract_path: Path, agent: str | None, dependency: str, *, checked: bool) -> str:
    """The agent that is meant. Raises `Misuse` where its contract gives the dependency no circuit breaker."""
    if agent is not None and not contract_path.exists():
        return agent
    contract = load_contract(contract_path)
    if agent is not None and agent != contract.agent.name:
        return agent
    section = contract.models.get(dependency) or contract.tools.get(dependency)
    if checked and (section is None or section.circuit_breaker is None):
        known = [name for name, each in (contract.models | contract.tools).items() if each.circuit_breaker is not None]
        those = f"those of {', '.join(known)} can" if known else "no dependency has one"
        raise Misuse(f"{dependency} has no circuit_breaker in {contract_path}, so it cannot be isolated; {those}")
    return contract.agent.name


_AGENT = click.option("--agent", default=None, help="Whose dependency it is; the contract's agent if left out.")


@circuit.command(cls=Command)
@journal_options
@click.argument("dependency", metavar="DEPENDENCY")
@_AGENT
@click.option("--reason", default="isolated by an operator", show_default=True, help="Why, for the record.")
@by_option()
def isolate(  # noqa: PLR0917 -- click hands every option over
    contract_path: Path, journal: Path | None, dependency: str, agent: str | None, reason: str, by: str
) -> None:
    """Forces the circuit of a model or a tool open in every process, before its next attempt, until it is restored.

    A model's calls go to the rung below, a tool's fail at once. Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll circuit isolate primary --reason "the provider answers nonsense"
    """
    name = _agent_of(contract_path, agent, dependency, checked=True)

    async def throw(operations: Operations) -> None:
        await operations.isolate(dependency, agent=name, by=by, reason=reason)

    with_operations(contract_path, journal, throw)
    again = f"plimsoll circuit restore {typed(dependency)}{places(contract_path, journal)}"
    click.echo(f"The circuit of {clean(dependency)} is isolated: it is not asked any more. Restore it by: {again}")


@circuit.command(cls=Command)
@journal_options
@click.argument("dependency", metavar="DEPENDENCY")
@_AGENT
@by_option()
def restore(contract_path: Path, journal: Path | None, dependency: str, agent: str | None, by: str) -> None:
    """Ends an isolation: the next attempts are probes, and the circuit closes when they succeed.

    Exits with 0, whether it was isolated or not, with 1 on an error.

    \b
    Examples:
      plimsoll circuit restore primary
    """
    name = _agent_of(contract_path, agent, dependency, checked=False)

    async def release(operations: Operations) -> bool:
        return await operations.restore(dependency, agent=name, by=by)

    was = with_operations(contract_path, journal, release)
    words = "is restored: its next attempts are probes" if was else "was not isolated"
    click.echo(f"The circuit of {clean(dependency)} {words}.")
