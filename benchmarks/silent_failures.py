"""Silent failures as agents meet them, in no framework's words: each kind in several shapes, by the model or a tool.

What no check can know is not here: an answer that is wrong, well said, and agrees with what was done.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from plimsoll.core.clock import LoopClock
from tests.adapters.conformance.desk import Answer, Heard, Script, Shop, call

__all__ = ["MAX_AGE_S", "RUNAWAY", "Case", "RanAway", "cases"]

RUNAWAY = 300
"""After so many requests to its model, an agent is taken to go on for ever."""
MAX_AGE_S = 600.0
LOOP = frozenset({"loop", "limit"})
REPETITION = frozenset({"repeat", "cycle", "no_progress", "repeats"})
"""Faults of a loop, and the limit that counts what is done again."""


class RanAway(Exception):
    """Nothing but the benchmark stopped this agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One silent failure: how the model behaves, in which shop, and what has to be told about it.

    `is_bad` is whether an answer, as the user would get it, is the failure itself, or rests on it.
    """

    failure: str
    shape: str
    model: Callable[[Heard], Answer]
    is_bad: Callable[[str], bool] = lambda output: True
    shop: Callable[[], Shop] = Shop
    kinds: frozenset[str] = frozenset({"silent_failure"})
    faults: frozenset[str] = frozenset()

    def script(self) -> Script:
        """How the model behaves, until it is stopped."""
        return Script(self.model, before=_stop)


async def _stop(asked: int) -> None:
    await asyncio.sleep(0.5)  # of virtual time: what never waits would be taken to hang
    if asked > RUNAWAY:
        raise RanAway


# ------------------------------------------------------------------------------------------------------- by the model

ERROR_TEXTS = {
    "a status line": "HTTP/1.1 502 Bad Gateway",
    "a phrase": "Internal Server Error",
    "a proxy": "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
    "a provider": "Rate limit reached for gpt-5 in organization org-1 on tokens per min (TPM): Limit 30000.",
    "a provider, in short": "Rate limit exceeded. Please try again later.",
    "an overloaded one": "The server is overloaded or not ready yet.",
    "a client": "Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}",
    "a library": "openai.APITimeoutError: Request timed out.",
    "a socket": "[Errno 111] Connection refused",
    "a time-out": "Request timed out.",
    "gRPC": "rpc error: code = Unavailable desc = connection closed before server preface received",
    "a page": "<html>\n<head><title>504 Gateway Time-out</title></head>\n<body>\n<center><h1>504 Gateway Time-out</h1>"
    "</center>\n<hr><center>nginx</center>\n</body>\n</html>",
    "a trace of Python": 'Traceback (most recent call last):\n  File "/app/serve.py", line 8, in answer\n'
    "    return model(prompt)\nRuntimeError: CUDA error: out of memory",
    "a trace of Java": "java.lang.NullPointerException: prompt\n\tat com.shop.Bot.answer(Bot.java:17)\n\t... 8 more",
    "a trace of Node": "TypeError: Cannot read properties of undefined (reading 'id')\n    at ask (/app/bot.js:9:14)",
}

ERROR_DOCUMENTS: Mapping[str, Any] = {
    "OpenAI": '{"error": {"message": "The server had an error", "type": "server_error", "param": null, "code": null}}',
    "Anthropic": '{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}',
    "Google": '{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}',
    "Amazon": '{"__type": "ThrottlingException", "message": "Too many requests"}',
    "FastAPI": '{"detail": "Internal Server Error"}',
    "problem+json": '{"type": "about:blank", "title": "Bad Gateway", "status": 502, "detail": "no answer"}',
    "Spring": '{"timestamp": "2026-01-01T00:00:00Z", "status": 500, "error": "Internal Server Error", "path": "/ask"}',
    "GraphQL": '{"errors": [{"message": "Internal error", "path": ["order"]}], "data": null}',
    "of one's own": '{"success": false, "error": "upstream failed"}',
    "in short": '{"status": "error", "message": "Something went wrong"}',
}


def _by_the_model() -> Iterator[Case]:
    """Each comes at once, and after a tool was called."""
    half = "The order W2 was sent on Monday and will be"
    yield from _answers("empty", "no word", Answer(""), "empty")
    for shape, text in {"blanks": "  \n\t ", "no-break spaces": "\xa0\xa0", "of no width": "\u200b\u2060"}.items():
        yield from _answers("whitespace", shape, Answer(text), "whitespace", "empty")
    for shape, answer in {
        "cut in a sentence": Answer(half, finish="length"),
        "cut after one": Answer("The order W2 was sent on Monday.", finish="length"),
        "cut before a word": Answer("", finish="length"),
        "arguments cut": Answer(calls=[call("find_order", order_id="W2")], finish="length"),
    }.items():
        yield from _answers("truncated", shape, answer, "truncated", "malformed")
    for shape, answer in {
        "all of it": Answer("", finish="content_filter"),
        "the rest of it": Answer(half, finish="content_filter"),
    }.items():
        yield from _answers("filtered", shape, answer, "filtered")
    for shape, text in ERROR_TEXTS.items():
        yield from _answers("error text", shape, Answer(text), "error_in_success")
    for shape, text in ERROR_DOCUMENTS.items():
        yield from _answers("error JSON", shape, Answer(text), "error_in_success")
    for shape, text in {
        "flatly": "W2 has been refunded.",
        "in passing": "I looked into it. Good news: W2 has been refunded, and you will get an e-mail.",
        "shouting": "W2 HAS BEEN REFUNDED!",
        "over two lines": "Your order W2 has been\nrefunded.",
        "emphasised": "Your order W2 **has been refunded**.",
    }.items():
        yield from _answers("claimed, not done", shape, Answer(text), kinds=frozenset({"claimed_not_done"}))
    yield Case(
        failure="claimed, not done",
        shape="after a refusal",
        model=_then([call("refund", order_id="W2", amount=0)], "W2 has been refunded."),
        kinds=frozenset({"claimed_not_done"}),
        is_bad=lambda output: "has been refunded" in output,
    )


def _answers(
    failure: str, shape: str, answer: Answer, *faults: str, kinds: frozenset[str] = frozenset({"silent_failure"})
) -> Iterator[Case]:
    steps = {"": answer, "after a tool": ([call("find_order", order_id="W2")], answer)}
    for when, step in steps.items():
        yield Case(
            failure=failure,
            shape=" ".join(filter(None, (shape, when))),
            model=_then(*step) if isinstance(step, tuple) else lambda heard: answer,
            is_bad=lambda output: output.strip() == answer.text.strip(),
            kinds=kinds,
            faults=frozenset(faults),
        )


def _then(calls: list[Any], last: str | Answer) -> Callable[[Heard], Answer]:
    """Calls tools once, then says the last word."""
    end = Answer(last) if isinstance(last, str) else last
    return lambda heard: end if heard.results else Answer(calls=calls)


# ---------------------------------------------------------------------------------------------------------- by a tool


@dataclass
class Serving(Shop):
    """A shop whose `find_order` answers whatever it is told to, in place of the order."""

    value: Callable[[], Any] = dict
    served: int = field(default=0)

    def __post_init__(self) -> None:
        super().__init__()

    async def find_order(self, order_id: str) -> Any:
        await super().find_order("W1")
        self.served += 1
        return self.value()


def fresh_order(**changes: Any) -> dict[str, Any]:
    """An order as it should be, as of now."""
    return {"id": "W2", "amount": 20, "as_of": LoopClock().now() - 5.0, **changes}


def _by_a_tool() -> Iterator[Case]:
    empty: Mapping[str, Any] = {"null": None, "no text": "", "an empty object": {}, "an empty list": []}
    for shape, value in empty.items():
        yield _tool("empty", shape, lambda value=value: value, "empty", "whitespace", "wrong_shape")
    yield _tool("whitespace", "of a tool", lambda: " \n ", "whitespace", "empty")
    for shape, text in ERROR_TEXTS.items():
        yield _tool("error text", f"{shape}, of a tool", lambda text=text: text, "error_in_success")
    for shape, text in ERROR_DOCUMENTS.items():
        yield _tool("error JSON", f"{shape}, of a tool", lambda text=text: text, "error_in_success")
    wrong: Mapping[str, Callable[[], Any]] = {
        "a key is missing": lambda: {"id": "W2", "as_of": LoopClock().now()},
        "renamed": lambda: {"id": "W2", "total": 20, "as_of": LoopClock().now()},
        "a list of one": lambda: [fresh_order()],
        "a text": lambda: "W2: 20",
        "a number": lambda: 20,
        "JSON of something else": lambda: '{"id": "W2", "total": 20}',
        "one level down": lambda: {"data": fresh_order()},
    }
    for shape, value in wrong.items():
        yield _tool("wrong schema", shape, value, "wrong_shape", "malformed")
    ages: Mapping[str, Callable[[], Any]] = {
        "seconds": lambda: LoopClock().now() - MAX_AGE_S - 1.0,
        "milliseconds": lambda: (LoopClock().now() - 2 * MAX_AGE_S) * 1000.0,
        "a date": lambda: "2025-12-31T23:00:00+00:00",
        "a date, in Zulu time": lambda: "2025-12-01T00:00:00Z",
    }
    for shape, age in ages.items():
        yield _tool("stale", shape, lambda age=age: fresh_order(as_of=age()), "stale")


def _tool(failure: str, shape: str, value: Callable[[], Any], *faults: str) -> Case:
    def model(heard: Heard) -> Answer:
        if not heard.results:
            return Answer(calls=[call("find_order", order_id="W2")])
        return Answer(f"It says: {heard.results[-1][1]}")

    return Case(
        failure=failure,
        shape=shape,
        model=model,
        is_bad=lambda output: output.startswith("It says:") and "find_order failed" not in output,
        shop=lambda: Serving(value=value),
        faults=frozenset(faults),
    )


# -------------------------------------------------------------------------------------------------------------- loops


def _loops() -> Iterator[Case]:
    def going(*orders: str, words: str = "") -> Callable[[Heard], Answer]:
        def model(heard: Heard) -> Answer:
            order = orders[heard.turn % len(orders)]
            return Answer(words, calls=[call("find_order", f"c{heard.turn}", order_id=order)])

        return model

    def paired(heard: Heard) -> Answer:
        return Answer(calls=[call("find_order", f"c{heard.turn}-{n}", order_id="W1") for n in range(2)])

    def wandering(heard: Heard) -> Answer:
        """Always another order than before, in no fixed order, of three that it knows by now."""
        known = ("W1", "W2", "W2", "W1", "W1", "W2", "W2", "W2", "W1", "W1")
        return Answer(calls=[call("find_order", f"c{heard.turn}", order_id=known[heard.turn * 7 % 10])])

    def searching(heard: Heard) -> Answer:
        return Answer(calls=[call("find_order", f"c{heard.turn}", order_id=f"X{heard.turn}")])

    class Refusing(Shop):
        async def find_order(self, order_id: str) -> dict[str, Any]:
            await asyncio.sleep(0.1)
            raise LookupError(f"no order {order_id}")

    def loop(failure: str, shape: str, model: Callable[[Heard], Answer], shop: Callable[[], Shop] = Shop) -> Case:
        return Case(failure=failure, shape=shape, model=model, shop=shop, kinds=LOOP, faults=REPETITION)

    yield loop("repeat loop", "one tool", going("W1"))
    yield loop("repeat loop", "with words each time", going("W1", words="One moment, please."))
    yield loop("repeat loop", "two at a time", paired)
    yield loop("cycle", "of two", going("W1", "W2"))
    yield loop("cycle", "of three", going("W1", "W2", "W2"))
    yield loop("cycle", "of four", going("W1", "W1", "W2", "W2"))
    yield loop("no progress", "the same few, in no order", wandering)
    yield loop("no progress", "for things that are not there", searching, Refusing)


def cases() -> list[Case]:
    """All of them."""
    return [*_by_the_model(), *_by_a_tool(), *_loops()]
