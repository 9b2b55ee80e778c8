"""Responses through a gateway, as OpenAI's own client asks for them."""

import json
from typing import Any

import httpx2
import openai
import pytest
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from plimsoll.core.calls import Ending
from tests.services.gateway.serving import CONTRACT, UP_KEY, Gateway, Upstream, fails, gateway, hang, response
from tests.services.gateway.test_runs import calls, head

CALL = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "c1", "name": "find"}
THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": []}


def ask(running: Gateway, given: Any = "hello", *, model: str = "primary", **more: Any) -> Any:
    return running.client().responses.with_raw_response.create(model=model, input=given, **more)


def called(arguments: str = '{"id": 3}', **fields: Any) -> dict[str, Any]:
    return response(items=[THOUGHT, {**CALL, "arguments": arguments}], **fields)


def test_an_answer_comes_back_as_it_is(served_gateway: Gateway, upstream: Upstream) -> None:
    answer = ask(served_gateway, instructions="Be brief.", temperature=0.5, top_p=0.9, extra_body={"new": {"a": [1]}})
    assert (answer.headers["x-plimsoll-rung"], answer.headers["x-plimsoll-degraded"]) == ("primary", "false")
    assert json.loads(answer.text) == {**response("first says hello."), "model": "primary"}
    assert answer.parse().output_text == "first says hello."
    (asked,) = upstream.asked
    assert asked == {
        "model": "first",
        "input": "hello",
        "instructions": "Be brief.",
        "temperature": 0.5,
        "top_p": 0.9,
        "new": {"a": [1]},
        "max_output_tokens": 4096,
    }
    assert upstream.keys == [f"Bearer {UP_KEY}"]


def test_items_tools_and_what_a_tool_said_are_passed_on(served_gateway: Gateway, upstream: Upstream) -> None:
    tool = {"type": "function", "name": "find", "parameters": {"type": "object", "properties": {}}, "strict": False}
    given = [
        {"role": "user", "content": "Where is it?"},
        THOUGHT,
        {**CALL, "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "here"},
    ]
    upstream.does["first"] = lambda body: JSONResponse(called())
    answer = ask(served_gateway, given, tools=[tool], tool_choice="required", parallel_tool_calls=False).parse()
    assert [item.type for item in answer.output] == ["reasoning", "function_call"]
    (asked,) = upstream.asked
    assert (asked["input"], asked["tools"], asked["tool_choice"]) == (given, [tool], "required")
    assert asked["parallel_tool_calls"] is False


def test_what_the_client_parses_is_what_it_asked_for(served_gateway: Gateway, upstream: Upstream) -> None:
    class Price(BaseModel):
        euros: int

    upstream.does["first"] = lambda body: JSONResponse(response("It costs three."))
    upstream.does["second"] = lambda body: JSONResponse(response('{"euros": 3}'))
    answer = served_gateway.client().responses.parse(model="primary", input="tea?", text_format=Price)
    assert answer.output_parsed == Price(euros=3)
    assert [body["model"] for body in upstream.asked] == ["first", "second"]


def test_where_data_is_wanted_the_last_message_is_the_answer(served_gateway: Gateway, upstream: Upstream) -> None:
    (thinking,), (answer,) = response("Let me see.")["output"], response('{"euros": 3}')["output"]
    upstream.does["first"] = lambda body: JSONResponse(response(items=[thinking, answer]))
    wanted: Any = {"format": {"type": "json_object"}}
    assert ask(served_gateway, text=wanted).headers["x-plimsoll-rung"] == "primary"


def test_a_clients_own_cap_stands_where_it_is_lower(served_gateway: Gateway, upstream: Upstream) -> None:
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    upstream.does["first"] = lambda body: JSONResponse(response("one two", **cut))
    assert ask(served_gateway, max_output_tokens=16).parse().output_text == "one two"
    assert upstream.asked[0]["max_output_tokens"] == 16
    upstream.does["second"] = lambda body: JSONResponse(response(""))
    with pytest.raises(openai.InternalServerError):  # a cap of its own makes nothing else right
        ask(served_gateway, model="second", max_output_tokens=16)
    upstream.does.pop("second")
    upstream.asked.clear()
    ask(served_gateway, max_output_tokens=9999)
    assert [body["max_output_tokens"] for body in upstream.asked] == [4096, 4096]  # cut by the contract's: the next


@pytest.mark.parametrize(
    "broken",
    [
        fails(500),
        fails(401),
        fails(404),
        hang,
        lambda body: JSONResponse(response("")),
        lambda body: JSONResponse(response(" \n")),
        lambda body: JSONResponse(response(items=[])),
        lambda body: JSONResponse(response(items=[THOUGHT])),
        lambda body: JSONResponse(response(items="?")),
        lambda body: JSONResponse(
            response(items=[{"type": "message", "content": [{"type": "output_text", "text": 3}]}])
        ),
        lambda body: JSONResponse(
            response("It is", status="incomplete", incomplete_details={"reason": "max_output_tokens"})
        ),
        lambda body: JSONResponse(
            response("It is", status="incomplete", incomplete_details={"reason": "content_filter"})
        ),
        lambda body: JSONResponse(response("It is", status="incomplete")),
        lambda body: JSONResponse(response("It is", status="failed", error={"code": "server_error"})),
        lambda body: JSONResponse(response("It is", status="in_progress")),
        lambda body: JSONResponse(response('{"error": {"message": "The server is overloaded", "code": 503}}')),
        lambda body: JSONResponse(called('{"id": 3')),
        lambda body: JSONResponse({"error": {"message": "overloaded", "type": "server_error"}}),
        lambda body: JSONResponse([]),
        lambda body: Response(b"<html>", media_type="text/html"),
        lambda body: Response(b""),
    ],
)
def test_the_next_rung_answers_where_the_first_does_not(
    served_gateway: Gateway, upstream: Upstream, broken: Any
) -> None:
    upstream.does["first"] = broken
    answer = ask(served_gateway)
    assert answer.parse().output_text == "second says hello."
    assert (answer.headers["x-plimsoll-rung"], answer.headers["x-plimsoll-degraded"]) == ("second", "true")


def test_a_refusal_is_an_answer(served_gateway: Gateway, upstream: Upstream) -> None:
    refused = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "I will not."}]}
    upstream.does["first"] = lambda body: JSONResponse(response(items=[refused]))
    assert ask(served_gateway).headers["x-plimsoll-rung"] == "primary"


