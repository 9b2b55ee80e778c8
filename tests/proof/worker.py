"""The process that is killed: it works through orders under a harness, over a journal in a file, until it dies.

Each of its lives is a fork of one warm process, which costs milliseconds. Commands come in as lines of JSON, what
happens goes out as lines of text, and a line stands in the pipe before the next step is taken:

    ready PID · taken ORDER · done ORDER ENDING · stopped · dead STATUS

    python -m tests.proof.worker FOLDER     # until its input ends
"""

import asyncio
import gc
import itertools
import json
import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from plimsoll.contract.model import AgentSection, Contract, Limits, OutputRule, Tool
from plimsoll.core.calls import CallInfo, Effect, Happened, NotHappenedAndCannot
from plimsoll.core.clock import SystemClock
from plimsoll.core.events import Record
from plimsoll.journal.checkpointing import Checkpointer
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.journal.store import RunHead, Store
from plimsoll.journal.writer import RunLog
from plimsoll.runtime.compiled import CompiledContract, compiled
from plimsoll.runtime.current import current_call, current_connection
from plimsoll.runtime.exchange import Exchange, Interceptor, NoInterceptor, Send
from plimsoll.runtime.harness import AgentFunction, Harness
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.tools import ToolSpec, Verifier
from tests.journal.signing import SIGNER
from tests.proof.ledger import ask

LANES = 3
WRITES = ("charge", "pack")
ONCE = ("notify",)
COMMITTED = ("book",)
EFFECTS = (*WRITES, *ONCE, *COMMITTED)
"""What each order must bring about, once: in the ledger, or as a row of the shop's own database."""

SHOP = "shop.db"
JOURNAL = "journal.db"
KEYS = MasterKeys([bytes(32)])
ANSWERS = OutputRule(type="object")


def contract(*, blind: bool = False) -> CompiledContract:
    """`blind`: writes are sent again without a question, as if the ledger deduplicated them."""
    writes = Effect.IDEMPOTENT if blind else Effect.WRITE
    tools = {"look": Tool(effect=Effect.READ, output=ANSWERS)}
    tools |= {name: Tool(effect=writes, output=ANSWERS) for name in WRITES}
    tools |= {name: Tool(effect=Effect.IDEMPOTENT, output=ANSWERS) for name in ONCE}
    tools |= {name: Tool(effect=Effect.TRANSACTION, connection="shop", output=ANSWERS) for name in COMMITTED}
    return compiled(Contract(agent=AgentSection(name="packer"), limits=Limits(seconds=3600.0), tools=tools))


SOUND, BLIND = contract(), contract(blind=True)


async def agent(run: Run, order: str) -> str:
    """Two reads side by side, a model call, a write, and then one call of each effect side by side."""
    stock, price = await asyncio.gather(
        run.call("look", {"order": order, "at": "stock"}), run.call("look", {"order": order, "at": "price"})
    )
    reply = await run.model({"order": order, "looked": [stock, price]})
    charged = await run.call("charge", {"order": order, "as": reply.text})
    packed, *_ = await asyncio.gather(
        run.call("pack", {"order": order, "charged": charged["number"]}),
        run.call("notify", {"order": order}),
        run.call("book", {"order": order}),
    )
    return f"{order}: {charged['number']}, {packed['number']}"


def one_call(tool: str) -> AgentFunction:
    """An agent of one call."""

    async def call(run: Run, order: str) -> str:
        return f"{order}: {(await run.call(tool, {'order': order}))['number']}"

    return call


AGENTS = {"packer": agent, **{tool: one_call(tool) for tool in WRITES + ONCE}}


async def model(prompt: Any) -> ModelReply:
    return ModelReply(text=f"charge {prompt['order']} for {prompt['looked'][1]['seen']}")


def tools(folder: Path) -> list[ToolSpec]:
    async def look(order: str, at: str) -> dict[str, Any]:
        return {"seen": f"{order} {at}"}

    def act(tool: str) -> Callable[..., Any]:
        def send(**args: Any) -> Any:
            call = current_call()
            assert call is not None
            request = {"do": "act", "tool": tool, "order": args["order"], "once": tool in ONCE}
            return ask(folder, **request, key=call.idempotency_key, sending=call.sending)

        return send

    def book(order: str) -> dict[str, Any]:
        current_connection().execute("INSERT INTO bookings VALUES (?)", (order,))
        return {"booked": order}

    return [ToolSpec("look", look), ToolSpec("book", book), *(ToolSpec(name, act(name)) for name in WRITES + ONCE)]


def verifier(folder: Path) -> Callable[[Mapping[str, Any], str], Any]:
    """Right as long as whoever sent the write is dead: the ledger serves in order, so it has seen all that was sent."""

    def verify(args: Mapping[str, Any], key: str) -> Any:
        found = ask(folder, do="find", key=key)["found"]
        return NotHappenedAndCannot() if found is None else Happened(found)

    return verify


def trusting(args: Mapping[str, Any], key: str) -> Any:
    """A mutant's `verify`: it asks nobody."""
    return Happened({"number": 0})


