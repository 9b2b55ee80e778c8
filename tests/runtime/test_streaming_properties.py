"""Whatever a stream does and wherever the process dies: what is shown last is what is recorded, once."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.contract.model import Limits, Model, Retry
from plimsoll.core.calls import Ending, Status
from plimsoll.core.errors import CallFailed
from plimsoll.core.events import CallSettled
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.showing import Restarted
from tests.runtime.bench import ON, Crash, Desk, pass_time, simulated

texts = st.text("abc ", min_size=1, max_size=3)
pauses = st.sampled_from([0.0, 0.0, 0.5, 3.0])
ends = st.sampled_from(["reply", "reply", "reply", "nothing", "length", "error", "hang"])
scripts = st.tuples(st.lists(st.tuples(pauses, texts), max_size=4), ends)
"""One request to a model: what it streams, with pauses, and how that ends."""

MODELS = {
    "primary": Model(timeout_s=8.0, idle_timeout_s=2.0, fallback=("backup", "canned"), retry=Retry(on=ON)),
    "backup": Model(timeout_s=8.0),
    "canned": Model(canned="Sorry."),
}


def scripted(plan: Iterator[Any]) -> Any:
    async def model(prompt: Any) -> AsyncGenerator[str | ModelReply]:
        parts, end = next(plan, ([(0.0, "fine")], "reply"))
        for pause_s, text in parts:
            await pass_time(pause_s)
            yield text
        if end == "error":
            raise ConnectionResetError("reset by peer")
        if end == "hang":
            await pass_time(1000.0)
        if end != "nothing":
            yield ModelReply(finish_reason="length" if end == "length" else "stop")

    return model


class Receiver:
    """Somebody who is slow, leaves early, or whose process dies, as planned, part by part."""

    def __init__(self, acts: list[str]) -> None:
        self.acts = iter(acts)

    async def read(self, run: Run, prompt: str) -> str:
        text = ""
        async with run.stream(prompt) as parts:
            async for part in parts:
                text = "" if isinstance(part, Restarted) else text + part
                if "c" in text:
                    return f"left at {text}"
                match next(self.acts, ""):
                    case "slow":
                        await pass_time(20.0)
                    case "crash":
                        raise Crash
        reply: ModelReply = parts.reply
        assert reply.text == text  # what was shown last is what it ended with
        return text

    async def agent(self, run: Run, request: Any) -> list[str]:
        said = [await self.read(run, "first")]
        await run.call("refund", {"order": "W1", "amount": 20.0})
        try:
            said.append(await self.read(run, "second"))
        except CallFailed as error:
            said.append(f"failed: {error.fault}")
        return said


@settings(max_examples=150, deadline=None)
@given(
    plan=st.lists(scripts, max_size=6),
    acts=st.lists(st.sampled_from(["", "", "", "slow", "crash"]), max_size=12),
)
def test_what_is_shown_last_is_what_is_recorded_once(plan: list[Any], acts: list[str]) -> None:
    async def main() -> None:
        receiver = Receiver(acts)
        desk = Desk(models=MODELS, limits=Limits(seconds=3000.0))
        requests = iter(plan)
        desk.models = {"primary": scripted(requests), "backup": scripted(requests)}
        desk.agent = receiver.agent
        result = await _to_the_end(desk)
        assert result.ending in (Ending.COMPLETE, Ending.DEGRADED), result.reason
        assert len(desk.shop.ledger) == 1
        calls = [r.event for r in await desk.store.read("r") if isinstance(r.event, CallSettled)]
        assert [call.key for call in calls] == ["1:primary", "2:refund", "3:primary"]
        for call, said in zip((calls[0], calls[2]), result.output, strict=True):
            if call.outcome.ok:
                assert said == call.outcome.value["text"] or said.startswith("left at")
            else:
                assert said == f"left at {''.join(call.outcome.value['parts'])}"
                assert call.outcome.status is Status.ABANDONED
        await _replays(desk, result.output)

    simulated(main)


async def _to_the_end(desk: Desk) -> Any:
    """Runs, and goes on after each crash as a new process."""
    while True:
        harness = desk.live()
        try:
            return await harness.run("hi", run_id="r")
        except Crash:
            harness.journal.abandon()


async def _replays(desk: Desk, output: Any) -> None:
    """Everything but the end, gone on with where no model can be asked: it says the same."""
    again = Desk(models=MODELS, limits=Limits(seconds=3000.0))
    epoch = 0
    for record in (await desk.store.read("r"))[:-1]:
        while epoch < record.epoch:
            epoch = (await again.store.claim("r", owner="life-0", at=0.0)).epoch
        assert not await again.store.append([record])
    again.agent = Receiver([]).agent
    again.models = {}
    await pass_time(1.0)
    result = await again.live().run("hi", run_id="r")
    assert result.output == output
    assert again.shop.ledger == []
