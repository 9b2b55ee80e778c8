"""Limits are held at every attempt, at its own price; and what only observes says what it would have done."""

from collections.abc import Callable
from typing import Any

import pytest

from plimsoll.contract.model import AgentSection, Contract, Limits, Mode, Model, Protections, Retry
from plimsoll.core.calls import Ending, Fault, Usage
from plimsoll.core.errors import CallFailed
from plimsoll.core.events import CallSettled
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.tools import tool_spec
from tests.runtime.bench import Desk, pass_time, simulated

FULL = Usage(input_tokens=100, output_tokens=4000)


async def down(prompt: Any) -> ModelReply:
    raise ConnectionError("down")


async def empty(prompt: Any) -> ModelReply:
    return ModelReply(text="", usage=FULL)


async def fine(prompt: Any) -> ModelReply:
    return ModelReply(text="Here you are.", usage=FULL)


async def silent(prompt: Any) -> ModelReply:
    return ModelReply(text=f"Here you are, and nothing of what it cost: {prompt[-2:]}")


async def ask(run: Run, request: Any) -> str:
    return (await run.model("hi")).text


class Office(Desk):
    """An agent that only asks its models."""

    def __init__(self, models: dict[str, tuple[Model, Any]], *, agent: Any = ask, **settings: Any) -> None:
        super().__init__()
        self.contract = Contract(
            agent=AgentSection(name="office"), models={name: model for name, (model, _) in models.items()}, **settings
        )
        self.asked: list[str] = []
        self.models = {name: self._counted(name, function) for name, (_, function) in models.items() if function}
        self.agent, self.tools, self.verify = agent, [], False

    def _counted(self, name: str, function: Callable[[Any], Any]) -> Any:
        async def counted(prompt: Any) -> Any:
            self.asked.append(name)
            return await function(prompt)

        return counted


def model(price: float = 0.0, *, retry: Retry | None = None, fallback: tuple[str, ...] = (), **more: Any) -> Model:
    return Model(max_output_tokens=4000, usd_per_million_output_tokens=price, retry=retry, fallback=fallback, **more)


CHEAP = Limits(usd=0.05)


def test_a_rung_that_would_pass_a_limit_at_its_own_price_is_not_asked() -> None:
    async def main() -> None:
        office = Office({"primary": (model(1.0, fallback=("dear",)), down), "dear": (model(600.0), fine)}, limits=CHEAP)
        result = await office.live().run({}, run_id="r")
        assert (result.ending, office.asked) == (Ending.HALTED, ["primary"])
        assert "'usd'" in result.reason
        assert ("limit", "dear", "usd") in office.kinds()

    simulated(main)


def test_the_rung_below_one_that_is_too_dear_is_asked() -> None:
    async def main() -> None:
        canned = Model(canned="Later, please.")
        office = Office(
            {
                "primary": (model(1.0, fallback=("dear", "canned")), down),
                "dear": (model(600.0), fine),
                "canned": (canned, None),
            },
            limits=CHEAP,
        )
        result = await office.live().run({}, run_id="r")
        assert (result.ending, result.output, office.asked) == (Ending.DEGRADED, "Later, please.", ["primary"])
        events = await office.events()
        assert events.count("RungChanged") == 1

    simulated(main)


@pytest.mark.parametrize("limits", [Limits(usd=0.05), Limits(tokens=5000)])
def test_a_retry_that_would_pass_a_limit_is_not_made(limits: Limits) -> None:
    async def main() -> None:
        again = Retry(on=(Fault.EMPTY,), max_attempts=4)
        office = Office({"primary": (model(10.0, retry=again), empty)}, limits=limits)
        result = await office.live().run({}, run_id="r")
        assert (result.ending, office.asked) == (Ending.HALTED, ["primary"])

    simulated(main)


def test_attempts_that_fit_are_made_and_all_are_paid_for() -> None:
    async def main() -> None:
        again = Retry(on=(Fault.EMPTY,), max_attempts=3)
        office = Office({"primary": (model(10.0, retry=again), empty)})
        result = await office.live().run({}, run_id="r")
        assert (result.ending, len(office.asked)) == (Ending.FAILED, 3)
        (settled,) = [r.event for r in await office.store.read("r") if isinstance(r.event, CallSettled)]
        assert settled.outcome.usage == Usage(input_tokens=300, output_tokens=12000, usd=pytest.approx(0.12))

    simulated(main)


def test_what_was_paid_above_a_canned_answer_is_charged_once() -> None:
    async def main() -> None:
        again = Retry(on=(Fault.EMPTY,), max_attempts=2)
        primary = model(10.0, retry=again, fallback=("canned",))
        office = Office({"primary": (primary, empty), "canned": (Model(canned="Later, please."), None)})
        assert (await office.live().run({}, run_id="r")).ending is Ending.DEGRADED
        (settled,) = [r.event for r in await office.store.read("r") if isinstance(r.event, CallSettled)]
        assert settled.outcome.usage == Usage(input_tokens=200, output_tokens=8000, usd=pytest.approx(0.08))

    simulated(main)


def test_a_model_that_does_not_say_what_it_used_is_charged_by_an_estimate() -> None:
    async def main() -> None:
        async def chatty(run: Run, request: Any) -> str:
            for number in range(40):
                await run.model("hi" * 1000 + str(number))
            return "done"

        office = Office({"primary": (model(10.0), silent)}, agent=chatty, limits=Limits(tokens=8000))
        result = await office.live().run({}, run_id="r")
        assert (result.ending, len(office.asked)) == (Ending.HALTED, 5)
        assert "'tokens'" in result.reason
        first = next(r.event for r in await office.store.read("r") if isinstance(r.event, CallSettled))
        assert first.outcome.usage is not None
        assert first.outcome.usage.tokens > 600
        assert first.outcome.usage.usd > 0.0

    simulated(main)


