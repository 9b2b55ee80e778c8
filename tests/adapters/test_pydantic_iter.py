"""`iter`: a run from node to node, streamed, driven by hand, left, and cut off."""

import asyncio
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_graph import End

from plimsoll.core.calls import Ending, Status
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallSettled
from tests.adapters.bench import Desk, call, simulated
from tests.adapters.streamed import BROKEN, DONE, LOOK, Audience, calls, desk_of, streamed
from tests.runtime.bench import Crash


def test_iter_takes_a_run_from_node_to_node() -> None:
    async def main() -> None:
        model = FunctionModel(_in_turn([call("look", "c1", order="W1")], "Done."))
        desk = desk_of(model)
        names: list[str] = []
        async with desk.live().iter("Look", run_id="r") as nodes:
            async for node in nodes:
                names.append(type(node).__name__)
            assert nodes.agent_run.result is not None
        turn = ["ModelRequestNode", "CallToolsNode"]
        assert names == ["UserPromptNode", *turn, *turn, "End"]
        assert (nodes.result.ending, nodes.result.output) == (Ending.COMPLETE, "Done.")
        assert await calls(desk) == ["1:primary", "1/c1", "2:primary"]
        async with desk.live().iter("Look", run_id="r") as again:
            assert [node async for node in again] == []
            with pytest.raises(Misuse, match="has ended before"):
                _ = again.agent_run
        assert again.result.output == "Done."

    simulated(main)


def _in_turn(*steps: Any) -> Any:
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        step = steps[sum(isinstance(message, ModelResponse) for message in messages)]
        return ModelResponse(parts=[TextPart(step)] if isinstance(step, str) else list(step))

    return answer


def test_iter_streams_a_node_and_drives_by_hand() -> None:
    async def main() -> None:
        audience = Audience()
        desk = desk_of(streamed(LOOK, (BROKEN, DONE)))
        async with desk.live().iter("Look", run_id="r") as nodes:
            run: Any = nodes.agent_run
            node: Any = run.next_node
            while not isinstance(node, End):
                if hasattr(node, "stream"):
                    async with node.stream(run.ctx) as stream:
                        async for event in stream:
                            audience.show(event)
                node = await run.next(node)
        assert nodes.result.output == "All done.", nodes.result.reason
        assert audience.came == ["look(", ")", "Your ord", "<retry>", "All ", "done."]

    simulated(main)


def test_iter_ends_where_the_run_parks() -> None:
    async def main() -> None:
        model = FunctionModel(_in_turn([call("refund", "c1", order="W1", amount=80.0)], "Done."))
        desk = desk_of(model)
        hardened = desk.live()
        after: list[str] = []
        async with hardened.iter("Refund", run_id="r") as nodes:
            async for _ in nodes:
                pass
            after.append("never")
        assert (nodes.result.ending, after) == (Ending.PARKED, [])
        await hardened.approvals.decide(nodes.result.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()  # without anybody who iterates
        assert (result.output, desk.shop.refunds) == ("Done.", [("W1", 80.0)])

    simulated(main)


@pytest.mark.parametrize("how", ["break", "cancel", "crash"])
def test_iter_that_is_left_gives_the_run_up(how: str) -> None:
    async def main() -> None:
        model = FunctionModel(_in_turn([call("refund", "c1", order="W1", amount=20.0)], "Done."))
        desk = desk_of(model)

        async def some() -> None:
            async with desk.live().iter("Refund", run_id="r") as nodes:
                async for node in nodes:
                    if Agent.is_call_tools_node(node):
                        if how == "crash":
                            raise Crash
                        if how == "cancel":
                            await LoopClock().sleep(1e6)
                        break

        task = asyncio.ensure_future(some())
        await LoopClock().sleep(1.0)
        task.cancel()
        await asyncio.wait([task])
        assert (task.cancelled(), task.cancelled() or task.exception() is None) == (how == "cancel", how != "crash")
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert desk.shop.refunds == []
        (result,) = await desk.live().wake()
        assert (result.ending, desk.shop.refunds) == (Ending.COMPLETE, [("W1", 20.0)]), result.reason

    simulated(main)


def test_an_error_between_two_nodes_is_the_agents() -> None:
    async def main() -> None:
        desk = desk_of(FunctionModel(_in_turn("Done.")))
        with pytest.raises(KeyError):
            async with desk.live().iter("Look", run_id="r") as nodes:
                async for _ in nodes:
                    raise KeyError("order")
        assert nodes.result.ending is Ending.FAILED
        assert nodes.result.reason == "KeyError: 'order'"

    simulated(main)


# -- leaving a response


def test_a_response_that_is_cut_off_is_cut_off_again_on_replay() -> None:
    async def main() -> None:
        async def cut_off(desk: Desk) -> Any:
            async with desk.live().iter("Look", run_id="r") as nodes:
                async for node in nodes:
                    if Agent.is_model_request_node(node):
                        await cut_after_two(node, nodes.agent_run.ctx)
            return nodes.result

        async def cut_after_two(node: Any, ctx: Any) -> None:
            async with node.stream(ctx) as stream:
                async for event in stream:
                    if isinstance(event, PartDeltaEvent):
                        await stream.cancel()

        desk = desk_of(streamed(["One ", "two ", "three ", "four"]))
        first = await cut_off(desk)
        assert (first.ending, first.output) == (Ending.DEGRADED, "One two ")
        assert first.reason == "its last response was left before its end"
        (settled,) = await desk.events(CallSettled)
        assert (settled.outcome.status, settled.outcome.value["response"]["state"]) == (Status.ABANDONED, "interrupted")
        again = desk_of(streamed(["never asked"]))
        await again.store.claim("r", owner="life-0", at=0.0)
        await again.store.append((await desk.store.read("r"))[:-1])
        result = await cut_off(again)
        assert (result.ending, result.output) == (Ending.DEGRADED, "One two "), result.reason
        assert await calls(again) == ["1:primary"]

    simulated(main)


def test_an_answer_whose_receiver_left_before_its_end_is_no_whole_one() -> None:
    async def main() -> None:
        desk = desk_of(streamed(LOOK, ["All ", "done."]))
        async with desk.live().iter("Look", run_id="r") as nodes:
            async for node in nodes:
                if Agent.is_model_request_node(node):
                    async with node.stream(nodes.agent_run.ctx) as stream:
                        async for event in stream:
                            if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                                break
        assert (nodes.result.ending, nodes.result.output) == (Ending.DEGRADED, "All ")
        assert nodes.result.reason == "its last response was left before its end"

    simulated(main)
