"""What is counted: what the journal has, once, and what waits for people now."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.model import AgentSection, GuardSection, JournalSection, Limits, Model
from plimsoll.core.calls import Ending, Usage
from plimsoll.core.clock import LoopClock
from plimsoll.core.events import Finding
from plimsoll.core.guards import PhraseGuard
from plimsoll.journal.keys import new_master_key
from plimsoll.observability.telemetry import OpenTelemetry
from plimsoll.runtime.dispatch import Dispatcher
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.local import local
from plimsoll.runtime.models import ModelReply
from tests.observability.telemetry.heard import Heard, ToldDesk, ToldFirm
from tests.runtime.bench import Crash, CrashingStore, Shop, agent, contract, pass_time, simulated, sure

AGENT = {"gen_ai.agent.name": "desk"}


def values(heard: Heard, name: str) -> dict[tuple[Any, ...], Any]:
    """The points of a metric by the values of their attributes, without the agent's name."""
    return {
        tuple(str(value) for key, value in sorted(told.items()) if key != "gen_ai.agent.name"): value
        for _, told, value in heard.points(name)
    }


def test_a_healthy_run_is_counted_with_its_calls(heard: Heard) -> None:
    simulated(lambda: ToldDesk(heard).live().run({"order": "W1"}, run_id="r"))
    assert values(heard, "plimsoll.runs.started") == {(): 1}
    assert values(heard, "plimsoll.runs") == {("complete",): 1}
    told = {"gen_ai.request.model": "primary", "gen_ai.response.model": "primary", "gen_ai.provider.name": "_OTHER"}
    chat = AGENT | told | {"gen_ai.operation.name": "chat"}
    other = AGENT | {"gen_ai.provider.name": "_OTHER"}
    tool = other | {"gen_ai.operation.name": "execute_tool"}
    assert [(attributes, count) for _, attributes, (count, _) in heard.points("gen_ai.client.operation.duration")] == [
        (tool | {"gen_ai.tool.name": "look"}, 1),
        (chat, 1),
        (tool | {"gen_ai.tool.name": "refund"}, 1),
        (other | {"gen_ai.operation.name": "invoke_agent"}, 1),
    ]
    assert [(attributes, value) for _, attributes, value in heard.points("gen_ai.client.token.usage")] == [
        (chat | {"gen_ai.token.type": "input"}, (1, 10)),
        (chat | {"gen_ai.token.type": "output"}, (1, 5)),
    ]
    assert heard.points("plimsoll.journal.barrier.duration")[0][2][0] == 2
    assert not heard.points("plimsoll.retries") and not heard.points("plimsoll.findings")


def test_what_went_wrong_is_counted_by_its_cause(heard: Heard) -> None:
    async def hangs(prompt: Any) -> Any:
        await pass_time(1000)

    async def main() -> None:
        desk = ToldDesk(heard)
        desk.models["primary"] = hangs
        await desk.live().run({"order": "W1"}, run_id="r")

    simulated(main)
    assert values(heard, "plimsoll.attempts.failed") == {("primary", "timeout"): 2}
    assert values(heard, "plimsoll.retries") == {("primary",): 2}
    assert values(heard, "plimsoll.fallbacks") == {("primary", "backup", "timeout"): 1}
    assert values(heard, "plimsoll.runs") == {("degraded",): 1}
    assert {key[:2] for key in values(heard, "plimsoll.findings")} == {("primary", "timeout")}
    assert {name for name, _ in heard.events()} == {"plimsoll.finding"}
    ((_, told), _) = heard.events()
    assert told == AGENT | {
        "plimsoll.run.id": "r",
        "plimsoll.finding.kind": "attempt_failed",
        "plimsoll.finding.severity": "warning",
        "plimsoll.finding.observed": False,
        "plimsoll.dependency": "primary",
        "plimsoll.fault": "timeout",
        "plimsoll.finding.calls": ("2:primary",),
    }


