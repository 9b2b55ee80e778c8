"""What an idempotency key is: one for each call of each run, whatever becomes of its attempts."""

import asyncio
from typing import Any

import pytest

from plimsoll.contract.model import Model, Retry, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending, idempotency_key
from plimsoll.runtime.current import current_call
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from tests.runtime.bench import ON, Crash, Desk, simulated


def key() -> str:
    info = current_call()
    assert info is not None
    return info.idempotency_key


class Keys(Desk):
    """A desk that notes the key of every refund that reaches the shop, and of every `verify`."""

    def __init__(self, *fails: BaseException, effect: Effect = Effect.WRITE, **changes: Any) -> None:
        refund = Tool(effect=effect, timeout_s=5.0, retry=Retry(on=ON) if effect is Effect.IDEMPOTENT else None)
        super().__init__(tools={"refund": refund}, intercept=self.failing, **changes)
        self.fails = list(fails)
        self.sent: list[str] = []
        self.asked: list[tuple[str, str]] = []

        async def refunding(run: Run, request: Any) -> Any:
            return await run.call("refund", {"order": "W1", "amount": 20.0})

        self.agent = refunding
        really = self.shop.verify

        def verify(args: Any, asked: str) -> Any:
            self.asked.append((asked, key()))
            return really(args, asked)

        self.shop.verify = verify  # type: ignore[method-assign]

    async def failing(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        if site != "refund":
            return await send()
        self.sent.append(key())
        if self.fails:
            raise self.fails.pop(0)
        return await send()


def test_it_is_a_function_of_run_and_call_alone() -> None:
    assert idempotency_key("r", "1:refund") == idempotency_key("r", "1:refund")
    different = {idempotency_key(run, call) for run in ("r", "s") for call in ("1:refund", "2:refund")}
    assert len(different) == 4
    assert all(len(each) == 32 for each in different)


def test_every_attempt_has_the_same() -> None:
    async def main() -> None:
        desk = Keys(ConnectionError("lost"), ConnectionError("lost"), effect=Effect.IDEMPOTENT)
        await desk.live().run({}, run_id="r")
        assert desk.sent == [idempotency_key("r", "1:refund")] * 3

    simulated(main)


@pytest.mark.parametrize("effect", [Effect.IDEMPOTENT, Effect.WRITE])
def test_it_is_the_same_after_a_crash_and_a_doubt(effect: Effect) -> None:
    async def main() -> None:
        desk = Keys(Crash(), Crash(), effect=effect)
        for _ in range(2):
            with pytest.raises(Crash):
                await desk.live().run({}, run_id="r")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE
        assert set(desk.sent) == {idempotency_key("r", "1:refund")} and len(desk.sent) == 3
        assert {each for pair in desk.asked for each in pair} <= set(desk.sent)
        assert len(desk.asked) == (0 if effect is Effect.IDEMPOTENT else 2)

    simulated(main)


def test_it_is_the_same_when_a_person_lets_it_be_sent_again() -> None:
    async def main() -> None:
        desk = Keys(ConnectionError("lost"), verify=False)
        harness = desk.live()
        assert (await harness.run({}, run_id="r")).ending is Ending.PARKED
        await harness.operations.resolve("r", "1:refund", happened=False, by="ana")
        await harness.wake()
        assert desk.sent == [idempotency_key("r", "1:refund")] * 2
        assert [row[2] for row in desk.shop.ledger] == desk.sent[:1]

    simulated(main)


def test_every_rung_of_a_ladder_has_the_same() -> None:
    async def main() -> None:
        keys: list[str] = []

        async def failing(prompt: Any) -> ModelReply:
            keys.append(key())
            raise ConnectionError("down")

        async def backup(prompt: Any) -> ModelReply:
            keys.append(key())
            return ModelReply(text="Here.")

        async def asking(run: Run, request: Any) -> Any:
            return (await run.model("hello")).text

        models = {"primary": Model(fallback=("backup",)), "backup": Model()}
        desk = Desk(models=models)
        desk.agent, desk.models = asking, {"primary": failing, "backup": backup}
        assert (await desk.live().run({}, run_id="r")).output == "Here."
        assert keys == [idempotency_key("r", "1:primary")] * 2

    simulated(main)


def test_it_is_known_in_threads_helpers_and_tasks_and_nowhere_else() -> None:
    seen: dict[str, str] = {}

    def helper(where: str) -> None:
        seen[where] = key()

    def in_thread(order: str) -> str:
        helper("thread")
        return order

    async def on_loop(order: str) -> str:
        helper("loop")
        await asyncio.gather(asyncio.to_thread(helper, "nested thread"), nested())
        return order

    async def nested() -> None:
        helper("nested task")

    async def both(run: Run, request: Any) -> Any:
        assert current_call() is None
        await run.call("in_thread", {"order": "W1"})
        await run.call("on_loop", {"order": "W1"})
        assert current_call() is None

    async def main() -> None:
        desk = Desk(tools={"in_thread": Tool(effect=Effect.READ), "on_loop": Tool(effect=Effect.READ)})
        desk.agent, desk.tools = both, [in_thread, on_loop]
        await desk.live().run({}, run_id="r")

    asyncio.run(main())
    first, second = idempotency_key("r", "1:in_thread"), idempotency_key("r", "2:on_loop")
    assert seen == {"thread": first, "loop": second, "nested thread": second, "nested task": second}
