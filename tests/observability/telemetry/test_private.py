"""What an agent was asked, did and answered never leaves by telemetry, unless the contract says so. Secrets are planted
wherever they can get in."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.contract.model import TelemetrySection
from plimsoll.core.calls import Ending, Usage
from plimsoll.core.errors import Rejected
from plimsoll.observability.telemetry.spans import error_type
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from tests.observability.telemetry.heard import Heard, ToldDesk
from tests.runtime.bench import Refusal, pass_time, simulated

SECRET = "s3cr3t-4929"


class PrivateDesk(ToldDesk):
    """A desk where everything that can hold a secret does."""

    def __init__(self, heard: Heard, **changes: Any) -> None:
        super().__init__(heard, **changes)
        self.asked = 0
        self.models = {"primary": self.answers, "backup": self.answers}
        self.tools = [self.look, self.refund, self.breaks]

    def look(self, order: str) -> dict[str, Any]:
        return {"order": order, "paid": 100.0, "card": f"{SECRET}-result"}

    def refund(self, order: str, amount: float) -> dict[str, Any]:
        if amount < 0:
            raise Refusal(f"{SECRET}-refusal")
        return {"refunded": amount, "to": f"{SECRET}-result"}

    def breaks(self, why: str) -> dict[str, Any]:
        raise RuntimeError(f"{SECRET}-exception", why)

    async def answers(self, prompt: Any) -> ModelReply:
        self.asked += 1
        if self.asked == 1:
            raise ConnectionError(f"{SECRET}-connection")
        if self.asked == 2:
            return ModelReply(text=f"Error 500: {SECRET}-error", usage=Usage(input_tokens=1))
        return ModelReply(text=f"{SECRET}-answer", usage=Usage(input_tokens=10, output_tokens=5))


async def everything(run: Run, request: dict[str, Any]) -> str:
    order = f"{SECRET}-args"
    await run.call("look", {"order": order})
    await run.model({"ask": f"{SECRET}-prompt"})
    for name, args in (("refund", {"order": order, "amount": -1.0}), ("breaks", {"why": order})):
        try:
            await run.call(name, args)
        except Exception as error:
            assert SECRET in str(error)
    await run.wait_for_signal("go")
    try:
        await run.call("refund", {"order": order, "amount": 80.0})
    except Rejected as error:
        assert SECRET in str(error)
    await run.call("refund", {"order": order, "amount": 10.0})
    if request.get("fails"):
        raise ValueError(f"{SECRET}-end")
    return f"{SECRET}-output"


async def planted(heard: Heard, *, fails: bool, record_content: bool) -> Ending:
    """A run with a signal, a denied approval and an end, each with a secret in it."""
    desk = PrivateDesk(heard, telemetry=TelemetrySection(record_content=record_content))
    desk.agent = everything
    live = desk.live()
    result = await live.run({"ask": f"{SECRET}-input", "fails": fails}, run_id="r")
    while result.ending is Ending.PARKED:
        if result.reason.startswith("doubt"):
            key = result.reason.rpartition(": ")[2]
            await live.operations.resolve(
                "r", key, happened=True, by="ana", value={"x": f"{SECRET}-value"}, note=f"{SECRET}-note"
            )
        elif result.waiting_for:
            note = f"{SECRET}-note"
            await live.operations.decide(result.waiting_for[0].request_id, approve=False, by="ana", note=note)
        else:
            await live.operations.signal("r", "go", {"card": f"{SECRET}-signal"}, by="ana")
        result = await live.resume("r")
    await pass_time(1)
    return result.ending


@pytest.mark.parametrize("fails", [False, True])
def test_no_planted_secret_leaves(heard: Heard, fails: bool) -> None:
    ending = simulated(lambda: planted(heard, fails=fails, record_content=False))
    assert ending is (Ending.FAILED if fails else Ending.COMPLETE)
    assert len(heard.spans) > 8 and heard.events() and heard.points()
    assert SECRET not in heard.everything()
    assert "Traceback" not in heard.everything() and not any(span.events for span in heard.spans)
    assert all(span.status.description is None for span in heard.spans)


@pytest.mark.parametrize("fails", [False, True])
def test_content_that_the_contract_lets_leave_stands_in_spans_alone(heard: Heard, fails: bool) -> None:
    simulated(lambda: planted(heard, fails=fails, record_content=True))
    spans = {name: str(value) for span in heard.spans for name, value in (span.attributes or {}).items()}
    ends = {"plimsoll.run.reason"} if fails else {"plimsoll.run.output"}
    content = {
        "plimsoll.run.input",
        "plimsoll.call.answer",
        "plimsoll.call.error",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
    }
    assert {name for name, value in spans.items() if SECRET in value} == content | ends
    assert SECRET not in repr((heard.events(), heard.points()))


@pytest.mark.parametrize("where", ["secret: x", "it is s3cr3t", "", "no class: at all", "x" * 200 + ": y", "Err\n: y"])
def test_an_error_is_told_by_a_class_name_or_not_at_all(where: str) -> None:
    assert error_type(where) in ("secret", "_OTHER")
    assert error_type("ValueError: s3cr3t") == "ValueError"


@settings(max_examples=15, deadline=None)
@given(secret=st.text(alphabet="abcdefghjkmnpqrstuvwxyz", min_size=12, max_size=24))
def test_no_input_leaves_whatever_it_is(secret: str) -> None:
    heard = Heard()

    async def agent(run: Run, request: Any) -> Any:
        await run.call("look", {"order": request})
        await run.model(request)
        raise ValueError(request)

    async def main() -> None:
        desk = PrivateDesk(heard)
        desk.agent = agent
        await desk.live().run(secret, run_id="r")

    simulated(main)
    assert secret not in heard.everything()
    heard.close()
