"""Transactions by the tools of a Pydantic AI agent: their connection and their key, wherever they ask for them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent, FunctionToolset, ModelRetry, RunContext
from pydantic_ai.exceptions import ApprovalRequired
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.toolsets import ToolsetTool, WrapperToolset

from plimsoll.adapters.pydantic_ai import harden
from plimsoll.adapters.pydantic_ai.subject import hardened_subject
from plimsoll.contract.model import AgentSection, Contract, Limits, Tool
from plimsoll.core.calls import Effect, Ending, idempotency_key
from plimsoll.core.errors import Misuse
from plimsoll.core.events import DoubtRaised
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.current import current_call, current_connection
from plimsoll.runtime.databases.sqlite import SQLiteDatabase
from tests.adapters.bench import call, scripted, simulated, tool_results
from tests.adapters.mcp_shop import shop_server
from tests.runtime.banks import Bank
from tests.runtime.bench import Crash
from tests.runtime.threads import SOON_S, Slow, surroundings


def contract(**changes: Any) -> Contract:
    tool = Tool(**{"effect": Effect.TRANSACTION, "connection": "bank", "timeout_s": 5.0, **changes})
    return Contract(agent=AgentSection(name="payer"), limits=Limits(seconds=60.0), tools={"pay": tool})


def paying(*functions: Any, steps: Any = None, toolset: Any = None) -> Agent[Any, Any]:
    made: Any = FunctionToolset()
    for function in functions:
        made.add_function(function, name="pay")
    model = scripted(*(steps or ([call("pay", "c1", to="ann", amount=20.0)], "Paid.")))
    return Agent(model, name="payer", toolsets=[toolset(made) if toolset else made])


class Desk:
    """A bank, a journal, and lives of the process."""

    def __init__(self, folder: Path, agent: Agent[Any, Any], bank: Bank, **tool: Any) -> None:
        self.bank = bank
        self.agent = agent
        self.store = MemoryStore()
        self.contract = contract(**tool)
        self.lives = 0
        self.intercept: Any = None

    def live(self) -> Any:
        self.store.kill_owner(f"life-{self.lives}")
        self.lives += 1
        around = surroundings(self.store, owner=f"life-{self.lives}")
        if self.intercept is not None:
            object.__setattr__(around, "interceptor", self.intercept)
        connections = {"bank": SQLiteDatabase(self.bank.path)}
        return harden(self.agent, self.contract, connections=connections, surroundings=around, fingerprint="v1")


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_crash_after_the_commit_pays_once(tmp_path: Path, in_thread: bool) -> None:
    async def main() -> None:
        bank = Bank(tmp_path / "bank.db")
        desk = Desk(tmp_path, paying(bank.pay_in_thread if in_thread else bank.pay), bank)

        async def die(site: str, info: Any, exchange: Any, send: Any) -> Any:
            answer = await send()
            if site == "pay.commit":
                raise Crash
            return answer

        desk.intercept = die
        with pytest.raises(Crash):
            await desk.live().run("Pay", run_id="r")
        assert bank.payments == [("ann", 20.0)]
        desk.intercept = None
        (result,) = await desk.live().wake()
        assert (result.ending, result.output, bank.payments) == (Ending.COMPLETE, "Paid.", [("ann", 20.0)])
        assert bank.rows("SELECT key FROM paid") == [(idempotency_key("r", "1/c1"),)]

    simulated(main)


def test_a_tool_that_wants_the_model_to_try_again_is_rolled_back(tmp_path: Path) -> None:
    async def main() -> None:
        bank = Bank(tmp_path / "bank.db")

        def pay(to: str, amount: float) -> Any:
            done = bank.paying(to, amount)
            if amount > 10:
                raise ModelRetry("at most 10")
            return done

        steps = ([call("pay", "c1", to="ann", amount=20.0)], [call("pay", "c2", to="ann", amount=5.0)], "Paid.")
        desk = Desk(tmp_path, paying(pay, steps=steps), bank)
        result = await desk.live().run("Pay", run_id="r")
        assert (result.output, bank.payments) == ("Paid.", [("ann", 5.0)])
        assert not [one for one in await desk.store.read("r") if isinstance(one.event, DoubtRaised)]

    simulated(main)


def test_a_tool_that_asks_to_be_approved_is_rolled_back(tmp_path: Path) -> None:
    async def main() -> None:
        bank = Bank(tmp_path / "bank.db")

        def pay(ctx: RunContext[Any], to: str, amount: float) -> Any:
            done = bank.paying(to, amount)
            if not ctx.tool_call_approved:
                raise ApprovalRequired
            return done

        desk = Desk(tmp_path, paying(pay), bank)
        result = await desk.live().run("Pay", run_id="r")
        assert bank.begun == 1
        assert bank.payments == []
        assert result.ending is Ending.FAILED  # nobody approves by Pydantic AI's own means here

    simulated(main)


def test_a_thread_that_outlives_its_attempt_has_no_effect(tmp_path: Path) -> None:
    async def main() -> None:
        bank, slow = Bank(tmp_path / "bank.db"), Slow()

        def pay(to: str, amount: float) -> Any:
            slow.pay(amount)
            return bank.paying(to, amount)

        desk = Desk(tmp_path, paying(pay), bank, timeout_s=SOON_S)
        hardened = desk.live()
        with ThreadPoolExecutor() as pool, Agent.using_thread_executor(pool):
            result = await hardened.run("Pay", run_id="r")
            slow.go.set()
        (told,) = tool_results(result.native.all_messages())
        assert "timeout" in str(told.content)
        while hardened.harness.env.transactions._left:
            await hardened.harness.env.clock.sleep(0.001)
        assert (slow.paid, bank.payments) == ([20.0], [])

    asyncio.run(main())


# --------------------------------------------------------------------------------------------- the call that is served


def test_a_key_is_known_in_threads_helpers_and_hooks(tmp_path: Path) -> None:
    keys: dict[str, str] = {}

    def note(where: str) -> None:
        info = current_call()
        keys[where] = info.idempotency_key if info else ""

    def pay(to: str, amount: float) -> Any:
        note("thread")
        current_connection().execute("SELECT 1")
        return _helping(note)

    class Hooked(WrapperToolset[Any]):
        """Stands between a call and its tool."""

        async def call_tool(self, name: str, tool_args: Any, ctx: RunContext[Any], tool: ToolsetTool[Any]) -> Any:
            note("hook")
            return await super().call_tool(name, tool_args, ctx, tool)

    async def main() -> None:
        bank = Bank(tmp_path / "bank.db")
        desk = Desk(tmp_path, paying(pay, toolset=Hooked), bank)
        result = await desk.live().run("Pay", run_id="r")
        assert result.ending is Ending.COMPLETE, result.reason

    asyncio.run(main())
    assert keys == dict.fromkeys(("hook", "thread", "helper"), idempotency_key("r", "1/c1"))


def test_a_key_is_known_where_the_call_of_an_mcp_server_is_processed(tmp_path: Path) -> None:
    keys: list[tuple[str, str]] = []

    async def process(ctx: RunContext[Any], call_tool: Any, name: str, args: dict[str, Any]) -> Any:
        info = current_call()
        assert info is not None
        keys.append((name, info.idempotency_key))
        return await call_tool(name, args)

    async def main() -> None:
        ledger = tmp_path / "ledger"
        ledger.touch()
        toolset: Any = MCPToolset(shop_server(ledger), id="shop", process_tool_call=process)
        agent = Agent(
            scripted([call("refund", "c1", order="W1", amount=5.0)], "Done."), toolsets=[toolset], name="payer"
        )
        hardened = harden(
            agent, contract(), connections={"bank": "sqlite:///x"}, surroundings=surroundings(MemoryStore())
        )
        result = await hardened.run("Refund W1", run_id="r")
        assert (result.ending, ledger.read_text()) == (Ending.COMPLETE, "W1 5.0\n"), result.reason

    asyncio.run(main())
    assert keys == [("refund", idempotency_key("r", "1/c1"))]


def _helping(note: Any) -> Any:
    note("helper")
    return {"paid": True}


def test_the_gate_never_reaches_the_contracts_own_database(tmp_path: Path) -> None:
    bank = Bank(tmp_path / "bank.db")
    hardened = Desk(tmp_path, paying(bank.pay), bank).live()
    subject = hardened_subject(hardened)
    with pytest.raises(Misuse, match="its world brings no database"):
        subject.live(surroundings(MemoryStore()), {"primary": hardened.agent.model}, None)
