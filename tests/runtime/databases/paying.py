"""A process that pays by a transaction, and kills or stops itself where it is told to.

python -m tests.runtime.databases.paying FOLDER DATABASE_URL loop|thread SITE before|after SIGNAL
"""

import asyncio
import inspect
import os
import signal
import sys
from pathlib import Path
from typing import Any

from plimsoll.contract.model import AgentSection, Contract, Tool
from plimsoll.core.calls import CallInfo, Effect
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.runtime.current import current_connection
from plimsoll.runtime.exchange import Exchange, Interceptor, NoInterceptor, Send
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.tools import ToolSpec

TIMEOUT_S = 20.0


async def pay(to: str) -> dict[str, str]:
    done = current_connection().execute(f"INSERT INTO paid VALUES ('{to}', 20)")
    if inspect.isawaitable(done):
        await done
    return {"paid": to}


def pay_in_thread(to: str) -> dict[str, str]:
    current_connection().execute(f"INSERT INTO paid VALUES ('{to}', 20)")
    return {"paid": to}


async def agent(run: Run, to: Any) -> Any:
    return await run.call("pay", {"to": to})


class Ending:
    """Ends or stops this process at one site, before or after what is sent there."""

    def __init__(self, site: str, moment: str, what: str) -> None:
        self._site = site
        self._moment = moment
        self._what = signal.Signals[what]

    async def __call__(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        here = site == self._site
        if here and self._moment == "before":
            os.kill(os.getpid(), self._what)
        answer = await send()
        if here and self._moment == "after":
            os.kill(os.getpid(), self._what)
        return answer


def harness(
    folder: Path,
    url: str,
    *,
    owner: str,
    in_thread: bool,
    interceptor: Interceptor | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Harness:
    """One life of the process that pays."""
    tool = Tool(effect=Effect.TRANSACTION, connection="bank", timeout_s=timeout_s)
    return Harness(
        Contract(agent=AgentSection(name="payer"), tools={"pay": tool}),
        agent=agent,
        surroundings=Surroundings(
            store=SQLiteStore.open(folder / "journal.db", owner=owner),
            owner=owner,
            sinks=(),
            interceptor=interceptor or NoInterceptor(),
        ),
        tools=[ToolSpec("pay", pay_in_thread if in_thread else pay)],
        connections={"bank": url},
        fingerprint="v1",
    )


async def main(folder: str, url: str, kind: str, *ending: str) -> None:
    owner = f"life-{os.getpid()}"
    payer = harness(Path(folder), url, owner=owner, in_thread=kind == "thread", interceptor=Ending(*ending))
    async with payer:
        result = await payer.run("ann", run_id="r")
    await payer.store.close()
    print(result.ending, result.reason.partition(":")[0], flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
