"""The sinks that a contract names: built from it, told of real runs, and never told what an agent was asked."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.model import (
    AgentSection,
    AlertsSection,
    Approval,
    Contract,
    Limits,
    Mode,
    Model,
    OutputRule,
    Protections,
    Retry,
    Tool,
)
from plimsoll.core.calls import Effect, Ending, Fault, Unknown, Usage
from plimsoll.core.clock import ManualClock, SystemClock
from plimsoll.core.errors import CallFailed, Misuse, PlimsollError
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.observability.findings import ConsoleSink, LogSink
from plimsoll.observability.throttle import Throttle
from plimsoll.observability.webhook import WebhookSink, webhook_key
from plimsoll.runtime.alerting import WEBHOOK_ENV, new_webhook_key, sinks_of
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.local import local
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from tests.observability.receivers import Receiver, receiver


def built(section: AlertsSection, tmp_path: Path, **environ: str) -> tuple[Any, ...]:
    return sinks_of(
        section, directory=tmp_path, environ=environ, clock=ManualClock(), rng=seeded_rng(7), ids=SequentialIds()
    )


def test_without_a_webhook_findings_go_to_the_log_alone(tmp_path: Path) -> None:
    (log,) = built(AlertsSection(), tmp_path)
    assert isinstance(log, LogSink)


def test_a_webhook_stands_behind_a_throttle_and_the_log_does_not(tmp_path: Path) -> None:
    (tmp_path / "alerts.key").write_text(new_webhook_key() + "\n")
    section = AlertsSection(webhook="env:HOOK", webhook_key_file="alerts.key", window_s=60.0, per_minute=3)
    log, webhook = built(section, tmp_path, HOOK="https://hooks.example/s3cret")
    assert isinstance(log, LogSink)
    assert isinstance(webhook, Throttle)


@pytest.mark.parametrize(
    ("section", "environ", "says"),
    [
        (AlertsSection(webhook="env:HOOK"), {}, "the environment has no HOOK"),
        (AlertsSection(webhook="env:HOOK"), {"HOOK": ""}, "the environment has no HOOK"),
        (AlertsSection(webhook="env:HOOK"), {"HOOK": "s3cret"}, "address is none"),
        (AlertsSection(webhook="https://a.example"), {WEBHOOK_ENV: "s3cret"}, f"{WEBHOOK_ENV} holds no webhook key"),
        (
            AlertsSection(webhook="https://a.example", webhook_key_file="no.key"),
            {},
            "the contract's webhook_key_file .*no.key cannot be read",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_told_at_once(
    section: AlertsSection, environ: dict[str, str], says: str, tmp_path: Path
) -> None:
    with pytest.raises(Misuse, match=says) as caught:
        built(section, tmp_path, **environ)
    assert "s3cret" not in str(caught.value)


def test_a_key_that_is_made_is_one() -> None:
    assert len(webhook_key(new_webhook_key(), source="here")) == 32


# ------------------------------------------------------------------------------------------------------- whole runs


async def down(prompt: Any) -> ModelReply:
    raise ConnectionError(f"no route to {SECRET}")


async def asks(run: Run, request: Any) -> str:
    return (await run.model({"ask": request})).text


def served(contract: Contract, folder: Path, *, runs: int, sinks: Any = None, **options: Any) -> list[Ending]:
    """So many runs, all at once, in surroundings as the contract has them."""

    async def session() -> list[Ending]:
        surroundings = local(contract, directory=folder, sinks=sinks)
        try:
            async with Harness(contract, surroundings=surroundings, **options) as harness:
                results = await asyncio.gather(*(harness.run("hello", run_id=f"run-{n}") for n in range(runs)))
                return [result.ending for result in results]
        finally:
            await surroundings.store.close()

    return asyncio.run(session())


def alerting(url: str, **changes: Any) -> Contract:
    return Contract(
        agent=AgentSection(name="desk"),
        models={"primary": Model()},
        alerts=AlertsSection(webhook=url, run_url="https://ops.example/{run_id}", **changes),
    )


def test_one_cause_in_fifty_runs_is_one_alert_and_how_often(tmp_path: Path) -> None:
    with receiver() as told:
        endings = served(alerting(told.url), tmp_path, runs=50, agent=asks, models={"primary": down})
    assert endings == [Ending.FAILED] * 50
    sent = {
        (body["data"]["kind"], body["data"]["fault"], body["text"].rpartition("(")[2][:7], body["data"]["run_url"])
        for body in map(json.loads, (body for _, body in told.requests))
    }
    first, last = "https://ops.example/run-0", "https://ops.example/run-49"
    assert {(kind, url) for kind, _, _, url in sent} == {
        (kind, url) for kind in ("attempt_failed", "call_failed") for url in (first, last)
    }
    assert len(told.requests) == 4
    assert sum("(49 more in 60 min)" in json.loads(body)["data"]["message"] for _, body in told.requests) == 2


def test_a_dead_endpoint_changes_nothing_for_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def well(prompt: Any) -> ModelReply:
        return ModelReply(text="Hello.", usage=Usage(input_tokens=1, output_tokens=1))

    with receiver() as told:
        url = told.url
    models = {"primary": Model(fallback=("backup",)), "backup": Model()}
    contract = Contract(agent=AgentSection(name="desk"), models=models)
    clock = SystemClock()
    sink = WebhookSink(url, clock=clock, rng=seeded_rng(7), ids=SequentialIds(), patience_s=0.05)
    endings = served(
        contract,
        tmp_path,
        runs=3,
        sinks=[Throttle(sink, clock=clock)],
        agent=asks,
        models={"primary": down, "backup": well},
    )
    assert endings == [Ending.DEGRADED] * 3
    assert sink.lost.total() == 4  # two causes, and how often each was there again
    assert sum("could not be delivered" in line for line in caplog.messages) == 4


# ------------------------------------------------------------------------------------------------------ no payloads

SECRET = "SEKRET-4111"


class Declined(ValueError):
    """The bank says no."""


def bank() -> list[Callable[..., Any]]:
    """Tools that put the secret wherever a dependency can put anything."""

    async def breaks(card: str) -> Any:
        raise ConnectionError(f"no route for {card}")

    async def refuses(card: str) -> Any:
        raise Declined(f"{card} was declined")

    async def lies(card: str) -> Any:
        return {"error": f"card {card} is unknown"}

    async def misshapes(card: str) -> Any:
        return {card: card}

    async def repeats(card: str) -> Any:
        return {"card": card, SECRET: SECRET}

    async def pays(card: str) -> Any:
        raise ConnectionError(f"the answer for {card} was lost")

    async def asks_first(card: str) -> Any:
        return {"paid": card}

    return [breaks, refuses, lies, misshapes, repeats, pays, asks_first]


async def everything(run: Run, request: str) -> str:
    for tool in ("breaks", "refuses", "lies", "misshapes", "repeats", "repeats", "repeats", "asks_first"):
        try:
            await run.call(tool, {"card": SECRET})
        except PlimsollError:
            continue
    with suppress(CallFailed):
        await run.model({"ask": SECRET})
    if request == "pay":
        await run.call("pays", {"card": SECRET})
    if request == "crash":
        raise RuntimeError(SECRET)
    return f"I have paid {SECRET}"


def cannot_look(args: Mapping[str, Any], key: str) -> Any:
    if args["card"] == SECRET:
        raise LookupError(SECRET)
    return Unknown()


def leaky(url: str, **protections: Mode) -> Contract:
    read = Tool(effect=Effect.READ, retry=Retry(on=(Fault.CONNECTION,), base_s=0.001, max_attempts=2))
    asked = Tool(approval=Approval(when="card > 5", approvers=("ana",)))
    return Contract(
        agent=AgentSection(name="leaky"),
        limits=Limits(tokens=10_000, repeats=3),
        models={"primary": Model(retry=Retry(on=(Fault.CONNECTION,), base_s=0.001)), "odd": Model()},
        tools={
            "breaks": read,
            "refuses": Tool(proves_nothing_happened=("Declined",)),
            "lies": read,
            "misshapes": Tool(effect=Effect.READ, output=OutputRule(required=("id",))),
            "repeats": read,
            "pays": Tool(verify="unused:unused", claims=("I have paid",)),
            "asks_first": asked,
        },
        protections=Protections(loops=Mode.OBSERVE, **protections),
        alerts=AlertsSection(webhook=url, per_minute=1000),
    )


def everything_told(told: Receiver, tmp_path: Path, stream: io.StringIO, request: str, **protections: Mode) -> None:
    contract = leaky(told.url, **protections)

    async def session() -> None:
        surroundings = local(contract, directory=tmp_path)
        console = local(contract, path=tmp_path / "other.db", sinks=[*surroundings.sinks, ConsoleSink(stream)])
        async with Harness(
            contract,
            agent=everything,
            surroundings=console,
            tools=bank(),
            models={"primary": down},
            verifiers={"pays": cannot_look},
        ) as harness:
            result = await harness.run(request, run_id=f"run-{request}")
            if result.ending is Ending.PARKED:
                await harness.operations.cancel(result.run_id, by="ana", reason=SECRET)
                await harness.wake()
        await surroundings.store.close()
        await console.store.close()

    asyncio.run(session())


@pytest.mark.parametrize("request_", ["pay", "crash", "claim"])
def test_what_an_agent_was_asked_told_or_answered_is_in_no_alert(
    request_: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "plimsoll")
    stream = io.StringIO()
    with receiver() as told:
        everything_told(told, tmp_path, stream, request_, approvals=Mode.OBSERVE)
    bodies = b"\n".join(body for _, body in told.requests)
    kinds = {json.loads(body)["data"]["kind"] for _, body in told.requests}
    assert {"attempt_failed", "call_failed", "silent_failure", "loop", "approval_skipped"} <= kinds
    assert ("claimed_not_done" in kinds) == (request_ == "claim")
    assert ("in_doubt_unresolved" in kinds) == (request_ == "pay")
    assert SECRET.encode() not in bodies
    assert SECRET not in stream.getvalue()
    assert SECRET not in caplog.text