def test_a_canned_rung_answers_in_words(served_gateway: Gateway, upstream: Upstream) -> None:
    upstream.does["first"] = fails(503)
    assert ask(served_gateway, model="polite").parse().output_text == "Nobody can answer that now."
    wanted: Any = {"format": {"type": "json_object"}}
    with pytest.raises(openai.InternalServerError):
        ask(served_gateway, model="polite", text=wanted)


def test_a_response_is_a_call_of_its_run(served_gateway: Gateway, upstream: Upstream) -> None:
    headers = {"x-plimsoll-run": "responding", "idempotency-key": "k1"}
    first, again = (ask(served_gateway, extra_headers=headers) for _ in range(2))
    assert json.loads(first.text) == json.loads(again.text)
    assert again.headers["x-plimsoll-replayed"] == "true"
    (call,) = calls(served_gateway, "team-a/responding")
    assert call.outcome.usage is not None
    assert (call.outcome.usage.input_tokens, call.outcome.usage.output_tokens) == (7, 3)
    client = served_gateway.client()
    with pytest.raises(openai.UnprocessableEntityError):  # the key is the run's, whatever the endpoint
        messages: Any = [{"role": "user", "content": "hello"}]
        client.chat.completions.create(model="primary", messages=messages, extra_headers=headers)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.parse().id)
    run = ask(served_gateway).headers["x-plimsoll-run"]
    assert head(served_gateway, f"team-a/{run}").ending is Ending.COMPLETE


def test_the_same_response_over_and_over_is_a_loop(served_gateway: Gateway, upstream: Upstream) -> None:
    numbers = iter(range(100))

    def repeats(body: dict[str, Any]) -> Response:
        said = response("Let me see.", id=f"resp_{next(numbers)}")
        said["output"][0]["id"] = f"msg_{next(numbers)}"
        return JSONResponse(said)

    upstream.does["first"] = repeats
    with pytest.raises(openai.RateLimitError) as halted:
        for _ in range(8):
            ask(served_gateway, extra_headers={"x-plimsoll-run": "response-loop"})
    assert halted.value.response.headers["x-should-retry"] == "false"


def test_the_same_tool_again_is_no_loop_since_nobody_sees_what_it_brought(
    served_gateway: Gateway, upstream: Upstream
) -> None:
    numbers = iter(range(100))
    upstream.does["first"] = lambda body: JSONResponse(
        response(items=[{**CALL, "arguments": "{}", "call_id": f"c{next(numbers)}"}])
    )
    for number in range(8):
        ask(served_gateway, f"turn {number}", extra_headers={"x-plimsoll-run": "polls"})
    assert len(calls(served_gateway, "team-a/polls")) == 8


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({"input": 3}, "invalid_request"),
        ({"input": "x", "stream": "yes"}, "invalid_request"),
        ({"input": "x", "previous_response_id": "resp_1"}, "state_not_kept"),
        ({"input": "x", "conversation": "conv_1"}, "state_not_kept"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "state_not_kept"),
        ({"input": "x", "background": True}, "state_not_kept"),
        ({"input": "x", "max_output_tokens": 0}, "invalid_request"),
        ({"input": "x", "max_output_tokens": 100.0}, "invalid_request"),
    ],
)
def test_what_cannot_be_asked_is_told(
    served_gateway: Gateway, upstream: Upstream, body: dict[str, Any], code: str
) -> None:
    headers = {"authorization": f"Bearer {served_gateway.key()}"}
    answer = httpx2.post(f"{served_gateway.url}/v1/responses", json={"model": "primary", **body}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert upstream.asked == []


def test_an_upstream_without_responses_is_not_asked_for_one(
    tmp_path: Any, upstream: Upstream, upstream_url: str
) -> None:
    with gateway(tmp_path, upstream_url, CONTRACT + "responses = false\n") as running:
        with pytest.raises(openai.BadRequestError) as refused:
            ask(running)
        assert isinstance(refused.value.body, dict)
        assert refused.value.body["code"] == "endpoint_not_here"
        messages: Any = [{"role": "user", "content": "hello"}]
        running.client().chat.completions.create(model="primary", messages=messages)
    assert len(upstream.asked) == 1
