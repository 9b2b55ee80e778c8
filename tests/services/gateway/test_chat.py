"""Chat completions through a gateway, as OpenAI's own client asks for them."""

import json

import httpx2
import openai
import pytest
from starlette.responses import JSONResponse, Response

from tests.services.gateway.serving import UP_KEY, Gateway, Upstream, completion, fails, hang

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}


def test_an_answer_comes_back_as_it_is(served_gateway: Gateway, upstream: Upstream) -> None:
    answer = served_gateway.client().chat.completions.with_raw_response.create(
        model="primary", messages=HELLO, temperature=0.5, extra_body={"new_field": {"a": [1]}}
    )
    assert answer.headers["x-plimsoll-rung"] == "primary"
    assert answer.headers["x-plimsoll-degraded"] == "false"
    assert answer.headers["x-plimsoll-run"].startswith("run-")
    assert json.loads(answer.text) == {**completion("first says hello."), "model": "primary"}
    (asked,) = upstream.asked
    assert asked == {
        "model": "first",
        "messages": HELLO,
        "temperature": 0.5,
        "new_field": {"a": [1]},
        "max_completion_tokens": 4096,
    }
    assert upstream.keys == [f"Bearer {UP_KEY}"]


def test_a_clients_own_cap_stands_where_it_is_lower(served_gateway: Gateway, upstream: Upstream) -> None:
    upstream.does["first"] = lambda body: JSONResponse(completion("one two", finish="length"))
    answer = served_gateway.client().chat.completions.create(model="primary", messages=HELLO, max_tokens=2)
    assert answer.choices[0].message.content == "one two"
    assert upstream.asked[0]["max_tokens"] == 2
    served_gateway.client().chat.completions.create(model="second", messages=HELLO, n=2, max_tokens=9999)
    assert upstream.asked[1]["max_tokens"] == 2048


def test_tools_are_passed_on(served_gateway: Gateway, upstream: Upstream) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id": 3}'}}
    upstream.does["first"] = lambda body: JSONResponse(completion(None, finish="tool_calls", tool_calls=[call]))
    answer = served_gateway.client().chat.completions.create(model="primary", messages=HELLO, tools=[TOOL])
    (called,) = answer.choices[0].message.tool_calls or ()
    assert (called.function.name, called.function.arguments) == ("find", '{"id": 3}')
    assert upstream.asked[0]["tools"] == [TOOL]


def _broken_tool(body: object) -> Response:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id": 3'}}
    return JSONResponse(completion(None, finish="tool_calls", tool_calls=[call]))


@pytest.mark.parametrize(
    "broken",
    [
        fails(500),
        fails(401),
        fails(404),
        hang,
        lambda body: JSONResponse(completion("")),
        lambda body: JSONResponse(completion(" \n")),
        lambda body: JSONResponse(completion("It is", finish="length")),
        lambda body: JSONResponse(completion("", finish="content_filter")),
        lambda body: JSONResponse({**completion(), "choices": []}),
        lambda body: JSONResponse({"choices": "?"}),
        lambda body: JSONResponse([]),
        lambda body: Response(b"<html>", media_type="text/html"),
        lambda body: Response(b""),
        _broken_tool,
    ],
)
def test_the_next_rung_answers_where_the_first_does_not(
    served_gateway: Gateway, upstream: Upstream, broken: object
) -> None:
    upstream.does["first"] = broken  # type: ignore[assignment]
    answer = served_gateway.client().chat.completions.with_raw_response.create(model="primary", messages=HELLO)
    assert json.loads(answer.text)["choices"][0]["message"]["content"] == "second says hello."
    assert (answer.headers["x-plimsoll-rung"], answer.headers["x-plimsoll-degraded"]) == ("second", "true")


def test_an_answer_that_should_be_json_and_is_not_is_none(served_gateway: Gateway, upstream: Upstream) -> None:
    upstream.does["second"] = lambda body: JSONResponse(completion("{}"))
    answer = served_gateway.client().chat.completions.create(
        model="primary", messages=HELLO, response_format={"type": "json_object"}
    )
    assert answer.choices[0].message.content == "{}"


