"""Streams: parts as they come, and what is told where they break off."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import pytest
from starlette.responses import JSONResponse, Response, StreamingResponse

from plimsoll.core.calls import Ending, Status
from plimsoll.services.gateway import streams, upstreams
from tests.services.gateway.serving import (
    CONTRACT,
    SPOKEN,
    USED,
    Gateway,
    Upstream,
    chunk,
    completion,
    fails,
    gateway,
    hang,
    streamed,
)
from tests.services.gateway.test_runs import calls, head

EVENTS = b"text/event-stream"
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


def shown(client: openai.OpenAI, *, model: str = "primary", usage: bool = False, **headers: str) -> tuple[Any, str]:
    """The chunks of a stream, and all of its text."""
    options: Any = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = list(
        client.chat.completions.create(model=model, messages=HELLO, stream=True, extra_headers=headers, **options)
    )
    return chunks, "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)


def test_parts_are_passed_on_as_they_are(served_gateway: Gateway, upstream: Upstream) -> None:
    chunks, text = shown(served_gateway.client(), **{"x-plimsoll-run": "spoken"})
    assert text == "It is so."
    assert [each.model for each in chunks] == ["primary"] * 5
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert upstream.asked[0]["stream_options"] == {"include_usage": True}
    (call,) = calls(served_gateway, "team-a/spoken")
    assert call.outcome.usage is not None
    assert (call.outcome.usage.input_tokens, call.outcome.usage.output_tokens) == (7, 3)
    assert call.outcome.value["body"]["choices"][0]["message"] == {"role": "assistant", "content": "It is so."}


def test_usage_is_shown_to_who_asks_for_it(served_gateway: Gateway, upstream: Upstream) -> None:
    chunks, _ = shown(served_gateway.client(), usage=True)
    assert chunks[-1].usage.total_tokens == 10


def test_a_part_is_shown_before_the_next_was_said(served_gateway: Gateway, upstream: Upstream) -> None:
    heard = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    def waits(body: dict[str, Any]) -> StreamingResponse:
        async def events() -> Any:
            loops.append(asyncio.get_running_loop())
            yield f"data: {json.dumps(chunk({'content': 'first'}))}\n\n"
            await heard.wait()  # until the client says that it has it
            yield f"data: {json.dumps(chunk({'content': ' last'}, 'stop'))}\n\ndata: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    upstream.does["second"] = waits
    stream = served_gateway.client().chat.completions.create(model="second", messages=HELLO, stream=True)
    texts = []
    for part in stream:
        texts.append(part.choices[0].delta.content)
        if len(texts) == 1:
            loops[0].call_soon_threadsafe(heard.set)
    assert texts == ["first", " last"]


def test_tool_calls_are_put_together_for_the_journal(served_gateway: Gateway, upstream: Upstream) -> None:
    def call(index: int, **function: str) -> dict[str, Any]:
        named = {"id": f"c{index}", "type": "function"} if "name" in function else {}
        return chunk({"tool_calls": [{"index": index, **named, "function": function}]})

    parts = [call(0, name="find", arguments=""), call(0, arguments='{"id"'), call(1, name="stop", arguments="{}")]
    upstream.does["first"] = lambda body: streamed([*parts, call(0, arguments=": 3}"), chunk({}, "tool_calls"), USED])
    shown(served_gateway.client(), **{"x-plimsoll-run": "tools"})
    made = calls(served_gateway, "team-a/tools")[0].outcome.value["body"]["choices"][0]["message"]["tool_calls"]
    assert [(each["id"], each["function"]) for each in made] == [
        ("c0", {"name": "find", "arguments": '{"id": 3}'}),
        ("c1", {"name": "stop", "arguments": "{}"}),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        fails(500),
        hang,
        lambda body: streamed([]),
        lambda body: streamed([SPOKEN[0]]),
        lambda body: streamed([SPOKEN[0], chunk({}, "stop")]),
        lambda body: streamed([{"error": {"message": "overloaded"}}]),
        lambda body: JSONResponse(completion("")),
    ],
)
def test_the_next_rung_answers_where_nothing_was_shown(
    served_gateway: Gateway, upstream: Upstream, broken: Any
) -> None:
    upstream.does["first"] = broken
    stream = served_gateway.client().chat.completions.with_raw_response.create(
        model="primary", messages=HELLO, stream=True
    )
    assert (stream.headers["x-plimsoll-rung"], stream.headers["x-plimsoll-degraded"]) == ("second", "true")
    text = "".join(part.choices[0].delta.content or "" for part in stream.parse())
    assert text == "It is so."


@pytest.mark.parametrize(
    "broken",
    [
        lambda body: streamed(SPOKEN, done=False),
        lambda body: streamed([*SPOKEN, chunk({}, "length")]),
        lambda body: streamed([*SPOKEN, {"error": {"message": "overloaded"}}]),
    ],
)
@pytest.mark.parametrize("model", ["primary", "lone"])
def test_what_was_shown_cannot_be_taken_back(
    served_gateway: Gateway, upstream: Upstream, broken: Any, model: str
) -> None:
    upstream.does["first"] = broken
    with pytest.raises(openai.APIError) as failed:
        shown(served_gateway.client(), model=model)
    assert failed.value.code == ("stream_restarted" if model == "primary" else "upstream_failed")


def test_an_upstream_that_does_not_stream_is_shown_as_a_stream(served_gateway: Gateway, upstream: Upstream) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    upstream.does["first"] = lambda body: JSONResponse(completion("all at once", tool_calls=[call]))
    chunks, text = shown(served_gateway.client(), usage=True)
    assert text == "all at once"
    assert chunks[0].choices[0].delta.tool_calls[0].index == 0
    assert chunks[-1].usage.total_tokens == 10


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_an_event_is_what_stands_between_ends_of_lines(served_gateway: Gateway, upstream: Upstream, ends: str) -> None:
    said = "one\u2028two\x85three grüße"
    lines = [": hello", "event: x", "data: " + json.dumps(chunk({"content": said}), ensure_ascii=False), ""]
    lines += ["data:" + json.dumps(chunk({}, "stop")), "", "data: [DONE]", "", "data: after the end", "", ""]
    raw = ends.join(lines).encode()

    def by_the_byte(body: dict[str, Any]) -> StreamingResponse:
        async def events() -> Any:
            for index in range(len(raw)):
                yield raw[index : index + 1]

        return StreamingResponse(events(), media_type="Text/Event-Stream")

    for does in (by_the_byte, lambda body: Response(raw, media_type="text/event-stream")):
        upstream.does["second"] = does
        _, text = shown(served_gateway.client(), model="second")
        assert text == said


def test_a_line_that_does_not_end_is_not_held_for_ever(
    tmp_path: Path, upstream: Upstream, upstream_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams, "MAX_ANSWER_BYTES", 100_000)

    class Endless(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [[b"content-type", EVENTS]]})
            await send({"type": "http.response.body", "body": b"data: " + b"x" * 200_000, "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass

    text = CONTRACT.replace("[models.lone]", "[models.lone]\ntimeout_s = 20")
    with gateway(tmp_path, upstream_url, text) as running:
        upstream.does["first"] = lambda body: Endless()
        with pytest.raises(openai.InternalServerError) as failed:
            shown(running.client(), model="lone")
        assert failed.value.code == "upstream_failed"  # and not that it took too long


def test_a_tool_call_that_repeats_its_names_as_nothing_is_whole(served_gateway: Gateway, upstream: Upstream) -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id"'}}
    more = {"index": 0, "id": "", "type": "function", "function": {"name": "", "arguments": ": 3}"}}
    parts = [chunk({"role": "assistant", "tool_calls": [first]}), chunk({"role": "", "tool_calls": [more]})]
    upstream.does["second"] = lambda body: streamed([*parts, chunk({}, "tool_calls")])
    chunks, _ = shown(served_gateway.client(), model="second", **{"x-plimsoll-run": "repeats"})
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    message = calls(served_gateway, "team-a/repeats")[0].outcome.value["body"]["choices"][0]["message"]
    whole = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id": 3}'}}
    assert message == {"role": "assistant", "tool_calls": [whole]}


@pytest.mark.parametrize(
    "part",
    [
        {"choices": [{"index": [1], "delta": {"content": "x"}}]},
        {"choices": [{"index": None, "delta": {"content": "x"}}]},
        {"choices": [{"delta": {"content": 5}}]},
        chunk({"tool_calls": "find"}),
        chunk({"tool_calls": ["find"]}),
        chunk({"tool_calls": [{"index": [1]}]}),
        chunk({"tool_calls": [{"index": 0, "function": "find"}]}),
    ],
)
def test_what_is_no_part_is_not_shown(served_gateway: Gateway, upstream: Upstream, part: dict[str, Any]) -> None:
    upstream.does["first"] = lambda body: streamed([part, *SPOKEN, chunk({}, "stop")])
    stream = served_gateway.client().chat.completions.with_raw_response.create(
        model="primary", messages=HELLO, stream=True
    )
    assert stream.headers["x-plimsoll-rung"] == "second"
    assert "".join(part.choices[0].delta.content or "" for part in stream.parse()) == "It is so."


def test_an_answer_given_again_has_all_that_it_had(served_gateway: Gateway, upstream: Upstream) -> None:
    logprobs = {"content": [{"token": "so", "logprob": -0.5, "bytes": [115, 111], "top_logprobs": []}], "refusal": None}
    said = chunk({"content": "so"})
    said["choices"][0]["logprobs"] = logprobs
    upstream.does["second"] = lambda body: streamed([said, chunk({}, "stop")])
    for _ in range(2):
        chunks, _ = shown(served_gateway.client(), model="second", **{"idempotency-key": "with logprobs"})
        assert chunks[0].choices[0].logprobs.model_dump() == logprobs
    assert len(upstream.asked) == 1


def test_a_canned_answer_is_shown_as_a_stream(served_gateway: Gateway, upstream: Upstream) -> None:
    upstream.does["first"] = fails(500)
    stream = served_gateway.client().chat.completions.with_raw_response.create(
        model="polite", messages=HELLO, stream=True
    )
    assert stream.headers["x-plimsoll-rung"] == "canned"
    assert "".join(part.choices[0].delta.content or "" for part in stream.parse()) == "Nobody can answer that now."


def test_an_error_before_the_first_part_has_its_status(served_gateway: Gateway, upstream: Upstream) -> None:
    upstream.does["first"] = fails(429, {"retry-after": "3"})
    with pytest.raises(openai.RateLimitError) as failed:
        shown(served_gateway.client(), model="lone")
    assert failed.value.response.headers["retry-after"] == "3"
    upstream.does["first"] = fails(400)
    with pytest.raises(openai.BadRequestError):
        shown(served_gateway.client())


def test_a_streamed_answer_is_given_again_by_its_key(tmp_path: Path, upstream: Upstream, upstream_url: str) -> None:
    for _ in range(2):
        with gateway(tmp_path, upstream_url) as running:
            _, text = shown(running.client(), **{"idempotency-key": "k1"})
            assert text == "It is so."
    assert len(upstream.asked) == 1


def test_a_client_that_leaves_ends_its_call(served_gateway: Gateway, upstream: Upstream) -> None:
    def lengthy(body: dict[str, Any]) -> StreamingResponse:
        async def events() -> Any:
            for _ in range(5000):
                yield f"data: {json.dumps(chunk({'content': 'x' * 4096}))}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    upstream.does["second"] = lengthy
    client = served_gateway.client()
    headers = {"x-plimsoll-run": "left"}
    with client.chat.completions.create(model="second", messages=HELLO, stream=True, extra_headers=headers) as stream:
        next(iter(stream))
    upstream.does.clear()
    shown(client, **headers)  # waits for its turn
    left, whole = calls(served_gateway, "team-a/left")
    assert (left.outcome.status, whole.outcome.status) == (Status.ABANDONED, Status.OK)
    assert head(served_gateway, "team-a/left").ending is not Ending.FAILED


def test_a_client_that_takes_nothing_holds_nothing_for_long(
    served_gateway: Gateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lengthy(body: dict[str, Any]) -> StreamingResponse:
        return streamed([chunk({"content": "x"}) | {"obfuscation": "x" * 65536}] * 400, done=False)

    monkeypatch.setattr(streams, "STALLED_S", 0.2)
    upstream.does["second"] = lengthy
    address = urlsplit(served_gateway.url)
    assert address.hostname and address.port
    body = json.dumps({"model": "second", "messages": HELLO, "stream": True}).encode()
    head_lines = f"Host: x\r\nAuthorization: Bearer {served_gateway.key()}\r\nx-plimsoll-run: stalled\r\n"
    request = f"POST /v1/chat/completions HTTP/1.1\r\n{head_lines}Content-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(request + body)
        assert connection.recv(10).startswith(b"HTTP/1.1 2")
        upstream.does.clear()
        shown(served_gateway.client(), **{"x-plimsoll-run": "stalled"})  # waits for its turn
    stalled, whole = calls(served_gateway, "team-a/stalled")
    assert (stalled.outcome.status, whole.outcome.status) == (Status.ABANDONED, Status.OK)


def test_a_stream_ends_with_done(served_gateway: Gateway, upstream: Upstream) -> None:
    headers = {"authorization": f"Bearer {served_gateway.key()}"}
    body = {"model": "primary", "messages": HELLO, "stream": True}
    answer = httpx2.post(f"{served_gateway.url}/v1/chat/completions", json=body, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")
