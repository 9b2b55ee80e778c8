"""Exactly once on real shop data: crashes at every append and lost responses, judged by the shop's own ledger.

The 115 tasks of tau-bench's retail domain are played by their right sequence of calls, through the hardened runtime and
by the loop that people write first (three tries, then give up; after a crash the request is delivered again). What
counts is the shop's append-only ledger, as a multiset, against that of the right sequence played without faults.

    python -m benchmarks.retail --data DIR [--quick] [--json] [--save]
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import finish, parser, table, track
from examples.assistant.shop import Shop, ShopRefusal
from examples.assistant.tools import TOOLS
from examples.assistant.tools import call as call_shop
from plimsoll.contract.model import AgentSection, Contract, Limits, OutputRule, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending, Happened, NotHappenedAndCannot
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import PlimsollError
from plimsoll.core.events import Record
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.gate.simulator import simulate
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.compiled import compiled
from plimsoll.runtime.current import current_call
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.tools import ToolSpec

Ledger = Counter[tuple[str, str, str]]
QUICK_TASKS = 30
MAX_LIVES = 4
ANYTHING = OutputRule(may_be_empty=True, may_look_like_error=True)
"""The shop's answers are not under test here, only its effects are."""

CONTRACT = compiled(
    Contract(
        agent=AgentSection(name="retail"),
        limits=Limits(steps=1000, seconds=3600.0, repeats=50),
        tools={
            name: Tool(effect=Effect(spec.effect), proves_nothing_happened=("ShopRefusal",), output=ANYTHING)
            for name, spec in TOOLS.items()
        },
    )
)


class Crash(BaseException):
    """The process dies here."""


@dataclass(frozen=True)
class Strike:
    """What goes wrong in a trial, once: at the `at`-th event (`append`), or after the `at`-th call or write."""

    kind: str = "none"
    at: int = 0
    kept: int = 0


class Shaky:
    """A store whose process dies at the nth event, with that event and those before it in its batch kept or not."""

    inline = True

    def __init__(self, inner: MemoryStore, strike: Strike) -> None:
        self._inner = inner
        self._strike = strike
        self.events = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, records: Sequence[Record]) -> frozenset[str]:
        before, self.events = self.events, self.events + len(records)
        if self._strike.kind == "append" and before < self._strike.at <= self.events:
            await self._inner.append(list(records)[: self._strike.at - before - 1 + self._strike.kept])
            raise Crash
        return await self._inner.append(records)


class Wire:
    """The way to the shop, on which one answer is lost, or under which the process dies once the effect is done."""

    def __init__(self, strike: Strike) -> None:
        self._strike = strike
        self.calls = 0
        self.writes = 0

    async def __call__(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        if site.endswith(".verify"):
            return await send()
        answer = await send()
        self.count(site)
        return answer

    def count(self, tool: str) -> None:
        """One more call got through to the shop; strikes where it should."""
        self.calls += 1
        is_write = TOOLS[tool].effect == "write"
        self.writes += is_write
        if self._strike == Strike("crash after call", self.calls):
            raise Crash
        if is_write and self._strike == Strike("lost response", self.writes):
            raise ConnectionResetError("the answer was lost")


def ledger_of(shop: Shop) -> Ledger:
    """The shop's ledger as a multiset of (tool, arguments' digest, order or user)."""
    return Counter((row.tool, row.args_digest, row.order_id or row.user_id or "") for row in shop.ledger())


def tools_of(shop: Shop) -> list[ToolSpec]:
    def bound(name: str) -> Callable[..., Any]:
        async def send(**arguments: Any) -> Any:
            info = current_call()
            return call_shop(shop, name, arguments, key=info.idempotency_key if info else None)

        return send

    return [ToolSpec(name, bound(name)) for name in TOOLS]


async def by_the_book(run: Run, actions: list[dict[str, Any]]) -> str:
    """Plays the right sequence of calls. A call that the shop refuses is part of it."""
    for action in actions:
        try:
            await run.call(action["name"], action["arguments"])
        except PlimsollError:
            continue
    return "done"


@dataclass
class Played:
    """What came of a trial."""

    ledger: Ledger
    parked: bool
    finished: bool
    events: int
    calls: int
    writes: int


def play_hardened(image: bytes, actions: list[dict[str, Any]], strike: Strike, *, verify: bool) -> Played:
    """One trial through the runtime: as many lives of the process as the strike takes."""

    def find(shop: Shop) -> Callable[[Mapping[str, Any], str], Any]:
        def look(args: Mapping[str, Any], key: str) -> Any:
            entry = shop.find_effect(key)
            return NotHappenedAndCannot() if entry is None else Happened(entry.result)

        return look

    async def trial() -> Played:
        with Shop.from_image(image) as shop:
            memory, wire = MemoryStore(), Wire(strike)
            shaky = Shaky(memory, strike)
            result = None
            for life in range(MAX_LIVES):
                memory.kill_owner(f"life-{life}")
                harness = Harness(
                    CONTRACT,
                    agent=by_the_book,
                    surroundings=Surroundings(
                        store=shaky if life == 0 else memory,
                        owner=f"life-{life + 1}",
                        clock=LoopClock(),
                        rng=seeded_rng(life),
                        ids=SequentialIds(),
                        sinks=(),
                        interceptor=wire,
                    ),
                    tools=tools_of(shop),
                    verifiers=dict.fromkeys(TOOLS, find(shop)) if verify else {},
                )
                try:
                    result = await harness.run(actions, run_id="task")
                    break
                except Crash:
                    harness.journal.abandon()
            assert result is not None
            return Played(
                ledger_of(shop),
                parked=result.ending is Ending.PARKED,
                finished=result.ending is Ending.COMPLETE,
                events=shaky.events,
                calls=wire.calls,
                writes=wire.writes,
            )

    return simulate(trial)


def play_naive(image: bytes, actions: list[dict[str, Any]], strike: Strike) -> Ledger:
    """One trial as people write it first: three tries a call, then give up; after a crash, all over again."""
    with Shop.from_image(image) as shop:
        wire = Wire(strike)

        def attempt(action: dict[str, Any]) -> None:
            for left in (2, 1, 0):
                try:
                    call_shop(shop, action["name"], action["arguments"])
                    wire.count(action["name"])
                except ShopRefusal:
                    return
                except ConnectionError:
                    if not left:
                        raise
                else:
                    return

        for _ in range(MAX_LIVES):
            try:
                for action in actions:
                    attempt(action)
                break
            except Crash:
                continue
        return ledger_of(shop)


def strikes_of(healthy: Played) -> list[Strike]:
    """Every crash and every lost response that this task has room for."""
    appends = [Strike("append", at, kept) for at in range(1, healthy.events + 1) for kept in (0, 1)]
    calls = [Strike("crash after call", at) for at in range(1, healthy.calls + 1)]
    lost = [Strike("lost response", at) for at in range(1, healthy.writes + 1)]
    return appends + calls + lost


def image_of(folder: Path) -> bytes:
    """The real shop, as an image from which every trial gets a fresh copy."""
    data = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("users", "products", "orders")}
    with Shop.load(**data) as shop:
        return shop.image()