def test_limits_that_observe_let_a_dear_rung_answer_and_say_so() -> None:
    async def main() -> None:
        office = Office(
            {"primary": (model(1.0, fallback=("dear",)), down), "dear": (model(600.0), fine)},
            limits=CHEAP,
            protections=Protections(limits=Mode.OBSERVE),
        )
        result = await office.live().run({}, run_id="r")
        assert result.ending is Ending.DEGRADED
        assert [finding.observed for finding in result.findings if finding.kind == "limit"] == [True]

    simulated(main)


def test_what_only_observes_says_what_it_would_have_done() -> None:
    async def main() -> None:
        async def late(prompt: Any) -> ModelReply:
            await pass_time(15.0)
            raise ConnectionError("down")

        async def twice(run: Run, request: Any) -> str:
            for _ in range(2):
                with pytest.raises(CallFailed):
                    await run.model("hi")
            return "tried"

        primary = model(
            fallback=("backup",), retry=Retry(on=(Fault.CONNECTION,), max_attempts=2), timeout_s=10.0, slow_s=100.0
        )
        office = Office(
            {"primary": (primary, late), "backup": (model(), fine)},
            agent=twice,
            protections=Protections(retry=Mode.OBSERVE, fallback=Mode.OBSERVE, timeout=Mode.OBSERVE),
        )
        result = await office.live().run({}, run_id="r")
        would = [(one.kind, one.dependency, one.fault) for one in result.findings if one.observed]
        assert would == [
            ("would_time_out", "primary", "timeout"),
            ("would_retry", "primary", "connection"),
            ("would_fall_back", "primary", "connection"),
        ]
        assert office.asked == ["primary", "primary"]

    simulated(main)


def test_what_enforces_has_nothing_to_add() -> None:
    async def main() -> None:
        primary = model(fallback=("backup",), retry=Retry(on=(Fault.CONNECTION,), max_attempts=2))
        office = Office({"primary": (primary, down), "backup": (model(), fine)})
        result = await office.live().run({}, run_id="r")
        assert result.ending is Ending.DEGRADED
        assert not [one for one in result.findings if one.observed]

    simulated(main)


def test_a_reply_is_the_same_live_and_replayed() -> None:
    async def main() -> None:
        async def calling(prompt: Any) -> ModelReply:
            return ModelReply(tool_calls=({"name": "look", "args": {"ids": (1, 2)}},))

        seen: list[Any] = []

        async def agent(run: Run, request: Any) -> str:
            seen.append((await run.model("hi")).tool_calls)
            await run.call("refund", {"order": "W1", "amount": 100.0})
            return "done"

        desk = Desk()
        desk.models["primary"], desk.agent = calling, agent
        harness = desk.live()
        (asked,) = (await harness.run({}, run_id="r")).waiting_for
        await harness.operations.decide(asked.request_id, approve=True, by="ana")
        await desk.live().wake()
        assert seen == [({"name": "look", "args": {"ids": [1, 2]}},)] * 2

    simulated(main)


def test_a_reply_that_the_journal_cannot_carry_is_malformed() -> None:
    async def main() -> None:
        async def odd(prompt: Any) -> ModelReply:
            return ModelReply(tool_calls=({"name": "look", "args": {1: tool_spec}},))

        office = Office({"primary": (model(fallback=("backup",)), odd), "backup": (model(), fine)})
        result = await office.live().run({}, run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "Here you are.")
        assert ("silent_failure", "primary", "malformed") in office.kinds()

    simulated(main)


def test_a_model_gives_no_tokens_back() -> None:
    """One that reported less than nothing raised the limit of its run, and of the day."""

    async def lying(prompt: Any) -> ModelReply:
        return ModelReply(text="Here you are.", usage=Usage(input_tokens=-1_000_000, output_tokens=5))

    async def main() -> None:
        office = Office({"primary": (model(10.0), lying)})
        await office.live().run({}, run_id="r")
        (settled,) = [r.event for r in await office.store.read("r") if isinstance(r.event, CallSettled)]
        used = settled.outcome.usage
        assert used is not None and used.input_tokens > 0 and used.output_tokens > 0 and used.usd > 0

    simulated(main)


@pytest.mark.parametrize(("fails", "prompts"), [(down, 0), (None, 2)], ids=["down", "hangs"])
def test_an_attempt_that_is_given_up_for_its_time_is_charged_its_prompt(fails: Any, prompts: int) -> None:
    """Whoever was asked has read it. It was charged where a faster one had answered, and not where nobody had."""

    async def hangs(prompt: Any) -> ModelReply:
        await pass_time(1000.0)
        return ModelReply(text="Too late.")

    async def main() -> None:
        again = Retry(on=(Fault.TIMEOUT, Fault.CONNECTION), max_attempts=2)
        primary = Model(timeout_s=5.0, retry=again, fallback=("canned",), usd_per_million_input_tokens=1000.0)
        office = Office({"primary": (primary, fails or hangs), "canned": (Model(canned="Later, please."), None)})
        assert (await office.live().run({}, run_id="r")).ending is Ending.DEGRADED
        (settled,) = [r.event for r in await office.store.read("r") if isinstance(r.event, CallSettled)]
        tokens = 2 * prompts  # "hi", cautiously
        expected = Usage(input_tokens=tokens, usd=pytest.approx(0.001 * tokens)) if prompts else None
        assert settled.outcome.usage == expected

    simulated(main)
