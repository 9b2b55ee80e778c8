"""Whatever goes wrong, in whatever order: an effect is never doubled, never lost unless it is in doubt, and never sent
again while nobody knows."""

import asyncio
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from plimsoll.contract.model import AgentSection, Contract, Limits, Retry, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending, Fault, Happened, NotHappenedAndCannot, Unknown
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import CallFailed
from plimsoll.core.events import CallIntended, DoubtResolved
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.current import current_call, current_connection
from plimsoll.runtime.databases.sqlite import SQLiteDatabase
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.tools import ToolSpec
from tests.runtime.bench import Crash, pass_time, simulated

TIMEOUT_S = 5.0
LATE_S = 30.0
EFFECTS = [Effect.READ, Effect.IDEMPOTENT, Effect.TRANSACTION, Effect.WRITE]
BREAKS = ("ok", "lost_before", "lost_after", "crash_before", "crash_after")
COMMITS = st.sampled_from(BREAKS)
SENDINGS = st.sampled_from([*BREAKS, "refused", "late", "hang"])
"""What comes of a sending. `late`: it happens after it was given up."""
VERIFYING = st.sampled_from(["truth", "truth", "unknown", "raises", "crash"])


class Refusal(ValueError):
    """Nothing happened."""


@dataclass
class World:
    """A dependency, its own truth, and what is going to go wrong with it."""

    effect: Effect
    sendings: list[str]
    commits: list[str]
    verifyings: list[str]
    store: MemoryStore = field(default_factory=MemoryStore)
    done: list[str] = field(default_factory=list)
    pending: set[str] = field(default_factory=set)
    sent: list[tuple[str, str]] = field(default_factory=list)
    late: list[Any] = field(default_factory=list)
    database: Path | None = None

    def ledger(self) -> list[str]:
        """The idempotency keys of all that really happened."""
        if self.database is None:
            return self.done
        connection = sqlite3.connect(self.database)
        try:
            return [key for (key,) in connection.execute("SELECT key FROM done")]
        finally:
            connection.close()

    def happen(self, key: str) -> None:
        if self.effect is Effect.TRANSACTION:
            current_connection().execute("INSERT INTO done VALUES (?)", (key,))
        elif self.effect is not Effect.IDEMPOTENT or key not in self.done:
            self.done.append(key)

    async def intercept(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        """Stands where the network is."""
        if site == "do.verify" and self.verifyings[:1] == ["crash"]:
            self.verifyings.pop(0)
            raise Crash
        if site == "do":
            await self.nobody_doubts(info)
            self.sent.append((info.idempotency_key, exchange.args_digest))
        coming = {"do": self.sendings, "do.commit": self.commits}.get(site, [])
        what = coming.pop(0) if coming else "ok"
        match what:
            case "refused" if info.idempotency_key not in self.done:  # else it would deduplicate
                raise Refusal("not today")
            case "lost_before":
                raise ConnectionResetError("lost on the way there")
            case "crash_before":
                raise Crash
            case "hang":
                await pass_time(10 * TIMEOUT_S)
            case "late" if self.effect is not Effect.TRANSACTION:
                await self.come_late()
        answer = await send()
        if what == "lost_after":
            raise ConnectionResetError("lost on the way back")
        if what == "crash_after":
            raise Crash
        return answer

    async def come_late(self) -> None:
        """The request is on its way for so long that nobody waits for it any more; it arrives all the same."""
        info = current_call()
        assert info is not None
        key = info.idempotency_key
        self.pending.add(key)

        async def arrive() -> None:
            await pass_time(LATE_S)
            self.pending.discard(key)
            self.happen(key)

        self.late.append(asyncio.ensure_future(arrive()))
        await pass_time(10 * TIMEOUT_S)

    async def nobody_doubts(self, info: CallInfo) -> None:
        """No sending while the last word about the one before it is that nobody knows."""
        if self.effect is Effect.IDEMPOTENT:
            return  # it may be sent again at any time
        said = ""
        for record in await self.store.read("r"):
            event = record.event
            if isinstance(event, CallIntended) and event.key == info.key:
                said = ""
            elif isinstance(event, DoubtResolved) and event.key == info.key:
                said = event.answer
        assert said != "unknown", "it was sent while nobody knew"

    def verify(self, args: Mapping[str, Any], key: str) -> Any:
        what = self.verifyings.pop(0) if self.verifyings else "truth"
        if what == "raises":
            raise TimeoutError("the dependency's list cannot be read")
        if what == "unknown" or key in self.pending:
            return Unknown("it may still be on its way")
        return Happened({"did": args["what"]}) if key in self.done else NotHappenedAndCannot()


async def agent(run: Run, request: Any) -> Any:
    """Does two things, one after the other, and tells of each whether it was done."""
    told = {}
    for what in ("one", "two"):
        try:
            told[what] = (await run.call("do", {"what": what}))["did"] == what
        except CallFailed:
            told[what] = False
    return told


class Lives:
    """Lives of a process, one after the other, until the run has ended."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.number = 0
        tool = Tool(
            effect=world.effect,
            timeout_s=TIMEOUT_S,
            connection="bank" if world.effect is Effect.TRANSACTION else None,
            proves_nothing_happened=("Refusal",),
            retry=Retry(on=(Fault.CONNECTION,), max_attempts=2),
        )
        self.contract = Contract(
            agent=AgentSection(name="doer"), limits=Limits(seconds=1e6, steps=1000), tools={"do": tool}
        )

    def born(self) -> Harness:
        world = self.world
        world.store.kill_owner(f"life-{self.number}")
        self.number += 1

        async def do(what: str) -> dict[str, str]:
            info = current_call()
            assert info is not None
            world.happen(info.idempotency_key)
            return {"did": what}

        return Harness(
            self.contract,
            agent=agent,
            surroundings=Surroundings(
                store=world.store, owner=f"life-{self.number}", clock=LoopClock(), rng=seeded_rng(self.number),
                ids=SequentialIds(), sinks=(), interceptor=world.intercept,
            ),
            tools=[ToolSpec("do", do)],
            verifiers={"do": world.verify},
            connections={"bank": SQLiteDatabase(world.database)} if world.database else {},
            fingerprint="v1",
        )  # fmt: skip

    async def lived(self) -> RunResult:
        """How the run ends, once there is nothing left to go wrong."""
        result: RunResult | None = None
        for _ in range(40):
            harness = self.born()
            try:
                result = await (harness.run({}, run_id="r") if result is None else self.further(harness))
            except Crash:
                harness.journal.abandon()
                continue
            if result.ending is not Ending.PARKED:
                return result
        raise AssertionError(f"it never ended: {result}")

    async def further(self, harness: Harness) -> RunResult:
        """A person looks, when all that was on its way has arrived, and answers truly."""
        await pass_time(2 * LATE_S)
        for key, doubt in (await harness.operations.doubts("r")).items():
            happened = doubt.idempotency_key in self.world.ledger()
            events = await harness.operations.events("r")
            (intent, *_) = [each for each in events if isinstance(each, CallIntended) and each.key == key]
            value = {"did": intent.args["what"]} if happened else None
            await harness.operations.resolve("r", key, happened=happened, by="ana", value=value)
        return await harness.resume("r")


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(EFFECTS),
    st.lists(SENDINGS, max_size=7),
    st.lists(COMMITS, max_size=5),
    st.lists(VERIFYING, max_size=6),
)
@example(Effect.IDEMPOTENT, ["late", "refused", "lost_before", "lost_before"], [], ["unknown"] * 3)
def test_an_effect_happens_once_or_nobody_says_that_it_did(
    effect: Effect, sendings: list[str], commits: list[str], verifyings: list[str]
) -> None:
    with TemporaryDirectory() as folder:
        world = World(effect, list(sendings), list(commits), list(verifyings))
        if effect is Effect.TRANSACTION:
            world.database = Path(folder) / "bank.db"
            connection = sqlite3.connect(world.database)
            connection.execute("CREATE TABLE done (key TEXT)")
            connection.close()
        result = simulated(lambda: Lives(world).lived())
        assert result.ending is Ending.COMPLETE, result
        if effect is Effect.READ:
            return
        ledger = world.ledger()
        assert len(set(ledger)) == len(ledger), "doubled"
        claimed = sum(result.output.values())
        assert len(ledger) == claimed, f"{claimed} are said to be done, and {len(ledger)} were"
        keys: dict[str, set[str]] = {}
        for key, args in world.sent:
            keys.setdefault(key, set()).add(args)
        assert all(len(args) == 1 for args in keys.values()), "one key, two different calls"
