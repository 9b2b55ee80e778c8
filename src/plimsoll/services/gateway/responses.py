"""Responses: what may be asked without a state that one upstream keeps, and whether an answer is one.

https://platform.openai.com/docs/api-reference/responses
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from plimsoll.contract.model import Upstream
from plimsoll.core.calls import Fault, Usage
from plimsoll.core.canonical import is_json
from plimsoll.policies.output_check import OutputProblem, check_text
from plimsoll.services.gateway.endpoint import (
    Json,
    Streamed,
    cap_refusal,
    check_function,
    invalid,
    is_count,
    named,
    usage_of,
)
from plimsoll.services.gateway.response_events import ENDS, as_far_as_it_came, says, unfolded
from plimsoll.services.http import Failure

__all__ = ["RESPONSES"]

_CAP = "max_output_tokens"
_STATE = ("previous_response_id", "conversation")
_ELSEWHERE = (
    "names what one upstream keeps, which neither another rung nor another tenant may be given: "
    "send the whole conversation as `input`"
)
_NO_RESPONSE = OutputProblem(Fault.MALFORMED, "it is no response")
_encode = msgspec.json.Encoder().encode


class _Content(msgspec.Struct):
    type: str
    text: str = ""
    refusal: str = ""


class _Message(msgspec.Struct):
    content: list[_Content] = []


class _Call(msgspec.Struct):
    name: str
    arguments: str = ""


class _Details(msgspec.Struct):
    reason: str | None = None


class _Answer(msgspec.Struct):
    """What is looked at of a response. Its items are of many kinds, of which two can be judged."""

    output: list[dict[str, Any]]
    status: str = "completed"
    incomplete_details: _Details | None = None


class _Responses(Streamed):
    path = "/responses"

    def refusal(self, body: Json) -> Failure | None:
        given = body.get("input")
        if not isinstance(given, (str, list)):
            return invalid("`input` is missing, or is neither a text nor a list of items")
        for name in _STATE:
            if body.get(name) is not None:
                return Failure(400, "state_not_kept", f"`{name}` {_ELSEWHERE}")
        if isinstance(given, list) and any(_type(item) == "item_reference" for item in given):
            return Failure(400, "state_not_kept", f"an `item_reference` {_ELSEWHERE}")
        if body.get("background"):
            return Failure(400, "state_not_kept", "`background` has an answer wait at one upstream: leave it out")
        return cap_refusal(body, _CAP)

    def is_at(self, upstream: Upstream) -> bool:
        return upstream.responses

    def sent(self, body: Json, most: int, *, cap: str) -> dict[str, Any]:
        own: Any = body.get(_CAP)
        return {**body, _CAP: min(own, most) if is_count(own) else most}

    def check(self, asked: Json, body: Json, most: int) -> OutputProblem | None:
        try:
            answer = msgspec.convert(body, _Answer)
            if answer.status == "failed":
                return OutputProblem(Fault.ERROR_IN_SUCCESS, "it says that it has failed")
            if answer.status not in ("completed", "incomplete"):
                return OutputProblem(Fault.MALFORMED, "it says that it is not over")
            cut = _is_cut(answer)
            if cut and is_count(asked.get(_CAP)) and asked[_CAP] <= most:
                return None if answer.output else OutputProblem(Fault.EMPTY, "there is nothing in it")
            return _check_items(asked, answer, cut=cut)
        except msgspec.ValidationError:
            return _NO_RESPONSE

    def usage(self, body: Json) -> Usage | None:
        return usage_of(body, asked="input_tokens", answered="output_tokens")

    def wants_data(self, asked: Json) -> bool:
        text = asked.get("text")
        return isinstance(text, dict) and _type(text.get("format")) in ("json_object", "json_schema")

    def said(self, asked: Json, text: str, *, id: str, model: str) -> dict[str, Any]:
        content = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        message = {"id": f"msg_{id}", "type": "message", "status": "completed", "role": "assistant"}
        given = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "instructions": None}
        return {
            "id": f"resp_{id}",
            "object": "response",
            "created_at": 0,
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "model": model,
            **{name: asked.get(name, default) for name, default in given.items()},
            "output": [{**message, "content": [content]}],
            "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
        }

    def says(self, part: Json) -> bool:
        return says(part)

    def is_shown(self, part: Json, asked: Json) -> bool:
        """The event that ends an answer is not shown before the answer stands."""
        return part["type"] not in ENDS

    def assembled(self, parts: Iterable[Json]) -> dict[str, Any]:
        """The event that ends an answer has all of it."""
        came = list(parts)
        ended = [part["response"] for part in came if part["type"] in ENDS]
        return ended[-1] if ended else as_far_as_it_came(came)

    def is_ended(self, body: Json) -> bool:
        return body.get("status") != "in_progress"

    def unfolded(self, body: Json) -> Iterator[dict[str, Any]]:
        return unfolded(body)

    def event(self, part: Json, *, model: str, number: int) -> bytes:
        told = {**part, "sequence_number": number}
        if isinstance(part.get("response"), dict):
            told["response"] = named(part["response"], model)
        return f"event: {part['type']}\ndata: ".encode() + _encode(told) + b"\n\n"

    def last(self, body: Json, *, model: str, number: int) -> bytes:
        status = "incomplete" if body.get("status") == "incomplete" else "completed"
        return self.event({"type": f"response.{status}", "response": body}, model=model, number=number)

    def broken(self, failure: Failure, *, number: int) -> bytes:
        """As the interface types it, and with the `error` by which OpenAI's clients know to raise."""
        error = failure.body["error"]
        told = {"type": "error", "code": failure.code, "message": failure.message, "param": None, "error": error}
        return self.event(told, model="", number=number)


RESPONSES = _Responses()


def _check_items(asked: Json, answer: _Answer, *, cut: bool) -> OutputProblem | None:
    """Whether it says something, or wants something done. Where data is wanted, its last message is the answer."""
    text, last, besides = "", "", False
    for item in answer.output:
        match _type(item):
            case "message":
                content = msgspec.convert(item, _Message).content
                last = "".join(part.text for part in content)
                text += last
                besides = besides or any(part.refusal for part in content)
            case "function_call":
                call = msgspec.convert(item, _Call)
                problem = check_function(call.name, call.arguments)
                if problem is not None and not cut:
                    return problem
                besides = True
            case kind:
                besides = besides or kind != "reasoning"
    finish = None if answer.status == "completed" else "length" if cut else "content_filter"
    problem = check_text(text, finish_reason=finish, has_tool_calls=besides)
    if problem is None and RESPONSES.wants_data(asked) and not besides and not is_json(last):
        return OutputProblem(Fault.MALFORMED, "the answer should be JSON and is not")
    return problem


def _is_cut(answer: _Answer) -> bool:
    """Whether it ended before its end, for whatever reason but that it was withheld."""
    details = answer.incomplete_details
    return answer.status == "incomplete" and (details is None or details.reason != "content_filter")


def _type(item: Any) -> Any:
    return item.get("type") if isinstance(item, dict) else None
