"""Forged faults are taken for what they are, all the way through the pipeline."""

from typing import Any

import pytest
from pydantic_ai import BinaryContent
from pydantic_ai.exceptions import ModelHTTPError, ModelRateLimitError
from pydantic_ai.messages import FilePart, ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.usage import RequestUsage

from plimsoll.adapters.pydantic_ai import PydanticForger
from plimsoll.adapters.pydantic_ai.forge import RETRY_AFTER_S, flood
from plimsoll.adapters.pydantic_ai.models import inspect_response
from plimsoll.contract.model import Model, OutputRule, Retry, Tool
from plimsoll.core.calls import CallInfo, CallKind, Effect, Ending, Fault
from plimsoll.core.clock import LoopClock
from plimsoll.core.events import AttemptSettled
from plimsoll.runtime.exchange import Exchange, Send
from tests.adapters.bench import ON, Desk, call, shop_agent, simulated

FORGER = PydanticForger()
RAISED = {Fault.RATE_LIMITED, Fault.SERVER_ERROR, Fault.CLIENT_ERROR, Fault.CONNECTION, Fault.TIMEOUT, Fault.EXCEPTION}
OF_MODELS = RAISED | {
    Fault.EMPTY,
    Fault.WHITESPACE,
    Fault.TRUNCATED,
    Fault.FILTERED,
    Fault.MALFORMED,
    Fault.ERROR_IN_SUCCESS,
}
OF_TOOLS = RAISED | {Fault.EMPTY, Fault.WHITESPACE, Fault.MALFORMED, Fault.WRONG_SHAPE, Fault.ERROR_IN_SUCCESS}


