"""`current_call().sending`: what a dependency needs to tell a sending of a write from the one before it."""

from collections.abc import Mapping
from typing import Any

import pytest

from plimsoll.contract.model import Tool
from plimsoll.core.calls import CallInfo, Effect, Ending, NotHappenedAndCannot
from plimsoll.runtime.current import current_call
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, Desk, Refusal, simulated


def sending() -> int:
    call = current_call()
    assert call is not None
    return call.sending


class Watched(Desk):
    """A desk whose first refunds come to what is given. `sent` and `verified` are the sendings that were seen."""

    def __init__(self, *comes: BaseException | None, effect: Effect = Effect.WRITE) -> None:
        refund = Tool(effect=effect, proves_nothing_happened=("Refusal",))
        super().__init__(tools={"refund": refund}, intercept=self.before)
        self.comes = list(comes)
        self.sent: list[int] = []
        self.verified: list[int] = []

        async def agent(run: Run, asked: Any) -> Any:
            return await run.call("refund", {"order": "W1", "amount": 20.0})

        self.agent = agent
        self.shop.verify = self.check  # type: ignore[method-assign]

    async def before(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        if site == "refund":
            self.sent.append(sending())
            error = self.comes.pop(0) if self.comes else None
            if error is not None:
                raise error
        return await send()

    def check(self, args: Mapping[str, Any], key: str) -> Any:
        self.verified.append(sending())
        return NotHappenedAndCannot()


def test_a_write_that_is_sent_again_has_another_sending_and_verify_is_asked_about_the_last() -> None:
    async def main() -> None:
        desk = Watched(ConnectionError("lost"), ConnectionError("lost"))
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert (desk.sent, desk.verified) == ([1, 2, 3], [1, 2])

    simulated(main)


def test_sendings_are_counted_across_crashes() -> None:
    async def main() -> None:
        desk = Watched(Crash(), Crash())
        for _ in range(2):
            with pytest.raises(Crash):
                await desk.live().run({}, run_id="r")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE
        assert (desk.sent, desk.verified) == ([1, 2, 3], [1, 2])

    simulated(main)


def test_what_is_deduplicated_is_the_same_sending_again() -> None:
    async def main() -> None:
        desk = Watched(Crash(), effect=Effect.IDEMPOTENT)
        with pytest.raises(Crash):
            await desk.live().run({}, run_id="r")
        await desk.live().wake()
        assert (desk.sent, desk.verified) == ([1, 1], [])

    simulated(main)


def test_a_read_is_sent_once_however_often_it_is_made() -> None:
    async def main() -> None:
        desk = Watched(effect=Effect.READ)
        await desk.live().run({}, run_id="r")
        assert desk.sent == [1]

    simulated(main)


def test_a_refusal_proves_nothing_of_an_earlier_sending_that_may_have_happened() -> None:
    async def main() -> None:
        desk = Watched(ConnectionError("lost"), Refusal("not today"), effect=Effect.IDEMPOTENT)
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, len(desk.sent), len(desk.verified)) == (Ending.COMPLETE, 3, 1)
        assert (await desk.events()).count("DoubtRaised") == 1

    simulated(main)


def test_nor_of_one_that_a_process_died_after() -> None:
    async def main() -> None:
        desk = Watched(Crash(), Refusal("not today"), effect=Effect.IDEMPOTENT)
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.run({}, run_id="r")
        harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert (result.ending, len(desk.sent), len(desk.verified)) == (Ending.COMPLETE, 3, 1)

    simulated(main)


def test_a_refusal_alone_is_the_end_of_what_is_idempotent_too() -> None:
    async def main() -> None:
        desk = Watched(Refusal("not today"), effect=Effect.IDEMPOTENT)
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, len(desk.sent), desk.verified) == (Ending.FAILED, 1, [])

    simulated(main)
