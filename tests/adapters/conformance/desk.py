"""A shop assistant in any framework, and lives of its process: what the conformance suite shares."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from plimsoll.contract.holes import RETRIED_OF_MODELS
from plimsoll.contract.model import AgentSection, Approval, Contract, Limits, Model, OutputRule, Retry, Tool
from plimsoll.core.calls import CallInfo, Effect, Fault, Happened, NotHappenedAndCannot
from plimsoll.core.clock import LoopClock
from plimsoll.core.events import Event
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.gate.scenario import EffectRow
from plimsoll.gate.simulator import simulate
from plimsoll.journal.memory import MemoryStore
from plimsoll.observability.findings import MemorySink
from plimsoll.runtime.current import current_call
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["Answer", "Bench", "Call", "Desk", "Heard", "Refusal", "Script", "Shop", "contract", "simulated", "through"]

TRANSIENT = (Fault.TIMEOUT, Fault.CONNECTION, Fault.SERVER_ERROR, Fault.RATE_LIMITED, Fault.SLOW)
PAYLOADS = (Fault.EMPTY, Fault.TRUNCATED, Fault.MALFORMED, Fault.WRONG_SHAPE, Fault.ERROR_IN_SUCCESS, Fault.EXCEPTION)
RETRY = Retry(on=(*TRANSIENT, *PAYLOADS), max_attempts=3)
AGAIN = Retry(on=RETRIED_OF_MODELS, max_attempts=2)
PRICES: dict[str, Any] = {"usd_per_million_input_tokens": 1.0, "usd_per_million_output_tokens": 5.0}


class Refusal(ValueError):
    """The shop says no, and nothing happened."""


@dataclass(frozen=True)
class Call:
    """A tool call, as a model makes it."""

    tool: str
    args: Mapping[str, Any]
    id: str


@dataclass(frozen=True)
class Answer:
    """What a model answers, in no framework's words. `pieces` are how its text comes where it is streamed."""

    text: str = ""
    calls: Sequence[Call] = ()
    finish: str = "stop"
    broken: bool = False
    """The arguments of its first call break off in the middle."""
    tokens: tuple[int, int] | None = (100, 50)


@dataclass(frozen=True)
class Heard:
    """What a model was told: the request, what the tools said since, and how often it has answered."""

    asked: str
    results: Sequence[tuple[str, str]]
    """Tool and text of each result."""
    turn: int


def call(tool: str, call_id: str = "", **args: Any) -> Call:
    return Call(tool, args, call_id or f"{tool}-{'-'.join(map(str, args.values()))}".replace(".", "_"))


class Script:
    """A model's behaviour: what it answers by what it has heard, and what happens before it does.

    `steps` are answers by turn, or one function of what it has heard. `before(n)` is awaited at its nth request, and
    may raise or take its time.
    """

    def __init__(self, *steps: Any, before: Callable[[int], Awaitable[None]] | None = None) -> None:
        self._steps = steps
        self._before = before
        self.asked = 0
        self.heard: list[Heard] = []

    async def answer(self, heard: Heard) -> Answer:
        self.asked += 1
        self.heard.append(heard)
        if self._before is not None:
            await self._before(self.asked)
        if len(self._steps) == 1 and callable(self._steps[0]):
            return self._steps[0](heard)  # type: ignore[no-any-return]
        step = self._steps[min(heard.turn, len(self._steps) - 1)]
        if isinstance(step, str):
            return Answer(step)
        return Answer(calls=step) if isinstance(step, list) else step


class Shop:
    """The outside world: it survives every crash, and its ledger is the truth. `before` is awaited in a tool."""

    def __init__(self) -> None:
        self.orders = {"W1": {"id": "W1", "amount": 80}, "W2": {"id": "W2", "amount": 20}}
        self.ledger: list[EffectRow] = []
        self.reads: list[str] = []
        self.before: dict[str, Callable[[Mapping[str, Any]], Awaitable[None]]] = {}
        self.after: dict[str, Callable[[Mapping[str, Any]], Awaitable[None]]] = {}

    def effects(self) -> Sequence[EffectRow]:
        return self.ledger

    async def find_order(self, order_id: str) -> dict[str, Any]:
        self.reads.append(order_id)
        await self._hook(self.before, "find_order", {"order_id": order_id})
        return dict(self.orders[order_id])

    async def refund(self, order_id: str, amount: int) -> dict[str, Any]:
        args = {"order_id": order_id, "amount": amount}
        if amount <= 0:
            raise Refusal("an amount is above 0")
        await self._hook(self.before, "refund", args)
        info = current_call()
        self.ledger.append(EffectRow("refund", args, info.idempotency_key if info else None))
        await self._hook(self.after, "refund", args)
        return {"refunded": amount, "order": order_id}

    def verify(self, args: Mapping[str, Any], idempotency_key: str) -> Happened | NotHappenedAndCannot:
        if any(row.idempotency_key == idempotency_key for row in self.ledger):
            return Happened({"refunded": args["amount"], "order": args["order_id"]})
        return NotHappenedAndCannot()

    @property
    def refunds(self) -> list[tuple[str, int]]:
        """What was really paid back."""
        return [(row.args["order_id"], row.args["amount"]) for row in self.ledger]

    async def _hook(self, hooks: Mapping[str, Any], name: str, args: Mapping[str, Any]) -> None:
        if name in hooks:
            await hooks[name](args)


