"""An agent whose tools are an MCP server's: what is journaled, what counts as done, and a server that dies."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastmcp.client.transports import PythonStdioTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ToolReturnPart

from plimsoll.adapters.pydantic_ai import HardenedAgent, describe, harden, survey
from plimsoll.contract.model import AgentSection, Approval, Contract, Limits, Retry, Tool
from plimsoll.contract.writing import initial_effect
from plimsoll.core.calls import Effect, Ending, Fault, Happened, NotHappenedAndCannot
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallIntended, CallSettled, DoubtRaised, Event, ValueRecorded
from plimsoll.journal.memory import MemoryStore
from plimsoll.observability.findings import MemorySink
from plimsoll.runtime.surroundings import Surroundings
from tests.adapters import mcp_shop
from tests.adapters.bench import call, scripted, tool_results
from tests.adapters.mcp_shop import shop_server

ROOT = Path(__file__).parents[2]


class Desk:
    """A shop behind an MCP server, and as many lives of the agent's process as a test wants."""

    def __init__(self, folder: Path, *steps: Any, real: bool = False, prefix: str = "", **tools: Tool) -> None:
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.steps = steps
        self.real = real
        self.prefix = prefix
        self.store = MemoryStore()
        self.sink = MemorySink()
        self.lives = 0
        self.contract = Contract(
            agent=AgentSection(name="desk"),
            limits=Limits(seconds=60.0),
            tools={"look": Tool(effect=Effect.READ, retry=Retry(on=(Fault.CONNECTION,), base_s=0.01)), **tools},
        )

    @property
    def payments(self) -> list[str]:
        return self.ledger.read_text().splitlines()

    def toolset(self) -> Any:
        script = PythonStdioTransport(
            mcp_shop.__file__, env={"MCP_SHOP_LEDGER": str(self.ledger), "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
        )
        toolset: Any = MCPToolset(script if self.real else shop_server(self.ledger), id="shop")
        return toolset.prefixed(self.prefix) if self.prefix else toolset

    def verify(self, args: Mapping[str, Any], key: str) -> Any:
        paid = f"{args['order']} {float(args['amount'])}" in self.payments
        return Happened("it was refunded") if paid else NotHappenedAndCannot()

    def live(self, toolset: Any = None, *, verify: bool = True) -> HardenedAgent:
        self.store.kill_owner(f"life-{self.lives}")
        self.lives += 1
        agent: Agent[None, Any] = Agent(scripted(*self.steps), toolsets=[toolset or self.toolset()], name="desk")
        return harden(
            agent,
            self.contract,
            verifiers={"refund": self.verify} if verify else {},
            surroundings=Surroundings(store=self.store, owner=f"life-{self.lives}", sinks=(self.sink,)),
            fingerprint="v1",
        )

    async def events(self, kind: type[Event]) -> list[Any]:
        return [record.event for record in await self.store.read("r") if isinstance(record.event, kind)]


REFUND = [call("refund", "c2", order="W1", amount=20.0)]


def test_listing_and_calling_an_mcp_servers_tools_is_journaled(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path, [call("look", "c1", order="W1")], REFUND, "Done.")
        result = await desk.live().run("Refund W1", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done."), result.reason
        (listed,) = await desk.events(ValueRecorded)
        assert listed.key == "tools/shop"
        assert [tool["name"] for tool in listed.value["tools"]] == ["look", "refund", "remember"]
        settled = await desk.events(CallSettled)
        assert [event.key for event in settled] == ["1:primary", "1/c1", "2:primary", "2/c2", "3:primary"]
        assert settled[1].outcome.value == {"paid": 100.0}
        (intended,) = await desk.events(CallIntended)  # undeclared, so a write
        assert (intended.dependency, desk.payments) == ("refund", ["W1 20.0"])

    asyncio.run(main())


class Gone(MCPToolset[Any]):
    """A server that cannot be reached."""

    async def __aenter__(self) -> Any:
        raise ConnectionRefusedError("nobody listens")


def test_a_replay_needs_no_server(tmp_path: Path) -> None:
    async def main() -> None:
        rule = Tool(approval=Approval(approvers=("ana",)))
        desk = Desk(tmp_path, [call("look", "c1", order="W1")], REFUND, "Done.", refund=rule)
        first = desk.live()
        parked = await first.run("Refund W1", run_id="r")
        assert parked.ending is Ending.PARKED
        await first.approvals.decide(parked.waiting_for[0].request_id, approve=False, by="ana")
        (result,) = await desk.live(Gone(shop_server(desk.ledger), id="shop")).wake()
        assert (result.ending, result.output, desk.payments) == (Ending.COMPLETE, "Done.", []), result.reason

    asyncio.run(main())


def test_a_server_that_changed_its_tools_changes_nothing_for_a_run_that_has_begun(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path, REFUND, "Done.", refund=Tool(approval=Approval(approvers=("ana",))))
        first = desk.live()
        parked = await first.run("Refund W1", run_id="r")
        await first.approvals.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        changed = shop_server(desk.ledger)
        changed.add_tool(lambda: "new", name="another")
        (result,) = await desk.live(MCPToolset(changed, id="shop")).wake()
        assert (result.ending, desk.payments) == (Ending.COMPLETE, ["W1 20.0"]), result.reason

    asyncio.run(main())


def test_a_run_whose_server_cannot_be_asked_for_its_tools_waits(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path, REFUND, "Done.")
        result = await desk.live(Gone(shop_server(desk.ledger), id="shop")).run("Refund W1", run_id="r")
        assert (result.ending, result.reason.partition(":")[0]) == (Ending.PARKED, "dependencies")
        assert ("no_dependencies", "tools/shop") in [(one.kind, one.dependency) for one in desk.sink.findings]
        result = await desk.live().resume("r")
        assert (result.ending, desk.payments) == (Ending.COMPLETE, ["W1 20.0"])

    asyncio.run(main())


def test_a_write_that_its_server_says_failed_is_in_doubt(tmp_path: Path) -> None:
    """Pydantic AI tells of it by `ModelRetry`, as of a tool that did nothing. This one had paid."""

    async def main() -> None:
        desk = Desk(tmp_path, [call("refund", "c1", order="W1", amount=14.0)], "Done.")
        result = await desk.live().run("Refund W1", run_id="r")
        assert (result.ending, desk.payments) == (Ending.COMPLETE, ["W1 14.0"]), result.reason
        (told,) = tool_results(result.native.all_messages())
        assert told.content == "it was refunded"
        assert len(await desk.events(DoubtRaised)) == 1
        blind = Desk(tmp_path, [call("refund", "c1", order="W2", amount=14.0)], "Done.")
        assert (await blind.live(verify=False).run("Refund W2", run_id="r")).reason == "doubt: 1/c1"

    asyncio.run(main())


def test_a_server_whose_word_is_trusted_may_refuse(tmp_path: Path) -> None:
    async def main() -> None:
        trusted = Tool(proves_nothing_happened=("ModelRetry",))
        desk = Desk(tmp_path, [call("refund", "c1", order="W1", amount=14.0)], "Sorry.", refund=trusted)
        result = await desk.live().run("Refund W1", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Sorry."), result.reason
        assert await desk.events(DoubtRaised) == []

    asyncio.run(main())


def test_a_read_that_its_server_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path, [call("look", "c1", order="lost")], "No such order.")
        result = await desk.live().run("Look", run_id="r")
        assert result.output == "No such order."
        (told,) = tool_results(result.native.all_messages())
        assert isinstance(told, ToolReturnPart)
        assert told.outcome == "retried"
        settled = (await desk.events(CallSettled))[1]
        assert settled.outcome.error.fault is Fault.REFUSED

    asyncio.run(main())


def test_a_server_that_dies_in_the_middle_of_a_write_leaves_a_doubt_and_is_started_again(tmp_path: Path) -> None:
    async def main() -> None:
        steps = [[call("refund", "c1", order="W1", amount=13.0)], [call("look", "c2", order="W1")], REFUND, "Done."]
        desk = Desk(tmp_path, *steps, real=True)
        async with desk.live() as hardened:
            result = await hardened.run("Refund W1", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done."), result.reason
        assert desk.payments == ["W1 13.0", "W1 20.0"]
        (doubt,) = await desk.events(DoubtRaised)
        assert (doubt.key, doubt.fault) == ("1/c1", Fault.CONNECTION)

    asyncio.run(main())


def test_a_process_that_is_given_up_in_mid_call_goes_on_with_a_new_server(tmp_path: Path) -> None:
    async def main() -> None:
        slow = Tool(timeout_s=50.0)
        desk = Desk(tmp_path, [call("refund", "c1", order="W1", amount=15.0)], "Done.", real=True, refund=slow)
        first = desk.live()
        running = asyncio.ensure_future(first.run("Refund W1", run_id="r"))
        while not desk.payments:
            await SystemClock().sleep(0.05)
        running.cancel()
        await asyncio.wait([running])
        first.harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done."), result.reason
        assert desk.payments == ["W1 15.0"]

    asyncio.run(main())


def test_tools_with_a_prefix_have_it_in_the_contract_too(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(
            tmp_path, [call("shop_look", "c1", order="W1")], "Done.", prefix="shop", shop_look=Tool(effect=Effect.READ)
        )
        result = await desk.live().run("Look", run_id="r")
        assert result.output == "Done.", result.reason
        settled = (await desk.events(CallSettled))[1]
        assert (settled.dependency, settled.effect) == ("shop_look", Effect.READ)

    asyncio.run(main())


def test_what_a_server_says_of_itself_is_recorded_with_its_tools(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path, REFUND, "Done.", refund=Tool(approval=Approval(approvers=("ana",))))
        toolset: Any = MCPToolset(shop_server(desk.ledger), id="shop", include_instructions=True)
        first = desk.live(toolset)
        parked = await first.run("Refund W1", run_id="r")
        (listed,) = await desk.events(ValueRecorded)
        assert (listed.value["instructions"]["content"], parked.ending) == ("Be kind.", Ending.PARKED), parked.reason
        await first.approvals.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await desk.live(toolset).wake()
        assert (result.ending, desk.payments) == (Ending.COMPLETE, ["W1 20.0"]), result.reason

    asyncio.run(main())


@pytest.mark.parametrize("calls", [2, 5])
def test_parallel_calls_share_a_connection(tmp_path: Path, calls: int) -> None:
    async def main() -> None:
        opened: list[str] = []

        class Counting(MCPToolset[Any]):
            async def __aenter__(self) -> Any:
                if not self.is_running:
                    opened.append("opened")
                return await super().__aenter__()

        batch = [call("look", f"c{number}", order=f"W{number}") for number in range(calls)]
        desk = Desk(tmp_path, batch, batch, "Done.")
        result = await desk.live(Counting(shop_server(desk.ledger), id="shop")).run("Look", run_id="r")
        assert (result.output, opened) == ("Done.", ["opened"]), result.reason

    asyncio.run(main())


def test_a_first_contract_knows_what_a_server_says_of_its_tools(tmp_path: Path) -> None:
    toolset: Any = MCPToolset(shop_server(tmp_path / "ledger"), id="shop")
    agent: Agent[None, Any] = Agent(scripted(), toolsets=[toolset.prefixed("shop")], name="desk")
    assert describe(agent).tools == ()
    shapes = {shape.name: shape for shape in survey(agent).tools}
    assert {name: initial_effect(shape)[0] for name, shape in shapes.items()} == {
        "shop_look": Effect.READ,
        "shop_refund": Effect.WRITE,
        "shop_remember": Effect.IDEMPOTENT,
    }
    assert list(shapes["shop_refund"].parameters["properties"]) == ["order", "amount"]


def test_a_server_that_cannot_be_asked_is_named(tmp_path: Path) -> None:
    gone = Gone(shop_server(tmp_path / "ledger"), id="shop")
    with pytest.raises(Misuse, match=r"could not be asked for its tools \(ConnectionRefusedError: nobody listens\)"):
        survey(Agent(scripted(), toolsets=[gone]))
