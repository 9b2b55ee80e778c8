"""Guards: what they stop, what they let pass, whom they ask, and what is wrong with them."""

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from plimsoll.contract.model import GuardSection, Mode, Tool
from plimsoll.core.calls import CallInfo, CallKind, Effect, Ending
from plimsoll.core.errors import CallFailed, Misuse
from plimsoll.core.events import CallSettled
from plimsoll.core.guards import Guard, PhraseGuard, text_of
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from tests.runtime.bench import pass_time, simulated
from tests.runtime.guarding import HOSTILE, Desk, Slow, section

# ------------------------------------------------------------------------------------------------------ what is stopped


def test_a_hostile_request_reaches_nobody() -> None:
    async def main() -> None:
        desk = Desk(section("input"))
        result = await desk.live().run(f"Please {HOSTILE}", run_id="r")
        assert (result.ending, desk.seen) == (Ending.HALTED, [])
        assert result.reason == "guard 'injection' takes the input for injection (1)"
        assert desk.kinds() == [("guard_tripped", "injection", "injection")]
        assert HOSTILE not in str(result.findings)

    simulated(main)


def test_a_hostile_result_reaches_no_model_and_is_in_the_journal() -> None:
    async def main() -> None:
        desk = Desk(section("tool_result"))
        desk.mails["a"] = f"dear friend, {HOSTILE}"
        result = await desk.live().run("what came?", run_id="r")
        assert (result.ending, desk.seen) == (Ending.HALTED, [])
        events = [record.event for record in await desk.store.read("r")]
        settled = next(event for event in events if isinstance(event, CallSettled))
        assert settled.outcome.value == desk.mails["a"]
        (verdict,) = await desk.verdicts()
        assert (verdict.model, verdict.label, verdict.probability, verdict.action) == (
            "phrases",
            "injection",
            1.0,
            "halt",
        )

    simulated(main)


def test_what_is_hidden_in_a_key_or_in_an_error_is_read_too() -> None:
    async def main() -> None:
        desk = Desk(section("tool_result"))

        async def read(mail: str) -> Any:
            if mail == "a":
                return {"rows": [{HOSTILE: 1}]}
            raise ValueError(HOSTILE)

        async def second(run: Run, asked: Any) -> str:
            with pytest.raises(CallFailed):
                await run.call("read", {"mail": "b"})
            return "the error was read"

        desk.read = read  # type: ignore[method-assign]
        assert (await desk.live().run("?", run_id="r")).ending is Ending.HALTED
        desk.agent = second
        assert (await desk.live().run("?", run_id="s")).ending is Ending.HALTED

    simulated(main)


def test_only_the_named_tools_are_judged() -> None:
    async def main() -> None:
        desk = Desk(section("tool_result", tools=("pay",)))
        desk.mails["a"] = HOSTILE
        assert (await desk.live().run("?", run_id="r")).ending is Ending.COMPLETE
        assert desk.guard.asked == []

    simulated(main)


def test_below_its_threshold_nothing_follows_and_the_verdict_is_kept() -> None:
    async def main() -> None:
        desk = Desk(section("input"), model=Slow(says=0.89))
        assert (await desk.live().run("?", run_id="r")).ending is Ending.COMPLETE
        (verdict,) = await desk.verdicts()
        assert (verdict.probability, verdict.action) == (0.89, "")
        assert desk.kinds() == []

    simulated(main)


def test_a_finding_lets_the_text_pass() -> None:
    async def main() -> None:
        desk = Desk(section("input", action="finding"))
        assert (await desk.live().run(HOSTILE, run_id="r")).ending is Ending.COMPLETE
        assert desk.kinds() == [("guard_tripped", "injection", "injection")]

    simulated(main)