def test_a_canned_rung_answers_in_words(served_gateway: Gateway, upstream: Upstream) -> None:
    upstream.does["first"] = fails(503)
    client = served_gateway.client()
    answer = client.chat.completions.create(model="polite", messages=HELLO)
    assert answer.choices[0].message.content == "Nobody can answer that now."
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="polite", messages=HELLO, response_format={"type": "json_object"})


def test_a_request_that_the_upstream_finds_wrong_is_no_fault_of_it(served_gateway: Gateway, upstream: Upstream) -> None:
    upstream.does["first"] = fails(400, code="bad_temperature", param="temperature")
    with pytest.raises(openai.BadRequestError) as refused:
        served_gateway.client().chat.completions.create(model="primary", messages=HELLO)
    assert refused.value.body == {"message": "no", "code": "bad_temperature", "param": "temperature"}
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    ("broken", "status", "code"),
    [
        (fails(500, code="oops"), 502, "upstream_failed"),
        (fails(401, message=f"wrong key {UP_KEY}"), 502, "upstream_failed"),
        (fails(429, {"retry-after": "7"}), 429, "rate_limit_exceeded"),
        (hang, 504, "upstream_timeout"),
    ],
)
def test_a_model_that_does_not_answer_is_told_in_openais_shape(
    served_gateway: Gateway, upstream: Upstream, broken: object, status: int, code: str
) -> None:
    upstream.does["first"] = upstream.does["second"] = broken  # type: ignore[assignment]
    upstream.does["second"] = upstream.does["second"] if broken is not hang else fails(408)
    with pytest.raises(openai.APIStatusError) as failed:
        served_gateway.client().chat.completions.create(model="primary", messages=HELLO)
    assert failed.value.status_code == status
    assert isinstance(failed.value.body, dict)
    assert failed.value.body["code"] == code
    assert UP_KEY not in failed.value.response.text
    assert failed.value.response.headers.get("retry-after") == ("7" if status == 429 else None)


def test_models_are_those_of_the_contract(served_gateway: Gateway) -> None:
    names = [model.id for model in served_gateway.client().models.list()]
    assert names == ["primary", "second", "lone", "embed", "polite"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b'{"model": "primary", "messages": NaN}', 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"model": "primary", "messages": [], "a": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "invalid_json"),
        (b'{"model": "primary", "messages": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "invalid_json"),
        (b'{"model": "gpt-5", "messages": []}', 404, "model_not_found"),
        (b'{"model": ["primary"], "messages": []}', 404, "model_not_found"),
        (b'{"model": "primary"}', 400, "invalid_request"),
        (b'{"model": "primary", "messages": [], "n": 100000}', 400, "invalid_request"),
        (b'{"model": "primary", "messages": [], "max_tokens": 1e9}', 400, "invalid_request"),
        (b'{"model": "primary", "messages": [], "max_tokens": 0}', 400, "invalid_request"),
        (b'{"model": "primary", "messages": [], "max_completion_tokens": -1}', 400, "invalid_request"),
        (b'{"model": "primary", "messages": [], "stream": "yes"}', 400, "invalid_request"),
        (b'"' + b"x" * 5_000_000, 413, "request_too_large"),
    ],
)
def test_what_cannot_be_asked_is_told(
    served_gateway: Gateway, upstream: Upstream, body: bytes, status: int, code: str
) -> None:
    headers = {"authorization": f"Bearer {served_gateway.key()}"}
    answer = httpx2.post(f"{served_gateway.url}/v1/chat/completions", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert upstream.asked == []


def test_health_is_told_to_anybody(served_gateway: Gateway) -> None:
    for path in ("healthz", "readyz"):
        assert httpx2.get(f"{served_gateway.url}/{path}").status_code == 200
    assert httpx2.get(f"{served_gateway.url}/v1/nothing").json()["error"]["code"] == "not_found"
    assert httpx2.get(f"{served_gateway.url}/v1/chat/completions").status_code == 405
