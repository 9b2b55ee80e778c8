"""A model of one's own below the providers': asked as they are, under all their rules, and told as what it is."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as replaced

from plimsoll.contract.model import Model, Retry
from plimsoll.core.calls import Ending, Fault, Status
from plimsoll.core.errors import Misuse
from plimsoll.core.events import AttemptSettled, CallSettled, RungChanged
from plimsoll.gate.report.wording import mode_text
from plimsoll.gate.scenario import Scenario
from plimsoll.learning.errors import NotSure, WeightsError
from plimsoll.learning.local import LocalCall, LocalReply
from tests.adapters.conformance.desk import AGAIN, Bench, Desk, Script, contract, hang, simulated
from tests.adapters.conformance.test_gate import scenario, think, verify
from tests.adapters.conformance.test_runs import dies_before
from tests.gate.narrow import narrow_verdict
from tests.observability.telemetry.heard import Heard
from tests.runtime.bench import Crash

OWN = Model(local="models/assistant", timeout_s=10.0)
CANNED = Model(canned="I cannot say now.", may_write=False)


class Conversation:
    """What a model of one's own is told."""

    def __init__(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> None:
        self.messages = [dict(message) for message in messages]
        self.tools = {tool["function"]["name"]: tool["function"] for tool in tools}
        calls = [call for message in messages for call in message.get("tool_calls", ())]
        names = {call["id"]: call["function"]["name"] for call in calls}
        self.asked = next(message["content"] for message in messages if message["role"] == "user")
        self.results = {
            names[message["tool_call_id"]]: message["content"] for message in messages if message["role"] == "tool"
        }


class Own:
    """A model of one's own, as simple as one may be."""

    digest = "0123456789ab" + "0" * 52

    def __init__(self, think: Callable[[Conversation], Any]) -> None:
        self._think = think
        self.heard: list[Conversation] = []

    async def reply(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Any:
        heard = Conversation(messages, tools)
        self.heard.append(heard)
        answer = self._think(heard)
        if isinstance(answer, BaseException):
            raise answer
        return await answer if hasattr(answer, "__await__") else answer


def says(text: str) -> LocalReply:
    return LocalReply(text=text)


def calls(tool: str, **arguments: Any) -> LocalReply:
    return LocalReply(calls=(LocalCall(tool, arguments),))


def refunding(heard: Conversation) -> LocalReply:
    """Looks the order up, pays back what it cost, and says so."""
    order_id = heard.asked.split()[-1]
    if "find_order" not in heard.results:
        return calls("find_order", order_id=order_id)
    if "refund" not in heard.results:
        return calls(
            "refund", order_id=order_id, amount=int(re.findall(r"amount\D+(\d+)", heard.results["find_order"])[0])
        )
    return says(f"Our own model says: {heard.results['refund']}")


async def gone(n: int) -> None:
    raise ConnectionResetError("gone")


class LocalDesk(Desk):
    """A desk whose providers are both down, and whose own model thinks so."""

    own: Any = None

    def live(self, store: Any = None) -> Any:
        return self.bench.adapter.harden(
            self.agent or self.bench.agent(),
            contract(**self.changes),
            deps=lambda: self.shop,
            models={
                "primary": self.bench.model(self.script),
                "backup": self.bench.model(self.backup),
                "own": self.own,
            },
            verifiers={"refund": self.shop.verify},
            surroundings=self.surroundings(store),
            fingerprint=self.fingerprint or None,
        )


def desk_of(bench: Bench, think: Callable[[Conversation], Any], *, own: Model = OWN, **options: Any) -> LocalDesk:
    models = {
        "primary": Model(timeout_s=10.0, fallback=("backup", "own", "canned")),
        "backup": Model(id="backup", timeout_s=10.0),
        "own": own,
        "canned": CANNED,
    }
    down = [Script("never", before=gone) for _ in range(2)]
    desk = LocalDesk(bench, down[0], backup=down[1], changes={"models": models}, **options)
    desk.own = Own(think)
    return desk


@pytest.mark.parametrize("watched", [False, True], ids=["run", "watched"])
def test_it_answers_and_acts_where_no_provider_does(bench: Bench, watched: bool) -> None:
    async def main() -> None:
        desk = desk_of(bench, refunding)
        hardened = desk.live()
        if watched:
            async with hardened.run_stream("Please refund W2", run_id="r") as stream:
                parts = stream.stream_text() if bench.name == "pydantic_ai" else stream
                seen = [part async for part in parts]
            result = stream.result
            assert seen[-1] == result.output, "it comes at once"
        else:
            async with hardened:
                result = await hardened.run("Please refund W2", run_id="r")
        assert result.ending is Ending.DEGRADED and result.output.startswith("Our own model says:"), result.reason
        assert "'own'" in result.reason, "the answer says by whom it is"
        assert (desk.shop.reads, desk.shop.refunds) == (["W2"], [("W2", 20)])
        rungs = [event.outcome.rung for event in await desk.events(CallSettled) if event.dependency == "primary"]
        assert rungs == [2, 2, 2], "the journal says who answered"
        assert [event.to for event in await desk.events(RungChanged)] == ["backup", "own"] * 3
        assert ("fallback", "primary", "connection") in desk.kinds()
        spent = [event.outcome.usage for event in await desk.events(CallSettled) if event.dependency == "primary"]
        assert all(usage.usd == 0 and usage.input_tokens and usage.output_tokens for usage in spent), spent

    simulated(main)


def test_it_is_told_what_a_provider_would_be(bench: Bench) -> None:
    async def main() -> None:
        desk = desk_of(bench, refunding)
        await desk.live().run("Please refund W2", run_id="r")
        first, *_, last = desk.own.heard
        assert [message["role"] for message in first.messages] == ["system", "user"]
        assert first.messages[0]["content"] == "Help the customer."
        assert first.messages[1]["content"] == "Please refund W2"
        assert set(first.tools) == {"find_order", "refund"}
        assert {"order_id", "amount"} <= set(first.tools["refund"]["parameters"]["properties"])
        roles = [message["role"] for message in last.messages]
        assert roles == ["system", "user", "assistant", "tool", "assistant", "tool"]
        (asked,) = last.messages[2]["tool_calls"]
        assert json.loads(asked["function"]["arguments"]) == {"order_id": "W2"}
        assert last.messages[3]["tool_call_id"] == asked["id"]
        assert all(isinstance(message["content"], str) for message in last.messages)

    simulated(main)


def test_its_calls_have_the_same_ids_on_replay(bench: Bench) -> None:
    """A run that it advances goes on after a crash, and nothing is done twice."""

    async def ids_of(desk: LocalDesk) -> list[str]:
        last = desk.own.heard[-1].messages
        return [call["id"] for message in last for call in message.get("tool_calls", ())]

    async def main() -> None:
        desk = desk_of(bench, refunding, intercept=dies_before("own", 3))
        with pytest.raises(Crash):
            await desk.live().run("Please refund W2", run_id="r")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.DEGRADED, result.reason
        assert (desk.shop.reads, desk.shop.refunds, len(desk.own.heard)) == (["W2"], [("W2", 20)], 3)
        ids = await ids_of(desk)
        assert len(set(ids)) == 2 and all(ids)
        other = desk_of(bench, refunding)
        await other.live().run("Please refund W2", run_id="r")
        assert ids == await ids_of(other), "they are functions of the run"

    simulated(main)


@pytest.mark.parametrize("approve", [True, False], ids=["approved", "denied"])
def test_what_it_asks_for_needs_the_same_approval(bench: Bench, approve: bool) -> None:
    async def main() -> None:
        desk = desk_of(bench, refunding)
        parked = await desk.live().run("Please refund W1", run_id="r")
        assert parked.ending is Ending.PARKED and desk.shop.refunds == []
        (asked,) = parked.waiting_for
        assert asked.dependency == "refund"
        hardened = desk.live()
        await hardened.approvals.decide(asked.request_id, approve=approve, by="ana", note="so be it")
        (result,) = await hardened.wake()
        assert result.ending is Ending.DEGRADED
        assert desk.shop.refunds == ([("W1", 80)] if approve else [])
        assert approve or "not carried out" in result.output or "denied" in result.output.lower(), result.output

    simulated(main)


def test_one_that_may_not_write_reads_alone(bench: Bench) -> None:
    async def main() -> None:
        desk = desk_of(bench, refunding, own=Model(local="models/assistant", may_write=False))
        result = await desk.live().run("Please refund W2", run_id="r")
        assert result.ending is Ending.DEGRADED, result.reason
        assert (desk.shop.reads, desk.shop.refunds) == (["W2"], [])
        settled = [event.outcome.status for event in await desk.events(CallSettled) if event.dependency == "refund"]
        assert settled == [Status.REJECTED]

    simulated(main)


def test_where_it_is_not_sure_the_rung_below_answers(bench: Bench) -> None:
    class TooLong(NotSure):
        """Why a model may decline."""

    async def main() -> None:
        desk = desk_of(bench, lambda heard: TooLong("it is not sure (0.31)", probability=0.31))
        result = await desk.live().run("Where is W2?", run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, CANNED.canned), result.reason
        assert "'canned'" in result.reason
        (told,) = [event for event in await desk.events(AttemptSettled) if event.dependency == "own"]
        assert (told.fault, told.message) == (Fault.REFUSED, "it is not sure (0.31)")
        assert not {found for found in desk.kinds() if found[1] == "own"}, "that is no failure of its own"
        assert len(desk.own.heard) == 1, "it would say the same once more"

    simulated(main)


def test_where_nothing_is_below_it_why_the_providers_failed_is_what_counts(bench: Bench) -> None:
    async def main() -> None:
        desk = desk_of(bench, lambda heard: NotSure("it is not sure"))
        ladder = {**desk.changes["models"], "primary": Model(timeout_s=10.0, fallback=("backup", "own"))}
        desk.changes["models"] = ladder
        result = await desk.live().run("Where is W2?", run_id="r")
        assert result.ending is Ending.FAILED and "gone" in result.reason
        assert ("call_failed", "primary", "connection") in desk.kinds()

    simulated(main)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda heard: says(""), "empty"),
        (lambda heard: calls("delete_everything"), "malformed"),
        (lambda heard: LocalReply(calls=(LocalCall("find_order", {"order_id": float("nan")}),)), "malformed"),
        (lambda heard: LocalReply(text=b"bytes"), "malformed"),  # type: ignore[arg-type]
        (lambda heard: "no reply", "malformed"),
        (lambda heard: RuntimeError("out of memory"), "exception"),
        (lambda heard: WeightsError("models/assistant", "somebody deleted it"), "exception"),
        (lambda heard: hang(), "timeout"),
    ],
    ids=["empty", "unknown tool", "no JSON", "no text", "no reply", "breaks", "misuse", "hangs"],
)
def test_one_that_fails_is_a_rung_that_fails(bench: Bench, answer: Any, fault: str) -> None:
    async def main() -> None:
        desk = desk_of(bench, answer)
        result = await desk.live().run("Where is W2?", run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, CANNED.canned), result.reason
        assert {found[2] for found in desk.kinds() if found[1] == "own"} == {fault}
        assert desk.shop.reads == []

    simulated(main)