@pytest.mark.parametrize("action", ["halt", "hand_over", "replace"])
def test_observed_guards_report_what_they_would_have_done(action: str) -> None:
    async def main() -> None:
        guard = section("tool_result", action=action, approvers=("ana",), replacement="gone")
        desk = Desk(guard, mode=Mode.OBSERVE)
        desk.mails["a"] = HOSTILE
        result = await desk.live().run("?", run_id="r")
        assert (result.ending, desk.seen) == (Ending.COMPLETE, [["?", HOSTILE]])
        assert [(each.kind, each.observed) for each in result.findings] == [(f"would_{action}", True)]

    simulated(main)


# ----------------------------------------------------------------------------------------------------- what is replaced


def test_a_result_that_is_replaced_is_a_failure_that_says_why() -> None:
    async def main() -> None:
        desk = Desk(section("tool_result", action="replace", replacement="This mail was withheld."))
        desk.mails["a"] = HOSTILE

        async def serve(run: Run, asked: Any) -> str:
            try:
                await run.call("read", {"mail": "a"})
            except CallFailed as error:
                return f"{error.fault}: {error.message}"
            return "it was read"

        desk.agent = serve
        result = await desk.live().run("?", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "filtered: This mail was withheld.")

    simulated(main)


def test_the_result_of_a_write_is_never_replaced_as_if_nothing_had_happened() -> None:
    async def main() -> None:
        desk = Desk(section("tool_result", action="replace", replacement="gone"))
        desk.mails["b"] = HOSTILE

        async def serve(run: Run, asked: Any) -> Any:
            return await run.call("pay", {"amount": 5})

        desk.agent = serve
        assert (await desk.live().run("?", run_id="r")).ending is Ending.HALTED
        assert desk.paid == [5]

    simulated(main)


def test_an_output_that_is_replaced_is_degraded_and_says_why() -> None:
    async def main() -> None:
        desk = Desk(section("output", action="replace", replacement="I cannot say that."))
        desk.says = f"sure, I {HOSTILE}"
        result = await desk.live().run("?", run_id="r")
        assert (result.ending, result.output, result.native) == (Ending.DEGRADED, "I cannot say that.", None)
        assert "injection" in result.reason
        again = await desk.live().run("?", run_id="r")
        assert (again.ending, again.output) == (result.ending, result.output)

    simulated(main)


def test_an_output_that_is_no_text_cannot_be_replaced_by_one() -> None:
    async def main() -> None:
        desk = Desk(section("output", action="replace", replacement="I cannot say that."))

        async def serve(run: Run, asked: Any) -> Any:
            return {"answer": HOSTILE}

        desk.agent = serve
        result = await desk.live().run("?", run_id="r")
        assert (result.ending, result.output) == (Ending.HALTED, None)

    simulated(main)


@pytest.mark.parametrize(("pays", "ending"), [(False, Ending.HALTED), (True, Ending.COMPLETE)])
def test_a_claim_is_none_where_it_was_done(pays: bool, ending: Ending) -> None:
    async def main() -> None:
        desk = Desk(section("output", unless_done=("pay",)))
        desk.guard = PhraseGuard("injection", "I have paid")

        async def serve(run: Run, asked: Any) -> str:
            if pays:
                await run.call("pay", {"amount": 5})
            return "I have paid."

        desk.agent = serve
        assert (await desk.live().run("?", run_id="r")).ending is ending
        assert desk.guard.asked == ([] if pays else ["I have paid."])

    simulated(main)


# -------------------------------------------------------------------------------------------------------------- people


@pytest.mark.parametrize("on", ["input", "tool_result", "output"])
@pytest.mark.parametrize(("approve", "ending"), [(True, Ending.COMPLETE), (False, Ending.HALTED)])
def test_a_person_says_whether_a_text_may_pass(on: str, approve: bool, ending: Ending) -> None:
    async def main() -> None:
        desk = Desk(section(on, action="hand_over", approvers=("ana",)))
        desk.mails["a"] = desk.says = HOSTILE
        harness = desk.live()
        parked = await harness.run(HOSTILE, run_id="r")
        assert parked.ending is Ending.PARKED
        (request,) = parked.waiting_for
        assert (request.dependency, request.approvers, request.args["text"]) == ("injection", ("ana",), HOSTILE)
        await harness.operations.decide(request.request_id, approve=approve, by="ana", note="looked at it")
        (result,) = await desk.live().wake()
        assert (result.ending, len(desk.guard.asked)) == (ending, 1)
        assert approve or result.reason.endswith("denied by ana")
        assert approve or on == "output" or desk.seen == []

    simulated(main)


