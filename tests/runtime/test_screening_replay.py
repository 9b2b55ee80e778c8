"""Guards and replay: what was judged once stays as it was judged, whatever crashes and whichever model comes after."""

import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plimsoll.core.calls import Ending
from plimsoll.core.errors import ReplayMismatch
from plimsoll.core.events import ApprovalRequested
from plimsoll.core.guards import PhraseGuard, screening_in
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, CrashingStore, pass_time, simulated
from tests.runtime.guarding import HOSTILE, Desk, Slow, section


def test_another_model_judges_nothing_again() -> None:
    async def main() -> None:
        desk = Desk(section("input", "tool_result", "output"))
        died: list[bool] = []

        async def serve(run: Run, asked: Any) -> str:
            mail = await run.call("read", {"mail": "a"})
            if not died:
                died.append(True)
                raise Crash
            return str(mail)

        desk.agent = serve
        with pytest.raises(Crash):
            harness = desk.live()
            await harness.run("a request", run_id="r")
        await harness.journal.close()
        desk.guard = other = PhraseGuard("injection", "a request", "hello", digest="another")
        (result,) = await desk.live().wake()
        assert [verdict.model for verdict in await desk.verdicts()] == ["phrases", "phrases", "another"]
        assert (result.ending, other.asked) == (Ending.HALTED, ["hello"])  # as an output, which nobody had judged

    simulated(main)


def test_a_verdict_holds_for_the_text_that_was_judged() -> None:
    async def main() -> None:
        desk = Desk(section("output", action="hand_over", approvers=("ana",)), model=Slow(says=1.0))
        answers = iter(["a harmless text", HOSTILE])

        async def serve(run: Run, asked: Any) -> str:
            return next(answers)  # which no journal tells

        desk.agent = serve
        harness = desk.live()
        parked = await harness.run("?", run_id="r")
        await harness.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        with pytest.raises(ReplayMismatch, match="another text"):
            await desk.live().resume("r")

    simulated(main)


def test_branches_that_are_judged_beside_each_other_replay() -> None:
    async def main() -> None:
        desk = Desk(section("tool_result"), model=Slow(seconds=0.5))
        died: list[bool] = []

        async def branch(run: Run, mail: str, seconds: float) -> Any:
            await pass_time(seconds)
            first = await run.call("read", {"mail": mail})
            return [first, await run.call("read", {"mail": mail})]

        async def serve(run: Run, asked: Any) -> Any:
            both = await asyncio.gather(branch(run, "a", 0.0), branch(run, "b", 0.2))
            if not died:
                died.append(True)
                raise Crash
            return both

        desk.agent = serve
        with pytest.raises(Crash):
            harness = desk.live()
            await harness.run("?", run_id="r")
        await harness.journal.close()
        asked = len(desk.guard.asked)
        (result,) = await desk.live().wake()
        assert (result.ending, len(desk.guard.asked), asked) == (Ending.COMPLETE, 4, 4)
        assert result.output == [["hello", "hello"], ["please pay 5", "please pay 5"]]

    simulated(main)


@pytest.mark.parametrize("on", [("input",), ("input", "output"), ("tool_result",), ("output",)])
def test_a_run_is_adopted_where_its_guards_say_the_same(on: tuple[str, ...]) -> None:
    async def main() -> None:
        desk = Desk(section(*on, action="hand_over", approvers=("ana",)))
        desk.mails["a"] = HOSTILE if "tool_result" in on else "hello"
        desk.says = HOSTILE if "output" in on else "done"
        parked = await desk.live().run(HOSTILE if "input" in on else "?", run_id="r")
        assert parked.ending is Ending.PARKED
        desk.fingerprint = "v2"
        adoption = await desk.live().adopt("r", by="ana")
        assert (adoption.difference, adoption.adopted) == ("", True)

    simulated(main)


STEPS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["input", "a", "b", "output", ""]), st.booleans(), STEPS, st.sampled_from(["halt", "hand_over"]))
@example("a", False, [(3, 1), (1, 0)], "hand_over")
@example("output", True, [(5, 2), (2, 2)], "hand_over")
def test_no_crash_lets_a_halted_text_pass_or_has_a_recorded_one_judged_again(
    hostile: str, exchanged: bool, crashes: list[tuple[int, int]], action: str
) -> None:
    async def main() -> None:
        desk = Desk(section("input", "tool_result", "output", action=action, approvers=("ana",)))
        desk.mails |= {hostile: HOSTILE}
        desk.says = HOSTILE if hostile == "output" else "done"
        told: list[Any] = []

        async def serve(run: Run, asked: Any) -> str:
            heard = [asked]
            told.append(asked)
            for mail in ("a", "b"):
                heard.append(await run.call("read", {"mail": mail}))
                told.append(heard[-1])
            return (await run.model(heard)).text

        desk.agent = serve
        recorded: set[str] = set()
        asked = HOSTILE if hostile == "input" else "hello, what came?"
        result = None
        for at, keep in crashes:
            try:
                result = await desk.live(CrashingStore(desk.store, at=at, keep=keep)).run(asked, run_id="r")
                break
            except Crash:
                said = {
                    screening.text
                    for record in await desk.store.read("r")
                    if (screening := screening_in(record.event)) is not None
                }
                assert recorded <= said
                recorded, before = said, desk.guard
                desk.guard = PhraseGuard("injection", HOSTILE, digest="new") if exchanged else before
        if result is None:
            result = await desk.live().run(asked, run_id="r")
        assert HOSTILE not in told
        expected = {"halt": Ending.HALTED, "hand_over": Ending.PARKED}[action] if hostile else Ending.COMPLETE
        assert (result.ending, result.output) == (expected, None if hostile else "done")
        texts = [
            screening.text
            for record in await desk.store.read("r")
            if (screening := screening_in(record.event)) is not None
        ]
        assert len(texts) == len(set(texts)), "a text was judged anew that had been judged"
        requests = [
            record.event for record in await desk.store.read("r") if isinstance(record.event, ApprovalRequested)
        ]
        assert len(requests) == (action == "hand_over" and bool(hostile))

    simulated(main)
