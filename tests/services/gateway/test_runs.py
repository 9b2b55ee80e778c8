"""A request as a call of a run: limits, idempotency, restarts, and what is in the journal."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.responses import JSONResponse

from plimsoll.contract.loading import parse_contract
from plimsoll.core.calls import CallInfo, Ending
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import OutputRejected
from plimsoll.core.events import CallSettled, Event, RunStarted
from plimsoll.journal.store import RunHead, RunState
from plimsoll.journal.writer import Journal
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.local import local
from plimsoll.runtime.operations import Operations
from plimsoll.services.gateway.runs import FINGERPRINT
from tests.services.gateway.serving import CONTRACT, Gateway, Upstream, fails, gateway

LIMITED = CONTRACT + '\n[limits]\nsteps = 3\n[journal]\npath = "runs.db"\n'


def say(client: openai.OpenAI, text: str = "hello", *, model: str = "primary", **headers: str) -> Any:
    """Asks, and returns the raw response. `run` and `key` are headers."""
    names = {"run": "x-plimsoll-run", "key": "idempotency-key"}
    return client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": text}],
        extra_headers={names[name]: value for name, value in headers.items()},
    )


def head(running: Gateway, run_id: str) -> RunHead:
    found = asyncio.run(running.store.head(run_id))
    assert found is not None
    return found


def events(running: Gateway, run_id: str) -> list[Event]:
    return [record.event for record in asyncio.run(running.store.read(run_id))]


def calls(running: Gateway, run_id: str) -> list[CallSettled]:
    return [event for event in events(running, run_id) if isinstance(event, CallSettled)]


def test_a_request_without_a_run_is_a_run_of_its_own(served_gateway: Gateway, upstream: Upstream) -> None:
    run = say(served_gateway.client()).headers["x-plimsoll-run"]
    assert head(served_gateway, f"team-a/{run}").ending is Ending.COMPLETE
    upstream.does["first"] = fails(500)
    run = say(served_gateway.client()).headers["x-plimsoll-run"]
    assert head(served_gateway, f"team-a/{run}").ending is Ending.DEGRADED
    (call,) = calls(served_gateway, f"team-a/{run}")
    assert call.outcome.rung == 1
    assert "hello" not in str(events(served_gateway, f"team-a/{run}")[0])


def test_requests_of_a_run_follow_one_another(served_gateway: Gateway, upstream: Upstream) -> None:
    client = served_gateway.client()
    answers = [say(client, f"turn {number}", run="chat-1") for number in range(3)]
    assert [answer.headers["x-plimsoll-run"] for answer in answers] == ["chat-1"] * 3
    assert len(upstream.asked) == 3
    assert [call.key for call in calls(served_gateway, "team-a/chat-1")] == ["request-1", "request-2", "request-3"]


def test_requests_of_one_run_at_once_wait_for_one_another(served_gateway: Gateway, upstream: Upstream) -> None:
    client = served_gateway.client()
    answered: list[str] = []

    def ask(number: int) -> None:
        answered.append(say(client, f"turn {number}", run="crowd").headers["x-plimsoll-run"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answered == ["crowd"] * 3
    assert len(calls(served_gateway, "team-a/crowd")) == 3


def test_a_runs_limits_hold_over_all_of_its_requests(tmp_path: Path, upstream: Upstream, upstream_url: str) -> None:
    for life in range(2):  # a restart changes nothing
        with gateway(tmp_path, upstream_url, LIMITED) as running:
            client = running.client(f"team-{life}")
            client = client if life == 0 else running.client("team-0")
            asks = 2 if life == 0 else 1
            for number in range(asks):
                say(client, f"{life}.{number}", run="long")
            if life:
                with pytest.raises(openai.RateLimitError) as halted:
                    say(client, "one more", run="long")
                assert isinstance(halted.value.body, dict)
                assert halted.value.body["code"] == "limit_steps"
                assert halted.value.response.headers["x-should-retry"] == "false"
                assert head(running, "team-0/long").ending is Ending.HALTED
                with pytest.raises(openai.RateLimitError):
                    say(client, "and another", run="long")
    assert len(upstream.asked) == 3


@pytest.mark.parametrize(
    ("limit", "code"), [("runs = 1", "limit_day_runs"), ("tokens = 100", "limit_day_tokens")], ids=["runs", "tokens"]
)
@pytest.mark.parametrize("streamed", [False, True])
def test_no_run_begins_on_a_day_that_is_used_up(
    tmp_path: Path, upstream: Upstream, upstream_url: str, limit: str, code: str, streamed: bool
) -> None:
    with gateway(tmp_path, upstream_url, f"{CONTRACT}\n[limits.day]\n{limit}\n") as running:
        asked: Any = {"model": "lone", "messages": [{"role": "user", "content": "hello"}], "stream": streamed}
        answered = 0
        with pytest.raises(openai.RateLimitError) as refused:
            for _ in range(2):
                running.client().chat.completions.create(**asked, max_tokens=80)
                answered += 1
        assert answered == (1 if code == "limit_day_runs" else 0) == len(upstream.asked)
        assert isinstance(refused.value.body, dict)
        assert refused.value.body["code"] == code
        assert refused.value.response.headers["x-should-retry"] == "false"


def test_the_same_key_and_body_are_answered_from_the_journal(
    tmp_path: Path, upstream: Upstream, upstream_url: str
) -> None:
    first: list[Any] = []
    for _ in range(2):
        with gateway(tmp_path, upstream_url) as running:
            client = running.client("team-a")
            for headers in ({"key": "k1"}, {"key": "k1", "run": "r1"}, {"key": "k2", "run": "r1"}):
                answer = say(client, **headers)
                first.append(json.loads(answer.text))
                assert ("x-plimsoll-replayed" in answer.headers) == (len(first) > 3)
            with pytest.raises(openai.UnprocessableEntityError) as refused:
                say(client, "something else", key="k1", run="r1")
            assert isinstance(refused.value.body, dict)
            assert refused.value.body["code"] == "idempotency_key_reused"
            with pytest.raises(openai.UnprocessableEntityError):
                say(client, "something else", key="k1")
            assert len(calls(running, "team-a/r1")) == 2
    assert len(upstream.asked) == 3
    assert first[:3] == first[3:]


@pytest.mark.parametrize("headers", [{"key": "k9"}, {"key": "k9", "run": "r9"}])
def test_what_brought_no_answer_is_asked_again_under_the_same_key(
    served_gateway: Gateway, upstream: Upstream, headers: dict[str, str]
) -> None:
    upstream.does["first"] = fails(500)
    client = served_gateway.client("retrying")
    with pytest.raises(openai.InternalServerError):
        say(client, model="lone", **headers)
    upstream.does.clear()
    assert "x-plimsoll-replayed" not in say(client, model="lone", **headers).headers
    assert say(client, model="lone", **headers).headers["x-plimsoll-replayed"] == "true"
    assert len(upstream.asked) == 2


def test_the_same_answers_over_and_over_are_a_loop(served_gateway: Gateway, upstream: Upstream) -> None:
    client = served_gateway.client()
    with pytest.raises(openai.RateLimitError) as halted:
        for _ in range(6):
            say(client, run="loop")
    assert isinstance(halted.value.body, dict)
    assert "halted" in halted.value.body["message"]


def test_a_killed_run_asks_nothing_more(served_gateway: Gateway, upstream: Upstream) -> None:
    client = served_gateway.client()
    say(client, run="killed")
    asyncio.run(Operations(served_gateway.store).kill(scope="team-a/killed", by="ops", reason="too much"))
    with pytest.raises(openai.RateLimitError) as halted:
        say(client, run="killed")
    assert isinstance(halted.value.body, dict)
    assert halted.value.body["code"] == "run_halted"
    say(client, run="others")
    assert len(upstream.asked) == 2


def test_an_interceptor_stands_between_the_gateway_and_its_upstreams(
    tmp_path: Path, upstream: Upstream, upstream_url: str
) -> None:
    async def faults(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        if site == "primary":
            raise OutputRejected(site, fault="empty", detail="injected")
        return await send()

    with gateway(tmp_path, upstream_url, interceptor=faults) as running:
        assert say(running.client()).headers["x-plimsoll-rung"] == "second"
    assert [body["model"] for body in upstream.asked] == ["second"]


def test_an_open_circuit_without_a_rung_below_is_told_with_its_time(
    tmp_path: Path, upstream: Upstream, upstream_url: str
) -> None:
    text = CONTRACT.replace("[models.lone]", "[models.lone]\ncircuit_breaker = { min_calls = 1 }")
    upstream.does["first"] = fails(500)
    with gateway(tmp_path, upstream_url, text) as running:
        for code in ("upstream_failed", "circuit_open"):
            with pytest.raises(openai.InternalServerError) as failed:
                say(running.client(), model="lone")
            assert isinstance(failed.value.body, dict)
            assert failed.value.body["code"] == code
    assert failed.value.status_code == 503
    assert int(failed.value.response.headers["retry-after"]) > 0
    assert len(upstream.asked) == 1


def test_embeddings_are_passed_through_and_never_another_models(served_gateway: Gateway, upstream: Upstream) -> None:
    vectors = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}]
    usage = {"prompt_tokens": 2, "total_tokens": 2}
    upstream.does["embed"] = lambda body: JSONResponse(
        {"object": "list", "data": vectors, "model": "e", "usage": usage}
    )
    client = served_gateway.client()
    made = client.embeddings.create(model="embed", input="text", encoding_format="float")
    assert made.data[0].embedding == [0.5, -0.25]
    with pytest.raises(openai.InternalServerError):
        client.embeddings.create(model="embed", input=["one", "two"], encoding_format="float")
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="primary", input="text")
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["code"] == "model_has_fallback"
    for nothing in ("", []):  # asked of an upstream, its answer would count against it
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="embed", input=nothing)
    assert [body["model"] for body in upstream.asked] == ["embed", "embed"]
    assert "max_completion_tokens" not in upstream.asked[0]


def test_what_a_dead_process_was_asked_is_ended_by_the_next(
    tmp_path: Path, upstream: Upstream, upstream_url: str
) -> None:
    contract = parse_contract(CONTRACT.replace("{base_url}", upstream_url).replace("{timeout_s}", "1"), file="c.toml")

    async def left() -> None:
        """As a process leaves them that dies: begun, and nobody advances them."""
        store = local(contract, directory=tmp_path, owner="dead").store
        journal = Journal(store, clock=SystemClock())
        for run, own, agent in (("own", True, "gateway"), ("named", False, "gateway"), ("theirs", False, "shop")):
            head = await store.begin(f"team-a/{run}", owner="dead", at=0.0)
            started = RunStarted(
                agent=agent,
                fingerprint=FINGERPRINT,
                contract_digest="",
                input={"tenant": "team-a", "own": own},
            )
            await journal.open(head).commit(started)
        await journal.close()
        await store.close()

    asyncio.run(left())
    with gateway(tmp_path, upstream_url) as running:
        assert head(running, "team-a/own").ending is Ending.FAILED
        assert head(running, "team-a/named").state is RunState.PARKED
        say(running.client(), run="named")
        with pytest.raises(openai.ConflictError) as failed:
            say(running.client(), run="theirs")
        assert isinstance(failed.value.body, dict)
        assert failed.value.body["code"] == "run_not_here"
    assert len(upstream.asked) == 1