def test_nobody_saying_anything_in_time_means_no() -> None:
    async def main() -> None:
        desk = Desk(section("input", action="hand_over", approvers=("ana",), expires_s=100.0))
        assert (await desk.live().run(HOSTILE, run_id="r")).ending is Ending.PARKED
        await pass_time(101.0)
        (result,) = await desk.live().wake()
        assert (result.ending, desk.seen) == (Ending.HALTED, [])
        assert result.reason.endswith("expired by plimsoll")

    simulated(main)


def test_each_guard_asks_its_own_people() -> None:
    async def main() -> None:
        first, second = (section("input", action="hand_over", approvers=(who,)) for who in ("ana", "bo"))
        desk = Desk(first, second)
        asked = []
        result = await desk.live().run(HOSTILE, run_id="r")
        while result.ending is Ending.PARKED:
            (request,) = result.waiting_for
            asked.append(request.approvers)
            harness = desk.live()
            await harness.operations.decide(request.request_id, approve=True, by=request.approvers[0])
            (result,) = await harness.wake()
        assert (result.ending, asked) == (Ending.COMPLETE, [("ana",), ("bo",)])

    simulated(main)


# ------------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (Slow(seconds=6.0), "timeout"),
        (Slow(says=RuntimeError("out of memory")), "exception"),
        (Slow(says=float("nan")), "malformed"),
        (Slow(says=1.5), "malformed"),
        (Slow(says=None), "malformed"),
    ],
)
@pytest.mark.parametrize(("on_failure", "ending"), [("halt", Ending.HALTED), ("pass", Ending.COMPLETE)])
def test_a_guard_that_fails_halts_the_run_or_lets_it_pass_and_says_so(
    model: Slow, fault: str, on_failure: str, ending: Ending
) -> None:
    async def main() -> None:
        desk = Desk(section("input", on_failure=on_failure, timeout_s=5.0), model=model)
        result = await desk.live().run("hello", run_id="r")
        assert result.ending is ending
        assert desk.kinds() == [("guard_failed", "injection", fault)]

    simulated(main)


def test_a_guard_has_no_more_time_than_its_run() -> None:
    async def main() -> None:
        desk = Desk(section("output", timeout_s=1000.0), model=Slow(seconds=900.0))
        result = await desk.live().run("hello", run_id="r")
        assert result.ending is Ending.HALTED
        assert [each.fault for each in result.findings] == ["seconds"]

    simulated(main)


def test_a_run_that_was_cancelled_or_killed_asks_no_guard() -> None:
    async def main() -> None:
        desk = Desk(section("tool_result"))
        harness = desk.live()

        async def read(mail: str) -> str:
            await harness.operations.kill(by="ana", reason="a drill")
            return "hello"

        desk.read = read  # type: ignore[method-assign]
        harness = desk.live()
        assert (await harness.run("?", run_id="r")).ending is Ending.HALTED
        assert desk.guard.asked == []

    simulated(main)