def test_a_call_that_failed_is_counted_by_its_fault_and_money_by_its_model(heard: Heard) -> None:
    async def dear(prompt: Any) -> ModelReply:
        return ModelReply(text="Sure:", usage=Usage(input_tokens=1000, output_tokens=0))

    async def main() -> None:
        models = {"primary": Model(usd_per_million_input_tokens=100.0)}
        desk = ToldDesk(heard, models=models)
        desk.models["primary"] = dear
        assert (await desk.live().run({"order": "W1", "amount": -1.0}, run_id="r")).ending is Ending.COMPLETE

    simulated(main)
    assert [value for _, _, value in heard.points("plimsoll.cost")] == [pytest.approx(0.1)]
    failed = [told for _, told, _ in heard.points("gen_ai.client.operation.duration") if "error.type" in told]
    assert [(told["gen_ai.tool.name"], told["error.type"]) for told in failed] == [("refund", "refused")]


@pytest.mark.parametrize("how", ["failed", "halted"])
def test_a_run_that_did_not_end_well_is_an_error_by_its_ending_and_nothing_of_why(heard: Heard, how: str) -> None:
    async def fails(run: Any, request: Any) -> Any:
        await run.call("look", {"order": "W1"})
        await run.call("look", {"order": "W2"})
        raise ValueError("s3cr3t")

    async def main() -> None:
        desk = ToldDesk(heard, limits=Limits(steps=1 if how == "halted" else 9))
        desk.agent = fails
        assert (await desk.live().run({}, run_id="r")).ending == how

    simulated(main)
    runs = [told for _, told, _ in heard.points("gen_ai.client.operation.duration") if "error.type" in told]
    assert runs == [
        AGENT | {"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "_OTHER", "error.type": how}
    ]


@pytest.mark.parametrize("keep", [0, 99])
@pytest.mark.parametrize("at", range(1, 4))
def test_crashes_count_nothing_twice_and_lose_nothing_that_is_in_the_journal(heard: Heard, at: int, keep: int) -> None:
    async def main() -> None:
        desk = ToldDesk(heard)
        with pytest.raises(Crash):
            await desk.live(CrashingStore(desk.store, at=at, keep=keep)).run({"order": "W1"}, run_id="r")
        desk.heard = Heard()  # the counts of the process that died went with it
        await desk.live().run({"order": "W1"}, run_id="r")
        desk.heard.close()
        after = desk.heard.points("plimsoll.runs")
        ends = [event for event in await desk.events() if event == "RunEnded"]
        assert len(ends) == 1
        assert len(after) == (0 if at == 3 and keep else 1)
        calls = [told["gen_ai.operation.name"] for _, told, _ in desk.heard.points("gen_ai.client.operation.duration")]
        assert len(set(calls)) == len(calls) or calls.count("execute_tool") == 2
        assert not heard.points("plimsoll.runs")

    simulated(main)


def test_approvals_are_counted_while_they_wait_and_when_they_are_decided() -> None:
    heard = Heard(clock=LoopClock())

    async def main() -> None:
        desk = ToldDesk(heard)
        live = desk.live()
        first = await live.run({"order": "W1", "amount": 80.0}, run_id="r")
        await pass_time(30)
        await live.run({"order": "W2", "amount": 80.0}, run_id="s")
        await pass_time(60)
        assert values(heard, "plimsoll.approvals.pending") == {("refund",): 2}
        assert values(heard, "plimsoll.approvals.oldest") == {("refund",): pytest.approx(90.0)}
        await live.operations.decide(first.waiting_for[0].request_id, approve=True, by="ana")
        await live.resume("r")
        assert values(heard, "plimsoll.approvals.pending") == {("refund",): 1}
        assert values(heard, "plimsoll.approvals.oldest") == {("refund",): pytest.approx(60.0)}
        assert values(heard, "plimsoll.approvals.requested") == {("refund",): 2}
        assert values(heard, "plimsoll.approvals.decided") == {("approved", "refund"): 1}
        assert values(heard, "plimsoll.approvals.wait") == {("approved", "refund"): (1, pytest.approx(90.0))}
        assert values(heard, "plimsoll.runs.parked") == {("approval",): 2}
        assert values(heard, "plimsoll.runs.resumed") == {("False",): 1}
        await pass_time(600)  # nobody answers: it has expired, and may not be decided any more
        assert values(heard, "plimsoll.approvals.pending") == {("refund",): 0}
        assert values(heard, "plimsoll.approvals.oldest") == {("refund",): 0.0}
        told = [(name, told["plimsoll.approval.id"], told.get("plimsoll.approval.decision")) for name, told in events()]
        assert told == [
            ("plimsoll.approval.requested", "r.a1", None),
            ("plimsoll.approval.requested", "s.a1", None),
            ("plimsoll.approval.decided", "r.a1", "approved"),
        ]

    def events() -> list[tuple[str, dict[str, Any]]]:
        return [each for each in heard.events() if each[0] != "plimsoll.finding"]

    simulated(main)
    assert all("ana" not in repr(told) for _, told in events())
    heard.close()


def test_what_waits_since_before_this_process_is_known_once_it_has_looked() -> None:
    later = Heard(clock=LoopClock())

    async def main() -> None:
        desk = ToldDesk(Heard())
        await desk.live().run({"order": "W1", "amount": 80.0}, run_id="r")
        desk.heard.close()
        desk.heard = later
        live = desk.live()
        await pass_time(100)
        assert values(later, "plimsoll.approvals.pending") == {("refund",): 0}
        async with Dispatcher(live):
            await pass_time(1)
            assert values(later, "plimsoll.approvals.pending") == {("refund",): 1}
            assert values(later, "plimsoll.approvals.oldest") == {("refund",): pytest.approx(101.0)}
            await live.operations.decide("r.a1", approve=False, by="ana")
            await pass_time(20)
            assert values(later, "plimsoll.approvals.pending") == {("refund",): 0}
        assert values(later, "plimsoll.approvals.wait") == {("denied", "refund"): (1, pytest.approx(101.0, abs=1.0))}

    simulated(main)
    later.close()


def test_what_a_run_asked_for_waits_for_nobody_once_it_has_ended() -> None:
    heard = Heard(clock=LoopClock())

    async def main() -> None:
        desk = ToldDesk(heard)
        live = desk.live()
        await live.run({"order": "W1", "amount": 80.0}, run_id="r")
        await live.operations.cancel("r", by="bo", reason="")
        await live.wake()
        assert values(heard, "plimsoll.approvals.pending") == {("refund",): 0}

    simulated(main)
    heard.close()


def test_each_agent_counts_its_own(heard: Heard) -> None:
    simulated(lambda: ToldFirm(heard).live().run({"order": "W1"}, run_id="r"))
    started = [(told["gen_ai.agent.name"], value) for _, told, value in heard.points("plimsoll.runs.started")]
    assert started == [("desk", 1), ("billing", 1)]
    runs = [told for _, told, _ in heard.points("gen_ai.client.operation.duration") if "gen_ai.tool.name" not in told]
    assert [told["gen_ai.agent.name"] for told in runs] == ["billing", "desk"]


def test_a_finding_of_no_run_is_told_as_well(heard: Heard) -> None:
    async def main() -> None:
        ToldDesk(heard).live().alert(Finding(kind="journal", severity="critical", message="s3cr3t"))

    simulated(main)
    assert values(heard, "plimsoll.findings") == {("journal", "False", "critical"): 1}
    ((name, told),) = heard.events()
    assert (name, told["plimsoll.run.id"]) == ("plimsoll.finding", "*")
    assert "s3cr3t" not in heard.everything()


def test_a_refused_record_of_a_run_that_was_taken_over_counts_nowhere(heard: Heard) -> None:
    async def main() -> None:
        desk, other = ToldDesk(heard), Heard()
        reached = asyncio.Event()

        async def stuck(prompt: Any) -> Any:
            reached.set()
            await pass_time(5)
            return ModelReply(text="Sure:")

        desk.models["primary"] = stuck
        first = desk.live()
        task = asyncio.ensure_future(first.run({"order": "W1"}, run_id="r"))
        await reached.wait()
        desk.heard = other
        second = desk.live()
        assert (await second.resume("r", take_over=True)).ending is Ending.COMPLETE
        await asyncio.wait([task])
        assert not heard.points("plimsoll.runs") and len(other.points("plimsoll.runs")) == 1
        other.close()

    simulated(main)


def test_every_metric_has_a_unit_and_a_description(heard: Heard) -> None:
    simulated(lambda: ToldDesk(heard, **{"tools": contract().tools}).live().run({"order": "W1"}, run_id="r"))
    assert all(metric.unit and metric.description.endswith(".") for metric in heard.metrics())


def test_what_an_encrypted_journal_has_is_counted_as_well_and_a_restart_links(heard: Heard, tmp_path: Path) -> None:
    later = Heard()

    async def life(heard: Heard, name: str) -> None:
        terms = contract(journal=JournalSection(encrypt=True))
        surroundings = local(terms, path=tmp_path / "journal.db", owner=name, sinks=(), telemetry=heard.telemetry)
        shop = Shop()
        options: dict[str, Any] = {"tools": [shop.look, shop.refund], "models": {"primary": sure, "backup": sure}}
        async with Harness(terms, agent=agent, surroundings=surroundings, fingerprint="v1", **options) as live:
            await live.run({"order": "W1", "amount": 80.0}, run_id="r")
            if name == "second":
                await live.operations.decide("r.a1", approve=True, by="ana")
                assert (await live.resume("r")).ending is Ending.COMPLETE
        await surroundings.store.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLIMSOLL_JOURNAL_KEY", new_master_key())
        asyncio.run(life(heard, "first"))
        asyncio.run(life(later, "second"))
    assert values(heard, "plimsoll.approvals.requested") == {("refund",): 1}
    assert values(later, "plimsoll.runs") == {("complete",): 1}
    spans = later.named("invoke_agent desk")
    before = heard.one("invoke_agent desk").context
    assert [link.context.trace_id for link in spans[0].links] == [before.trace_id if before else 0]
    later.close()


def test_harnesses_that_tell_the_same_provider_each_tell_what_waits(heard: Heard) -> None:
    other = OpenTelemetry(tracer_provider=heard.tracers, meter_provider=heard.meters, logger_provider=heard.loggers)

    async def main() -> None:
        desk = ToldDesk(heard)
        await desk.live().run({"order": "W1", "amount": 80.0}, run_id="r")
        heard.telemetry = other
        second = ToldDesk(heard, agent=AgentSection(name="second"))
        await second.live().run({"order": "W1", "amount": 80.0}, run_id="r")
        await second.live().run({"order": "W1", "amount": 80.0}, run_id="s")

    simulated(main)
    asked = [(told["gen_ai.agent.name"], value) for _, told, value in heard.points("plimsoll.approvals.requested")]
    assert asked == [("desk", 1), ("second", 2)]
    known = {told["gen_ai.agent.name"] for _, told, _ in heard.points("plimsoll.approvals.pending")}
    assert known == {"desk", "second"}


def test_the_verdicts_of_guards_are_counted_and_nothing_of_the_texts_is_told(heard: Heard) -> None:
    section = {"model": "m", "label": "injection", "above": 0.9}
    guards = {
        "injection": GuardSection(on=("input", "tool_result"), action="finding", **section),  # type: ignore[arg-type]
        "broken": GuardSection(on=("output",), on_failure="pass", **section),  # type: ignore[arg-type]
    }

    async def main() -> None:
        desk = ToldDesk(heard, guards=guards)
        desk.judges = {"injection": PhraseGuard("injection", "W1"), "broken": PhraseGuard("other")}
        desk.judges["broken"].labels = ("injection", "other")
        desk.judges["broken"].judge = fails
        await desk.live().run({"order": "W1"}, run_id="r")

    async def fails(text: str) -> dict[str, float]:
        raise RuntimeError(text)

    simulated(main)
    assert values(heard, "plimsoll.guard.verdicts") == {
        ("False", "finding", "injection", "input"): 1,
        ("False", "finding", "injection", "tool_result"): 1,
        ("exception", "False", "pass", "broken", "output"): 1,
    }
    measured = heard.points("plimsoll.guard.duration")
    assert sum(value[0] for _, _, value in measured) == 3  # the refund's result is a number, and no text
    assert "W1" not in str([event for event in heard.events() if event[0] == "plimsoll.finding"])
