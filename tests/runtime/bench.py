"""A small shop, an agent without a framework, and processes that crash: what the runtime's tests share."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from plimsoll.contract.model import AgentSection, Approval, Contract, Limits, Model, Retry, Tool
from plimsoll.core.calls import CallInfo, Effect, Fault, Happened, NotHappenedAndCannot, Usage
from plimsoll.core.clock import LoopClock
from plimsoll.core.events import Record
from plimsoll.gate.simulator import simulate
from plimsoll.journal.store import RunHead
from plimsoll.runtime.current import current_call
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from tests.runtime.lives import Lives

T = TypeVar("T")

ON = (Fault.TIMEOUT, Fault.CONNECTION, Fault.SERVER_ERROR, Fault.RATE_LIMITED, Fault.EMPTY)


class Refusal(ValueError):
    """The shop says no, and nothing happened."""


class Crash(BaseException):
    """The process dies here."""


class Shop:
    """The outside world: it survives every crash, and its ledger is the truth."""

    def __init__(self) -> None:
        self.ledger: list[tuple[str, float, str]] = []
        self.reads = 0

    def look(self, order: str) -> dict[str, Any]:
        self.reads += 1
        return {"order": order, "paid": 100.0}

    def refund(self, order: str, amount: float) -> dict[str, Any]:
        if amount <= 0:
            raise Refusal("an amount is above 0")
        info = current_call()
        self.ledger.append((order, amount, info.idempotency_key if info else ""))
        return {"refunded": amount}

    def verify(self, args: Mapping[str, Any], key: str) -> Any:
        done = [row for row in self.ledger if row[2] == key]
        return Happened({"refunded": done[0][1]}) if done else NotHappenedAndCannot()


async def agent(run: Run, request: dict[str, Any]) -> str:
    """Looks the order up, asks the model, refunds, and says so."""
    order = await run.call("look", {"order": request["order"]})
    answer = await run.model({"ask": "how much?", "paid": order["paid"]})
    amount = float(request.get("amount", 20.0))
    try:
        done = await run.call("refund", {"order": request["order"], "amount": amount})
    except Exception as error:
        return f"not done: {error}"
    return f"{answer.text} {done['refunded']:g} back"


async def sure(prompt: Any) -> ModelReply:
    return ModelReply(text="Sure:", usage=Usage(input_tokens=10, output_tokens=5))


def contract(**changes: Any) -> Contract:
    """The contract that the tests start from."""
    refund = Tool(
        effect=Effect.WRITE,
        timeout_s=5.0,
        proves_nothing_happened=("Refusal",),
        approval=Approval(when="amount > 50", approvers=("ana", "bo"), expires_s=600.0),
    )
    tools = {"look": Tool(effect=Effect.READ, timeout_s=5.0, retry=Retry(on=ON)), "refund": refund}
    tools |= changes.pop("tools", {})
    settings: dict[str, Any] = {
        "agent": AgentSection(name="desk"),
        "limits": Limits(seconds=60.0),
        "models": {
            "primary": Model(timeout_s=10.0, fallback=("backup", "canned"), retry=Retry(on=ON, max_attempts=2)),
            "backup": Model(timeout_s=10.0),
            "canned": Model(canned="I cannot say now."),
        },
    }
    return Contract(**(settings | changes | {"tools": tools}))


class CrashingStore:
    """Crashes at its nth append, keeping `keep` of the batch. Whatever the process still does then comes to nothing."""

    def __init__(self, inner: Any, *, at: int, keep: int) -> None:
        self._inner = inner
        self._left = at
        self._keep = keep

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, records: Sequence[Record]) -> frozenset[str]:
        self._left -= 1
        if self._left <= 0:
            if self._left == 0:
                await self._inner.append(list(records)[: self._keep])
            raise Crash
        refused: frozenset[str] = await self._inner.append(records)
        return refused

    async def claim(self, *args: Any, **options: Any) -> RunHead:
        if self._left <= 0:
            raise Crash
        head: RunHead = await self._inner.claim(*args, **options)
        return head


Intercept = Callable[[str, CallInfo, Exchange, Send], Awaitable[Any]]


class Desk(Lives):
    """A shop, a store, and as many lives of the agent's process as a test wants."""

    def __init__(self, *, verify: bool = True, intercept: Intercept | None = None, **changes: Any) -> None:
        super().__init__(intercept=intercept)
        self.shop = Shop()
        self.contract = contract(**changes)
        self.verify = verify
        self.models: dict[str, Any] = {"primary": sure, "backup": sure}
        self.agent: Any = agent
        self.tools: list[Any] = [self.shop.look, self.shop.refund]
        self.judges: dict[str, Any] = {}
        self.fingerprint = "v1"

    def live(self, store: Any = None) -> Harness:
        """Begins a life of the process; those before it are dead."""
        return Harness(
            self.contract,
            agent=self.agent,
            surroundings=self.surroundings(store),
            children=self.children(),
            guards=self.judges,
            fingerprint=self.fingerprint,
            **self.means(),
        )

    def children(self) -> dict[str, Any]:
        """The agents that work for this one."""
        return {}

    def means(self) -> dict[str, Any]:
        """What the agent, and whoever works for it, does its work with."""
        verifiers = {"refund": self.shop.verify} if self.verify else {}
        return {"tools": self.tools, "models": self.models, "verifiers": verifiers}

    async def events(self, run_id: str = "r") -> list[str]:
        """The names of the run's events."""
        return [type(record.event).__name__ for record in await self.store.read(run_id)]


class Death:
    """Lets a process die in the middle of a call, once: `intercept` is its interceptor; what is called asks for it."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._over = False

    async def now(self) -> None:
        """Never returns, the first time."""
        if not self._asked.is_set():
            self._asked.set()
            await asyncio.Event().wait()

    async def intercept(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        if self._over:
            return await send()
        sending, asked = asyncio.ensure_future(send()), asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait([sending, asked], return_when=asyncio.FIRST_COMPLETED)
            if self._asked.is_set():
                self._over = True
                raise Crash
            return sending.result()
        finally:
            for task in (sending, asked):
                task.cancel()


def simulated(main: Callable[[], Any]) -> Any:
    """Runs an async test in virtual time."""
    return simulate(main, limit_s=100_000.0)


async def pass_time(seconds: float) -> None:
    """Lets virtual seconds pass."""
    await LoopClock().sleep(seconds)