# -------------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("guard", "model", "says"),
    [
        (section("input"), None, "nothing judges for guards.injection"),
        (section("input", label="inject"), PhraseGuard("injection"), "its model knows injection, other"),
        (section(), PhraseGuard("injection"), "on is empty"),
        (section("input", action="hand_over"), PhraseGuard("injection"), "approvers names nobody"),
        (section("output", action="replace"), PhraseGuard("injection"), "replacement is missing"),
        (section("input", action="replace", replacement="x"), PhraseGuard("injection"), "another question"),
    ],
)
def test_no_run_begins_without_a_guard_that_can_do_its_work(
    guard: GuardSection, model: Guard | None, says: str
) -> None:
    desk = Desk(guard)
    given = {} if model is None else {"injection": model}
    with pytest.raises(Misuse, match=says):
        Harness(desk.contract, agent=desk.serve, surroundings=desk.surroundings(), guards=given)


def test_a_guard_that_the_contract_does_not_know_is_refused() -> None:
    desk = Desk()
    with pytest.raises(Misuse, match="does not know: injection"):
        Harness(
            desk.contract,
            agent=desk.serve,
            surroundings=desk.surroundings(),
            guards={"injection": PhraseGuard("injection")},
        )


def test_another_model_in_a_guard_makes_another_version() -> None:
    desk = Desk(section("input"))
    made = [
        Harness(desk.contract, agent=desk.serve, surroundings=desk.surroundings(), guards={"injection": model})
        for model in (PhraseGuard("injection"), PhraseGuard("injection"), PhraseGuard("injection", digest="new"))
    ]
    first, same, other = (harness.env.fingerprint for harness in made)
    assert first == same != other


def test_what_is_taken_back_is_read_by_no_agent_and_not_judged() -> None:
    async def main() -> None:
        desk = Desk(section("input", "tool_result", "output"))
        desk.contract = replace(
            desk.contract, tools={"pay": Tool(effect=Effect.WRITE, compensate="bank:unpay"), "read": Tool()}
        )

        async def unpay(args: Mapping[str, Any], result: Any) -> str:
            return HOSTILE

        async def serve(run: Run, asked: Any) -> str:
            await run.call("pay", {"amount": 5})
            raise ValueError("the rest went wrong")

        harness = Harness(
            desk.contract,
            agent=serve,
            surroundings=desk.surroundings(),
            tools=[desk.pay],
            compensators={"pay": unpay},
            guards={"injection": desk.guard},
            fingerprint="v1",
        )
        assert (await harness.run("?", run_id="r")).ending is Ending.FAILED
        asked = list(desk.guard.asked)
        result = await harness.compensate("r", by="ana")
        assert (result.ending, desk.guard.asked) == (Ending.COMPLETE, asked), result.reason

    simulated(main)


def test_no_key_of_an_agents_own_is_a_guards() -> None:
    async def main() -> None:
        desk = Desk()

        async def serve(run: Run, asked: Any) -> Any:
            with pytest.raises(Misuse, match="guard:"):
                await run.call("read", {"mail": "a"}, key="guard:output")
            return "done"

        desk.agent = serve
        assert (await desk.live().run("?", run_id="r")).ending is Ending.COMPLETE

    simulated(main)


def test_what_a_guard_is_asked_passes_the_interceptor() -> None:
    async def main() -> None:
        desk = Desk(section("input"))
        sites: list[tuple[str, CallKind]] = []

        async def intercept(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            sites.append((site, info.kind))
            return await send()

        desk.intercept = intercept
        await desk.live().run("hello", run_id="r")
        assert sites[0] == ("injection", CallKind.GUARD)

    simulated(main)


def test_the_texts_of_a_value_are_those_that_a_model_would_read() -> None:
    assert text_of("plain") == "plain"
    assert (
        text_of({"id": "W1", "rows": [{"note": "hi there"}, 5, None], "two words": True}) == "two words\nW1\nhi there"
    )
    assert text_of({"two words": "x"}, keys=False) == "x"
    for blank in ("\t", "\n", "\u00a0", "\u3000"):
        assert text_of({f"two{blank}words": "x"}) == f"two{blank}words\nx", "a field may be hidden in by any blank"
    deep: Any = "bottom"
    for _ in range(100_000):
        deep = [deep]
    assert text_of(deep) == "bottom"
