"""A shop assistant built with Pydantic AI, and lives of its process: what the adapter's tests share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from plimsoll.adapters.pydantic_ai import HardenedAgent, harden
from plimsoll.adapters.pydantic_ai.subject import InlineExecutor
from plimsoll.contract.model import AgentSection, Approval, Contract, Limits, Model, Retry, Tool
from plimsoll.core.calls import Effect, Fault, Happened, NotHappenedAndCannot
from plimsoll.core.events import Event
from plimsoll.gate.simulator import simulate
from plimsoll.runtime.current import current_call
from tests.runtime.lives import Lives

ON = (Fault.TIMEOUT, Fault.CONNECTION, Fault.SERVER_ERROR, Fault.RATE_LIMITED, Fault.EMPTY)

Step = str | ModelResponse | list[ToolCallPart]


class Shop:
    """The outside world: it survives every crash, and its ledger is the truth."""

    def __init__(self) -> None:
        self.ledger: list[tuple[str, float, str]] = []
        self.reads: list[str] = []

    def verify(self, args: Mapping[str, Any], key: str) -> Any:
        done = [row for row in self.ledger if row[2] == key]
        return Happened({"refunded": done[0][1]}) if done else NotHappenedAndCannot()

    @property
    def refunds(self) -> list[tuple[str, float]]:
        """What was really paid back."""
        return [(order, amount) for order, amount, _ in self.ledger]


class Refusal(ValueError):
    """The shop says no, and nothing happened."""


def shop_agent(**options: Any) -> Agent[Shop, Any]:
    """The agent: one tool that reads, one that writes."""
    agent: Agent[Shop, Any] = Agent(deps_type=Shop, instructions="Help the customer.", name="desk", **options)

    @agent.tool
    async def look(ctx: RunContext[Shop], order: str) -> dict[str, Any]:
        """Looks an order up."""
        ctx.deps.reads.append(order)
        return {"order": order, "paid": 100.0}

    @agent.tool
    def refund(ctx: RunContext[Shop], order: str, amount: float) -> dict[str, Any]:
        """Pays money back."""
        if amount <= 0:
            raise Refusal("an amount is above 0")
        info = current_call()
        ctx.deps.ledger.append((order, amount, info.idempotency_key if info else ""))
        return {"refunded": amount}

    return agent


def call(tool: str, call_id: str = "", **args: Any) -> ToolCallPart:
    """A tool call as a model makes it. Without `call_id`, Pydantic AI makes one up."""
    return ToolCallPart(tool, args, tool_call_id=call_id) if call_id else ToolCallPart(tool, args)


def scripted(*steps: Step) -> FunctionModel:
    """A model that gives these answers in turn, whatever it is asked; which one is read off the conversation."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        step = steps[sum(isinstance(message, ModelResponse) for message in messages)]
        if isinstance(step, ModelResponse):
            return ModelResponse(parts=list(step.parts), finish_reason=step.finish_reason)
        if isinstance(step, str):
            return ModelResponse(parts=[TextPart(step)])
        return ModelResponse(parts=[ToolCallPart(part.tool_name, part.args, part.tool_call_id) for part in step])

    return FunctionModel(answer, model_name="scripted")


def tool_results(messages: Sequence[ModelMessage]) -> list[ToolReturnPart]:
    """Every tool result in a conversation."""
    return [
        part
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    ]


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
            "backup": Model(id="test", timeout_s=10.0),
            "canned": Model(canned="I cannot say now."),
        },
    }
    return Contract(**(settings | changes | {"tools": tools}))


class Desk(Lives):
    """A shop, a store, and as many lives of the agent's process as a test wants."""

    def __init__(
        self,
        *steps: Step,
        agent: Agent[Any, Any] | None = None,
        model: Any = None,
        backup: Any = None,
        intercept: Any = None,
        verify: bool = True,
        **changes: Any,
    ) -> None:
        super().__init__(intercept=intercept)
        self.shop = Shop()
        self.contract = contract(**changes)
        self.agent = agent or shop_agent()
        self.models = {"primary": model or scripted(*steps), "backup": backup or scripted("The backup says so.")}
        self.verify = verify

    def live(self, store: Any = None) -> HardenedAgent:
        """Begins a life of the process; those before it are dead."""
        return harden(
            self.agent,
            self.contract,
            deps=lambda: self.shop,
            models=self.models,
            verifiers={"refund": self.shop.verify} if self.verify else {},
            surroundings=self.surroundings(store),
            fingerprint="v1",
        )

    async def events(self, kind: type[Event] | None = None, run_id: str = "r") -> list[Any]:
        """The run's events, or those of one kind."""
        events = [record.event for record in await self.store.read(run_id)]
        return [event for event in events if kind is None or isinstance(event, kind)]


def simulated(main: Callable[[], Any]) -> Any:
    """Runs an async test in virtual time, with sync tools where they are called."""

    async def inline() -> Any:
        with Agent.using_thread_executor(InlineExecutor()):
            return await main()

    return simulate(inline, limit_s=100_000.0)