def measure(folder: Path, *, quick: bool) -> dict[str, Any]:
    """All trials of all tasks, or of a sample."""
    image = image_of(folder)
    tasks = json.loads((folder / "tasks.json").read_text())
    chosen = random.Random(7).sample(tasks, QUICK_TASKS) if quick else tasks
    equal = trials = parked = parked_verified = unfinished = 0
    wrong: Counter[str] = Counter()
    for task in track(chosen, "tasks"):
        actions = task["actions"]
        right = play_naive(image, actions, Strike())
        healthy = play_hardened(image, actions, Strike(), verify=True)
        equal += healthy.ledger == right and healthy.finished
        for strike in strikes_of(healthy):
            trials += 1
            hardened = play_hardened(image, actions, strike, verify=True)
            unfinished += not hardened.finished
            parked_verified += hardened.parked
            blind = play_hardened(image, actions, strike, verify=False)
            parked += blind.parked
            naive = play_naive(image, actions, strike)
            wrong["lost"] += (right - hardened.ledger).total()
            wrong["doubled"] += (hardened.ledger - right).total()
            wrong["doubled_without_verify"] += (blind.ledger - right).total()
            wrong["lost_without_parking"] += 0 if blind.parked else (right - blind.ledger).total()
            wrong["naive_lost"] += (right - naive).total()
            wrong["naive_doubled"] += (naive - right).total()
    return {
        "tasks": len(chosen),
        "fault_free_equal": equal,
        "trials": trials,
        "unfinished": unfinished,
        "lost": wrong["lost"],
        "doubled": wrong["doubled"],
        "parked": parked_verified,
        "parked_without_verify": parked,
        "doubled_without_verify": wrong["doubled_without_verify"],
        "lost_without_parking": wrong["lost_without_parking"],
        "naive_lost": wrong["naive_lost"],
        "naive_doubled": wrong["naive_doubled"],
    }


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, required=True, help="the folder with users.json, tasks.json, …")
    args = options.parse_args()
    result = measure(args.data, quick=args.quick)
    table(
        f"{result['tasks']} tasks, {result['trials']} trials with one fault each",
        [
            ("", "effects lost", "effects doubled", "runs parked"),
            ("hardened, with verify", str(result["lost"]), str(result["doubled"]), str(result["parked"])),
            (
                "hardened, without verify",
                f"{result['lost_without_parking']}",
                str(result["doubled_without_verify"]),
                str(result["parked_without_verify"]),
            ),
            ("the naive loop", str(result["naive_lost"]), str(result["naive_doubled"]), "–"),
        ],
    )
    print(f"Without faults the ledger equals the right one in {result['fault_free_equal']} of {result['tasks']} tasks.")
    finish("retail", args, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