def test_telemetry_says_that_it_answered(bench: Bench) -> None:
    heard = Heard()

    class ToldDesk(LocalDesk):
        def surroundings(self, store: Any = None) -> Any:
            return replace(super().surroundings(store), telemetry=heard.telemetry)

    async def main() -> None:
        tried = iter([says(""), says("On its way.")])
        again = Model(local="models/assistant", retry=Retry(on=(Fault.EMPTY,), max_attempts=2))
        made = desk_of(bench, lambda conversation: next(tried), own=again)
        desk = ToldDesk(bench, made.script, backup=made.backup, changes=made.changes)
        desk.own = made.own
        assert (await desk.live().run("Where is W2?", run_id="r")).ending is Ending.DEGRADED

    try:
        simulated(main)
        (span,) = [span for span in heard.spans if span.name.startswith("chat")]
        told = dict(span.attributes or {})
        assert (told["gen_ai.response.model"], told["plimsoll.call.rung"]) == ("own", 2)
        (asked,) = [span for span in heard.spans if span.name == "attempt own"]
        assert dict(asked.attributes or {})["gen_ai.provider.name"] == "local"
    finally:
        heard.close()


def test_another_model_is_another_version_of_the_agent(bench: Bench) -> None:
    def fingerprint(own: Own) -> str:
        desk = desk_of(bench, refunding, fingerprint="")
        desk.own = own
        return str(desk.live().fingerprint)

    async def main() -> None:
        one, same, other = Own(refunding), Own(refunding), Own(refunding)
        other.digest = "f" * 64
        assert fingerprint(one) == fingerprint(same) != fingerprint(other)

    simulated(main)


