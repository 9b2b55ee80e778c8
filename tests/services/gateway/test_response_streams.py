"""Streamed responses: typed events as they come, and what is told where they break off."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response, StreamingResponse

from plimsoll.core.calls import Status
from plimsoll.services.gateway.responses import RESPONSES
from tests.services.gateway.serving import Gateway, Upstream, evented, fails, gateway, hang, response, spoken
from tests.services.gateway.test_responses import CALL
from tests.services.gateway.test_runs import calls

WHOLE = response("It is so.")
EVENTS = spoken(WHOLE)
FAILED = {
    "type": "response.failed",
    "response": response(status="failed", error={"code": "server_error", "message": "?"}),
}


def shown(client: openai.OpenAI, *, model: str = "primary", **headers: str) -> tuple[list[Any], str]:
    """The events of a stream, and all of its text."""
    events = list(client.responses.create(model=model, input="hello", stream=True, extra_headers=headers))
    return events, "".join(event.delta for event in events if event.type == "response.output_text.delta")


def test_events_are_passed_on_as_they_are(served_gateway: Gateway, upstream: Upstream) -> None:
    upstream.does["first"] = lambda body: evented(EVENTS)
    events, text = shown(served_gateway.client(), **{"x-plimsoll-run": "evented"})
    assert text == "It is so."
    assert [event.type for event in events] == [event["type"] for event in EVENTS]
    assert [event.sequence_number for event in events] == list(range(len(EVENTS)))
    assert events[0].response.model == events[-1].response.model == "primary"
    (call,) = calls(served_gateway, "team-a/evented")
    assert call.outcome.value["body"] == WHOLE
    assert call.outcome.usage is not None
    assert (call.outcome.usage.input_tokens, call.outcome.usage.output_tokens) == (7, 3)


def test_the_clients_own_helper_reads_a_stream(served_gateway: Gateway, upstream: Upstream) -> None:
    with served_gateway.client().responses.stream(model="primary", input="hello") as stream:
        assert stream.get_final_response().output_text == "first says hello."


@pytest.mark.parametrize(
    "whole",
    [
        WHOLE,
        response(items=[{**CALL, "arguments": '{"id": 3}'}]),
        response(items=[{"id": "rs_1", "type": "reasoning", "summary": []}, *WHOLE["output"]]),
    ],
)
def test_an_upstream_that_does_not_stream_is_shown_as_a_stream(
    served_gateway: Gateway, upstream: Upstream, whole: dict[str, Any]
) -> None:
    upstream.does["first"] = lambda body: JSONResponse(whole)
    with served_gateway.client().responses.stream(model="primary", input="hello") as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == [item["type"] for item in whole["output"]]
    assert final.output_text == ("It is so." if whole["output"][-1]["type"] == "message" else "")


def test_a_canned_answer_is_shown_as_a_stream(served_gateway: Gateway, upstream: Upstream) -> None:
    upstream.does["first"] = fails(500)
    with served_gateway.client().responses.stream(model="polite", input="hello") as stream:
        assert stream.get_final_response().output_text == "Nobody can answer that now."


@pytest.mark.parametrize(
    "broken",
    [
        fails(500),
        hang,
        lambda body: evented([]),
        lambda body: evented(EVENTS[:4]),
        lambda body: evented([*EVENTS[:2], FAILED]),
        lambda body: evented([*EVENTS[:2], {"type": "error", "code": "server_error", "message": "?"}]),
        lambda body: evented([*EVENTS[:2], {"error": {"message": "overloaded"}}]),
        lambda body: evented([{"type": 3}]),
        lambda body: evented([{"type": "a\nb"}]),
        lambda body: evented([{"no": "type"}]),
        lambda body: evented([*EVENTS[:2], {"type": "response.completed", "response": "?"}]),
        lambda body: evented([*EVENTS[:2], {"type": "response.completed", "response": response("")}]),
        lambda body: JSONResponse(response("")),
        lambda body: StreamingResponse(_text("data: <html>\n\n"), media_type="text/event-stream"),
    ],
)
def test_the_next_rung_answers_where_nothing_was_shown(
    served_gateway: Gateway, upstream: Upstream, broken: Any
) -> None:
    upstream.does["first"] = broken
    _, text = shown(served_gateway.client())
    assert text == "second says hello."


def test_a_stream_that_says_that_it_failed_is_a_server_that_did(served_gateway: Gateway, upstream: Upstream) -> None:
    upstream.does["first"] = lambda body: evented([*EVENTS[:2], FAILED])
    with pytest.raises(openai.InternalServerError, match="the last: server_error"):
        shown(served_gateway.client(), model="lone")


async def _text(text: str) -> AsyncIterator[str]:
    yield text


@pytest.mark.parametrize(
    "broken",
    [
        spoken(WHOLE, ends=False),
        [*spoken(WHOLE, ends=False), FAILED],
        [*spoken(WHOLE, ends=False), {"type": "error", "code": "server_error", "message": "?"}],
        [*spoken(WHOLE, ends=False), {"type": "response.completed", "response": response("")}],
        [*spoken(WHOLE, ends=False), {"nothing": "of an event"}],
        spoken(response("It is so.", status="incomplete")),
    ],
)
@pytest.mark.parametrize("model", ["primary", "lone"])
def test_what_was_shown_cannot_be_taken_back(
    served_gateway: Gateway, upstream: Upstream, broken: Any, model: str
) -> None:
    upstream.does["first"] = lambda body: evented(broken)
    with pytest.raises(openai.APIError) as failed:
        shown(served_gateway.client(), model=model)
    assert failed.value.code == ("stream_restarted" if model == "primary" else "upstream_failed")


def test_an_upstream_that_hangs_between_events_is_given_up(
    tmp_path: Path, upstream: Upstream, upstream_url: str
) -> None:
    class Stuck(StreamingResponse):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            for event in EVENTS[:5]:
                line = httpx2.Response(200, json=event).text
                await send({"type": "http.response.body", "body": f"data: {line}\n\n".encode(), "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass

    upstream.does["first"] = lambda body: Stuck(_text(""), media_type="text/event-stream")
    with gateway(tmp_path, upstream_url, timeout_s=0.3) as running, pytest.raises(openai.APIError) as failed:
        shown(running.client())
    assert failed.value.code == "stream_restarted"


def test_a_streamed_answer_is_given_again_by_its_key(tmp_path: Path, upstream: Upstream, upstream_url: str) -> None:
    upstream.does["first"] = lambda body: evented(EVENTS)
    for _ in range(2):
        with gateway(tmp_path, upstream_url) as running:
            events, text = shown(running.client(), **{"idempotency-key": "k1"})
            assert (text, events[-1].type) == ("It is so.", "response.completed")
    assert len(upstream.asked) == 1


def test_a_client_that_leaves_ends_its_call(served_gateway: Gateway, upstream: Upstream) -> None:
    said = response("x" * 4096)

    def lengthy(body: dict[str, Any]) -> Response:
        (delta,) = (event for event in spoken(said) if event["type"] == "response.output_text.delta")
        return evented([*EVENTS[:4], *[delta] * 5000])

    upstream.does["second"] = lengthy
    client = served_gateway.client()
    headers = {"x-plimsoll-run": "gone"}
    with client.responses.create(model="second", input="hello", stream=True, extra_headers=headers) as stream:
        next(event for event in stream if event.type == "response.output_text.delta")
    upstream.does.clear()
    shown(client, **headers)  # waits for its turn
    left, whole = calls(served_gateway, "team-a/gone")
    assert (left.outcome.status, whole.outcome.status) == (Status.ABANDONED, Status.OK)
    (message,) = left.outcome.value["body"]["output"]
    assert set(message["content"][0]["text"]) == {"x"}


EVENT = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted({event["type"] for event in EVENTS} | {"response.failed", "error", "nonsense"}))},
    optional={
        "output_index": st.integers(-1, 2) | st.none(),
        "delta": st.text(max_size=3) | st.integers(),
        "item": st.none() | st.just(WHOLE["output"][0]) | st.just({**CALL, "arguments": ""}),
        "response": st.none() | st.just(WHOLE) | st.just({}) | st.just(response(items=[3])),
    },
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck])
@given(events=st.lists(EVENT, max_size=6))
def test_whatever_events_an_upstream_sends_are_an_answer_or_an_error(
    served_gateway: Gateway, upstream: Upstream, events: list[dict[str, Any]]
) -> None:
    upstream.does["second"] = lambda body: evented(events)
    body = {"model": "second", "input": "hello", "stream": True}
    headers = {"authorization": f"Bearer {served_gateway.key('garbage')}"}
    answer = httpx2.post(f"{served_gateway.url}/v1/responses", json=body, headers=headers, timeout=20)
    if answer.status_code != 200:
        assert answer.json()["error"]["code"] in ("upstream_failed", "upstream_timeout"), answer.text
    else:
        last = answer.text.rstrip().rpartition("event: ")[2].partition("\n")[0]
        assert last in ("response.completed", "response.incomplete", "error")


def test_what_is_left_of_a_stream_is_what_was_shown() -> None:
    call = {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"id"'}
    added = {"type": "response.output_item.added", "output_index": 1, "item": {**CALL, "arguments": ""}}
    left = RESPONSES.assembled([*EVENTS[:5], added, call])
    assert left["status"] == "in_progress"
    assert left["output"][0]["content"][0]["text"] == "It "
    assert left["output"][1]["arguments"] == '{"id"'
    assert not RESPONSES.is_ended(left)
