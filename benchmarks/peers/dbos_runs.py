"""The runs on DBOS. Variants: `default` as its guide sets it up, and `wal`, the fastest that we found on SQLite.

Every step is a `@DBOS.step`, every run a `@DBOS.workflow` under its own id. `DBOS.launch` recovers what was left.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig, SetWorkflowID
from playing import Advance, Pay, main
from work import answer, order_line

CONCURRENT = 100


def config(variant: str, file: Path) -> DBOSConfig:
    made: DBOSConfig = {
        "name": "orders",
        "system_database_url": f"sqlite:///{file}",
        "log_level": "ERROR",
        "max_executor_threads": CONCURRENT,
    }
    if variant == "wal":
        made["sys_db_pool_size"] = 1  # connections that wait for each other's locks wait longer
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # a property of the file: DBOS itself sets none
        connection.close()
    return made


@asynccontextmanager
async def opened(variant: str, folder: Path, pay: Pay, steps: tuple[str, ...]) -> AsyncIterator[Advance]:
    @DBOS.step()
    def find_order(order: str, line: int) -> dict[str, Any]:
        return order_line(order, line)

    @DBOS.step()
    def ask(order: str, step: int) -> str:
        return answer(order, step)

    @DBOS.step()
    def refund(order: str, amount: int) -> dict[str, Any]:
        pay(order, "")
        return {"refunded": amount}

    @DBOS.workflow()
    def work(order: str) -> str:
        for step, kind in enumerate(steps):
            if kind == "read":
                find_order(order, step)
            elif kind == "model":
                ask(order, step)
            else:
                refund(order, 20)
        return "Done."

    DBOS(config=config(variant, folder / "dbos.db"))
    DBOS.launch()
    threads = ThreadPoolExecutor(CONCURRENT)

    def finish(order: str) -> None:
        with SetWorkflowID(order):  # one that is there already is not started again
            handle = DBOS.start_workflow(work, order)
        assert handle.get_result() == "Done."

    async def advance(order: str) -> str:
        await asyncio.get_running_loop().run_in_executor(threads, finish, order)
        return "over"

    try:
        yield advance
    finally:
        threads.shutdown()
        DBOS.destroy()


if __name__ == "__main__":
    main(opened)