def on_trial(bench: Bench, section: Model, own: Own) -> Any:
    """The desk's agent as the gate tries it: its own model is the only other one."""
    models = {"primary": replaced(contract().models["primary"], fallback=("own", "canned")), "own": section}
    promised = contract(models={**models, "canned": contract().models["canned"]})
    agent = bench.adapter.harden(
        bench.agent(), promised, models={"own": own}, verifiers={"refund": verify}, fingerprint="v1"
    )
    return bench.adapter.hardened_subject(agent)


def played(bench: Bench, **stand_ins: Script) -> Scenario:
    """The scenario of the gate's own tests, with these stand-ins beside that for the provider."""

    def models(world: Any) -> Any:
        return {name: bench.model(script) for name, script in {"primary": Script(think), **stand_ins}.items()}

    whole = scenario(bench, "W2")
    return replace(whole, models=models, adversaries={})


def test_the_gate_asks_it_itself_and_says_which_it_was(bench: Bench) -> None:
    own = Own(refunding)
    subject = on_trial(bench, replaced(OWN, retry=AGAIN), own)
    assert subject.local_models == {"own": Own.digest}
    verdict = narrow_verdict(
        subject, [played(bench)], kinds=("server_error",), at="primary", then=("server_error", "hang", "empty")
    )
    assert own.heard, "no stand-in was given for it"
    assert verdict.failing_trials == 0, verdict.reasons
    assert {cell.group for cell in verdict.cells} >= {"primary", "own"}
    assert verdict.local_models == {"own": Own.digest}
    assert f"own ({Own.digest[:12]})" in mode_text(verdict)