class Bench(Protocol):
    """One framework: how the same agent is built in it. `adapter` is the adapter's module.

    `cannot` is what it cannot do that others can: each is shown by `test_differences`, and stands in the docs.
    """

    name: ClassVar[str]
    adapter: ClassVar[Any]
    cannot: ClassVar[frozenset[str]]

    def model(self, script: Script) -> Any:
        """The framework's own model that behaves so."""
        ...

    def agent(self, script: Script | None = None) -> Any:
        """The framework's own agent: `find_order` and `refund` act on the shop that it is given as dependencies.

        `script` is how its own model behaves; None: it has none that answers.
        """
        ...

    async def naive(self, request: Any, *, deps: Any) -> Any:
        """What somebody writes first around that agent."""
        ...


def contract(**changes: Any) -> Contract:
    """The contract that the tests start from."""
    tools = {
        "find_order": Tool(
            effect=Effect.READ, timeout_s=5.0, retry=RETRY, output=OutputRule(type="object", required=("amount",))
        ),
        "refund": Tool(
            effect=Effect.WRITE,
            timeout_s=5.0,
            proves_nothing_happened=("Refusal",),
            approval=Approval(when="amount > 50", approvers=("ana", "bo"), expires_s=600.0),
            output=OutputRule(type="object", required=("refunded",)),
            verify="shop:verify",
            claims=("has been refunded",),
        ),
    }
    tools |= changes.pop("tools", {})
    settings: dict[str, Any] = {
        "agent": AgentSection(name="desk"),
        "limits": Limits(steps=20, seconds=300.0, tokens=100_000, repeats=3),
        "models": {
            "primary": Model(timeout_s=10.0, retry=AGAIN, fallback=("backup", "canned"), **PRICES),
            "backup": Model(id="backup", timeout_s=10.0, retry=AGAIN, **PRICES),
            "canned": Model(canned="I cannot help at the moment. A colleague will call you."),
        },
    }
    return Contract(**(settings | changes | {"tools": tools}))


async def through(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
    return await send()


@dataclass
class Desk:
    """A shop, a store, and as many lives of the agent's process as a test wants."""

    bench: Bench
    script: Script
    backup: Script = field(default_factory=lambda: Script("The backup says so."))
    intercept: Any = through
    verify: bool = True
    agent: Any = None
    changes: dict[str, Any] = field(default_factory=dict)
    shop: Shop = field(default_factory=Shop)
    store: Any = field(default_factory=MemoryStore)
    sink: MemorySink = field(default_factory=MemorySink)
    lives: int = 0
    fingerprint: str = "v1"

    def surroundings(self, store: Any = None) -> Surroundings:
        """Those of a new life of the process; those before it are dead."""
        self.store.kill_owner(f"life-{self.lives}")
        self.lives += 1
        return Surroundings(
            store=store or self.store,
            owner=f"life-{self.lives}",
            clock=LoopClock(),
            rng=seeded_rng(self.lives),
            ids=SequentialIds(),
            sinks=(self.sink,),
            interceptor=self.intercept,
        )

    def live(self, store: Any = None, **options: Any) -> Any:
        """Begins a life of the process: the agent, hardened, with these further options."""
        return self.bench.adapter.harden(
            self.agent or self.bench.agent(),
            contract(**self.changes),
            deps=lambda: self.shop,
            models={"primary": self.bench.model(self.script), "backup": self.bench.model(self.backup)},
            verifiers={"refund": self.shop.verify if self.verify else _unknown},
            surroundings=self.surroundings(store),
            fingerprint=self.fingerprint,
            **options,
        )

    async def events(self, kind: type[Event] | None = None, run_id: str = "r") -> list[Any]:
        """The run's events, or those of one kind."""
        events = [record.event for record in await self.store.read(run_id)]
        return [event for event in events if kind is None or isinstance(event, kind)]

    def kinds(self) -> set[tuple[str, str | None, str | None]]:
        """What was alerted: kind, dependency, fault."""
        return {(finding.kind, finding.dependency, finding.fault) for _, _, finding in self.sink.entries}

    def told(self, tool: str) -> list[str]:
        """What the model was last told of a tool's calls."""
        return [text for name, text in self.script.heard[-1].results if name == tool]


def _unknown(args: Any, key: str) -> Any:
    from plimsoll.core.calls import Unknown

    return Unknown("nobody knows", final=True)


def simulated(main: Callable[[], Any]) -> Any:
    """Runs an async test in virtual time, with sync tools where they are called."""
    return simulate(main, limit_s=100_000.0)


async def hang() -> None:
    await asyncio.Event().wait()


def as_text(result: Any) -> str:
    return result if isinstance(result, str) else json.dumps(result)