class Dying:
    """The store of a life that ends at its nth append, before or after that is on the disk."""

    def __init__(self, inner: Store, *, nth: int, moment: str) -> None:
        self._inner = inner
        self._nth = nth
        self._moment = moment
        self.inline = inner.inline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, records: Sequence[Record]) -> frozenset[str]:
        self._nth -= 1
        if self._nth == 0 and self._moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        refused = await self._inner.append(records)
        if self._nth == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return refused


class Early:
    """A mutant: the store says that a batch is on the disk, and writes it when it is next asked for something."""

    inline = False

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self._held: Sequence[Record] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, records: Sequence[Record]) -> frozenset[str]:
        await self._catch_up()
        self._held = records
        return frozenset()

    async def claim(self, run_id: str, *, owner: str, at: float, expected: int | None = None) -> RunHead:
        await self._catch_up()
        return await self._inner.claim(run_id, owner=owner, at=at, expected=expected)

    async def head(self, run_id: str) -> RunHead | None:
        await self._catch_up()
        return await self._inner.head(run_id)

    async def close(self) -> None:
        await self._catch_up()
        await self._inner.close()

    async def _catch_up(self) -> None:
        held, self._held = self._held, ()
        if held:
            await self._inner.append(held)


class Stopping:
    """Stops the process once, between the durable intent of a call and its sending, until somebody lets it go on."""

    def __init__(self) -> None:
        self._stopped = False

    async def __call__(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        if not self._stopped:
            self._stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)
        return await send()


def harness(
    folder: Path,
    store: Store,
    *,
    owner: str,
    agent: AgentFunction = agent,
    contract: CompiledContract = SOUND,
    verify: Verifier | None = None,
    interceptor: Interceptor | None = None,
    checkpointer: Checkpointer | None = None,
) -> Harness:
    """One life of a process that works for these orders."""
    return Harness(
        contract,
        agent=agent,
        surroundings=Surroundings(
            store=store,
            owner=owner,
            sinks=(),
            interceptor=interceptor or NoInterceptor(),
            checkpointer=checkpointer,
        ),
        tools=tools(folder),
        models={"primary": model},
        verifiers=dict.fromkeys(WRITES, verify) if verify else {},
        connections={"shop": f"sqlite:///{SHOP}"},
        directory=folder,
        fingerprint="proof",
    )


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Life:
    """One life of the process: what was left is woken, then orders are taken until there are none, or it is killed."""

    def __init__(self, folder: Path, command: Mapping[str, Any]) -> None:
        self._folder = folder
        self._command = command
        self._mutant: str = command["mutant"]
        self._orders = self._to_do(command)

    def _to_do(self, command: Mapping[str, Any]) -> Iterator[str]:
        yield from command["again"]
        if command["last"]:
            return
        for number in itertools.count(command["first"]):
            say("taken", f"o{number}")
            yield f"o{number}"

    async def live(self) -> None:
        say("ready", os.getpid())
        owner, sealed = f"life-{self._command['number']}", self._command["sealed"]
        file = SQLiteStore.open(self._folder / JOURNAL, owner=owner, keys=KEYS if sealed else None)
        store = self._mortal(file)
        living = harness(
            self._folder,
            store,
            owner=owner,
            checkpointer=Checkpointer(file, SIGNER, clock=SystemClock(), every_events=20) if sealed else None,
            agent=AGENTS[self._command["agent"]],
            contract=BLIND if self._mutant == "blind_retry" else SOUND,
            verify=trusting if self._mutant == "trusting" else verifier(self._folder),
            interceptor=Stopping() if self._command["stops"] else None,
        )
        async with living:
            for result in await living.wake():
                _report(result)
            await asyncio.gather(*(self._lane(living) for _ in range(LANES)))
        await store.close()

    def _mortal(self, store: Store) -> Store:
        dies = self._command["dies"]
        store = Early(store) if self._mutant == "early" else store
        return Dying(store, **dies) if dies else store

    async def _lane(self, living: Harness) -> None:
        for order in self._orders:
            _report(await living.run(order, run_id=order))


def _report(result: RunResult) -> None:
    say("done", result.run_id, result.ending)


async def _without_barrier(log: RunLog) -> None:
    """A mutant: what is appended is taken to be durable."""


def _live(folder: Path, command: Mapping[str, Any]) -> None:
    if command["mutant"] == "no_barrier":
        RunLog.durable = _without_barrier  # type: ignore[method-assign]
    asyncio.run(Life(folder, command).live())


def main() -> None:
    folder = Path(sys.argv[1])
    with closing(sqlite3.connect(folder / SHOP)) as shop:
        shop.execute("CREATE TABLE bookings (order_id TEXT NOT NULL)")
    gc.freeze()  # so that the lives share its pages
    for line in sys.stdin:
        life = os.fork()
        if life == 0:
            try:
                _live(folder, json.loads(line))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(life, os.WUNTRACED)
        while os.WIFSTOPPED(status):
            say("stopped")
            _, status = os.waitpid(life, os.WUNTRACED)
        say("dead", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