def test_the_gate_names_none_that_a_stand_in_played(bench: Bench) -> None:
    own = Own(refunding)
    subject = on_trial(bench, replaced(OWN, retry=AGAIN), own)
    verdict = narrow_verdict(subject, [played(bench, own=Script(think))], kinds=("server_error",), at="primary")
    assert verdict.failing_trials == 0, verdict.reasons
    assert (own.heard, verdict.local_models) == ([], {})


def test_the_gate_cannot_ask_one_behind_an_address(bench: Bench) -> None:
    subject = on_trial(bench, Model(local="http://127.0.0.1:8000/v1"), Own(refunding))
    assert subject.local_models == {}
    desk = Desk(bench, Script("unused"))
    with pytest.raises(Misuse, match=r"models\.own: what is behind an address cannot be asked in simulated time"):
        subject.live(desk.surroundings(), {"primary": bench.model(Script("unused"))}, desk.shop)


def test_one_that_cannot_be_loaded_stops_the_agent_before_it_begins(bench: Bench, tmp_path: Any) -> None:
    own = Model(local=str(tmp_path / "gone"))
    models = {"primary": Model(fallback=("own", "canned")), "own": own, "canned": CANNED}
    with pytest.raises(WeightsError, match=r"gone: there is no such directory"):
        bench.adapter.harden(bench.agent(), contract(models=models), models={"primary": bench.model(Script("unused"))})


def test_one_for_the_first_rung_or_for_a_providers_is_refused(bench: Bench) -> None:
    first = contract(models={"primary": Model(local="models/assistant")})
    with pytest.raises(Misuse, match=r"models\.primary\.local: the first model is the agent's own"):
        bench.adapter.harden(bench.agent(), first)
    with pytest.raises(Misuse, match=r"a local model was given for models\.backup"):
        bench.adapter.harden(bench.agent(), contract(), models={"backup": Own(refunding)})
    both = contract(models={"primary": Model(fallback=("own",)), "own": Model(id="x", local="models/assistant")})
    with pytest.raises(Misuse, match=r"models\.own\.id: a local model has no id"):
        bench.adapter.harden(bench.agent(), both)


class Picky(Own):
    """One that knows beforehand which tools it could not call."""

    def check(self, tools: Sequence[Mapping[str, Any]]) -> None:
        names = sorted(tool["function"]["name"] for tool in tools)
        assert all(tool["function"]["parameters"] for tool in tools)
        raise Misuse(f"it could not call {', '.join(names)}")


def test_a_tool_that_it_could_not_call_is_told_before_the_agent_begins(bench: Bench) -> None:
    desk = desk_of(bench, refunding)
    desk.own = Picky(refunding)
    with pytest.raises(Misuse, match="it could not call find_order, refund"):
        desk.live()