def forging(site_to_fault: str, fault: Fault, *, times: int = 1) -> Any:
    """An interceptor that shows `fault` at a site."""
    struck: list[str] = []

    async def intercept(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        if site != site_to_fault or len(struck) >= times:
            return await send()
        struck.append(site)
        native = None if fault in RAISED else await send()
        return FORGER.forge(fault, exchange, native)

    return intercept


async def attempts(desk: Desk) -> list[tuple[str, str]]:
    return [(event.dependency, event.fault) for event in await desk.events(AttemptSettled)]


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("fault", sorted(OF_MODELS))
def test_a_models_fault_is_taken_for_what_it_is(fault: Fault, text: bool) -> None:
    async def main() -> None:
        steps: list[Any] = ["Done."] if text else [[call("look", "c1", order="W1")], "Done."]
        retry = Retry(on=tuple(OF_MODELS), max_attempts=2)
        desk = Desk(*steps, intercept=forging("primary", fault), models={"primary": Model(retry=retry)})
        desk.models.pop("backup")
        result = await desk.live().run("Hello", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done."), result.reason
        assert await attempts(desk) == [("primary", fault)]

    simulated(main)


@pytest.mark.parametrize("fault", sorted(OF_TOOLS))
def test_a_tools_fault_is_taken_for_what_it_is(fault: Fault) -> None:
    async def main() -> None:
        shape = OutputRule(type="object", required=("order",))
        look = Tool(effect=Effect.READ, retry=Retry(on=tuple(OF_TOOLS)), output=shape)
        desk = Desk([call("look", "c1", order="W1")], "Done.", intercept=forging("look", fault), tools={"look": look})
        result = await desk.live().run("Hello", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done."), result.reason
        # Half a document is a text where an object belongs: that is how a tool's malformed answer shows.
        shown = Fault.WRONG_SHAPE if fault is Fault.MALFORMED else fault
        assert await attempts(desk) == [("look", shown)]

    simulated(main)


@pytest.mark.parametrize("fault", [Fault.CONNECTION, Fault.SERVER_ERROR, Fault.TIMEOUT, Fault.EMPTY, Fault.WRONG_SHAPE])
def test_a_write_with_a_fault_is_in_doubt_and_happens_once(fault: Fault) -> None:
    async def main() -> None:
        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            native = await send()
            return FORGER.forge(fault, exchange, native) if site == "refund" else native

        refund = Tool(output=OutputRule(type="object", required=("refunded",)))
        desk = Desk([call("refund", "c1", order="W1", amount=20.0)], "Done.", intercept=lose, tools={"refund": refund})
        result = await desk.live().run("Refund W1", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done."), result.reason
        assert desk.shop.refunds == [("W1", 20.0)]
        assert ("in_doubt", "refund", fault) in desk.kinds()

    simulated(main)


def test_a_rate_limit_asks_to_wait_and_is_obeyed() -> None:
    async def main() -> None:
        models = {"primary": Model(retry=Retry(on=ON, base_s=0.001, cap_s=0.002))}
        desk = Desk("Done.", intercept=forging("primary", Fault.RATE_LIMITED), models=models)
        desk.models.pop("backup")
        began = LoopClock().monotonic()
        await desk.live().run("Hello", run_id="r")
        assert LoopClock().monotonic() - began >= RETRY_AFTER_S

    simulated(main)


def test_the_errors_are_the_frameworks_own() -> None:
    exchange: Any = type("Exchange", (), {"kind": CallKind.MODEL, "dependency": "primary"})()
    with pytest.raises(ModelRateLimitError) as caught:
        FORGER.forge(Fault.RATE_LIMITED, exchange, None)
    assert isinstance(caught.value, ModelHTTPError)
    assert (caught.value.status_code, caught.value.retry_after) == (429, 2.0)


def test_what_cannot_be_shown_is_said() -> None:
    exchange: Any = type("Exchange", (), {"kind": CallKind.TOOL, "dependency": "look"})()
    with pytest.raises(LookupError, match="look cannot show truncated"):
        FORGER.forge(Fault.TRUNCATED, exchange, {})


def test_a_structured_answer_can_be_malformed_too() -> None:
    async def main() -> None:
        desk = Desk(
            [call("final_result", "o1", response=7)],
            agent=shop_agent(output_type=int),
            intercept=forging("primary", Fault.MALFORMED),
            models={"primary": Model(retry=Retry(on=(Fault.MALFORMED,)))},
        )
        desk.models.pop("backup")
        result = await desk.live().run("Hello", run_id="r")
        assert result.output == 7
        assert await attempts(desk) == [("primary", Fault.MALFORMED)]

    simulated(main)


def test_a_flood_of_tokens_is_halted() -> None:
    async def main() -> None:
        async def drown(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            native = await send()
            return flood(native) if site == "primary" else native

        desk = Desk([call("look", "c1", order="W1")], "Done.", intercept=drown)
        result = await desk.live().run("Hello", run_id="r")
        assert result.ending is Ending.HALTED
        assert "tokens" in result.reason

    simulated(main)


def test_a_flood_keeps_the_answer() -> None:
    true = ModelResponse(parts=[TextPart("Hi.")], usage=RequestUsage(input_tokens=3, output_tokens=2))
    flooded = flood(true)
    assert (flooded.text, flooded.usage.input_tokens, flooded.usage.output_tokens) == ("Hi.", 3, 1_000_000)
    assert true.usage.output_tokens == 2


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (ModelResponse(parts=[TextPart("Half an ans")], state="interrupted"), Fault.TRUNCATED),
        (ModelResponse(parts=[], state="suspended"), None),
        (ModelResponse(parts=[ToolCallPart("", {})]), Fault.MALFORMED),
        (ModelResponse(parts=[ToolCallPart("look", "[1]")]), Fault.MALFORMED),
        (ModelResponse(parts=[ToolCallPart("look", "")]), None),
        (ModelResponse(parts=[ToolCallPart("look", None)]), None),
        (ModelResponse(parts=[ThinkingPart("Hm.")]), Fault.EMPTY),
        (ModelResponse(parts=[FilePart(BinaryContent(b"x", media_type="image/png"))]), None),
    ],
)
def test_an_answer_is_taken_for_what_it_is(response: ModelResponse, fault: Fault | None) -> None:
    problem = inspect_response(response, ModelRequestParameters()).problem
    assert (problem and problem.fault) == fault


def test_an_answer_that_should_be_json_and_is_not_is_malformed() -> None:
    parameters = ModelRequestParameters(output_mode="native")
    for text, fault in (('{"order": "W1"}', None), ('{"order": "W', Fault.MALFORMED)):
        problem = inspect_response(ModelResponse(parts=[TextPart(text)]), parameters).problem
        assert (problem and problem.fault) == fault
