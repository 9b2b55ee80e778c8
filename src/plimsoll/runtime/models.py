"""Models without a framework: any async function from a prompt to a `ModelReply`."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from hashlib import sha256
from types import CoroutineType
from typing import Any

import msgspec
from msgspec.structs import replace

from plimsoll.contract.model import Model
from plimsoll.core.calls import CallKind, Fault, Unknown, Usage
from plimsoll.core.canonical import canonical_json, digest, parse_json
from plimsoll.core.errors import Misuse, OutputRejected, UnknownDependency
from plimsoll.policies.ladder import Rung
from plimsoll.policies.output_check import check_text
from plimsoll.runtime.exchange import Inspection
from plimsoll.runtime.foreign import fail_if_foreign
from plimsoll.runtime.showing import followed

__all__ = ["ModelExchange", "ModelFunction", "ModelReply", "estimate_tokens"]

BYTES_PER_TOKEN = 3
"""A cautious rate: English text has about four bytes to a token, other languages and JSON fewer."""


class ModelReply(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A model's answer: text, or tool calls as JSON objects, and why it stopped (`stop`, `length`, …)."""

    text: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: str | None = "stop"
    usage: Usage | None = None


ModelFunction = Callable[[Any], Awaitable[ModelReply] | AsyncIterator[str | ModelReply]]
"""A model: from a prompt to its reply. One that streams is an async generator of texts that ends with a `ModelReply`,
whose own text may be left empty: it is all of them."""


def estimate_tokens(prompt: bytes) -> int:
    """A cautious estimate of a prompt's tokens, without a tokenizer."""
    return len(prompt) // BYTES_PER_TOKEN + 1


def _in_json(reply: ModelReply) -> ModelReply:
    """The reply as a replay has it again. What has no JSON form, or is no reply, is left to be refused as malformed."""
    if not getattr(reply, "tool_calls", ()):
        return reply
    try:
        return replace(reply, tool_calls=tuple(parse_json(canonical_json(reply.tool_calls))))
    except Misuse:
        return reply


class ModelExchange:
    """One request to a ladder of model functions."""

    __slots__ = ("_functions", "_prompt", "_sections", "args_digest", "dependency", "input_tokens")

    kind = CallKind.MODEL
    args = None
    refusals = ()

    def __init__(
        self, name: str, prompt: Any, *, functions: Mapping[str, ModelFunction], sections: Mapping[str, Model]
    ) -> None:
        self.dependency = name
        self._prompt = prompt
        self._functions = functions
        self._sections = sections
        written = canonical_json(prompt)
        self.args_digest = sha256(written).hexdigest()
        self.input_tokens = estimate_tokens(written)

    async def send(self, rung: Rung | None) -> ModelReply:
        name = rung.name if rung is not None else self.dependency
        if rung is not None and rung.model.canned is not None:
            return ModelReply(text=rung.model.canned)
        function = self._functions.get(name)
        if function is None:
            raise UnknownDependency(name, known=list(self._functions))
        try:
            answer = function(self._prompt)
            if not isinstance(answer, CoroutineType) and isinstance(answer, AsyncIterator):  # the cheaper one first
                answer = _gathered(name, answer)
            return _in_json(await answer)
        except BaseException as error:
            fail_if_foreign(error)
            raise

    def inspect(self, native: ModelReply) -> Inspection:
        problem = check_text(native.text, finish_reason=native.finish_reason, has_tool_calls=bool(native.tool_calls))
        return Inspection(usage=native.usage, problem=problem)

    def encode(self, native: ModelReply) -> Any:
        return msgspec.to_builtins(native)

    def decode(self, value: Any) -> ModelReply:
        return msgspec.convert(value, ModelReply)

    def cache_key(self) -> str:
        return self.args_digest

    def sameness(self, value: Any) -> str:
        return digest([value.get("text", ""), value.get("tool_calls", ())])

    async def verify(self, idempotency_key: str) -> Any:
        return Unknown("a model call changes nothing; there is nothing to verify")

    def is_whole(self, shown: Sequence[str], native: ModelReply) -> bool:
        return "".join(shown) == native.text

    async def parts(self, native: ModelReply) -> AsyncGenerator[str]:
        if native.text:
            yield native.text

    async def left(self, shown: Sequence[str]) -> tuple[Any, Usage]:
        tokens = estimate_tokens("".join(shown).encode())
        return {"parts": list(shown)}, Usage(input_tokens=self.input_tokens, output_tokens=tokens)

    async def again(self, left: Any) -> AsyncGenerator[str]:
        for part in left["parts"]:
            yield part


async def _gathered(name: str, answer: AsyncIterator[str | ModelReply]) -> ModelReply:
    """What the model `name` streams, as one reply."""
    ends: list[ModelReply] = []
    texts: list[str] = []
    async with aclosing(followed(_texts(name, answer, ends))) as parts:
        async for text in parts:
            texts.append(text)
    if not ends:
        raise OutputRejected(name, fault=Fault.TRUNCATED, detail="its stream ended without a ModelReply")
    (reply,), text = ends, "".join(texts)
    if text and reply.text not in ("", text):
        raise OutputRejected(name, fault=Fault.MALFORMED, detail="its reply is not the text that it streamed")
    return replace(reply, text=text or reply.text)


async def _texts(name: str, answer: AsyncIterator[Any], ends: list[ModelReply]) -> AsyncGenerator[str]:
    """The texts before the reply, which goes to `ends`. Whatever comes after it is not asked for."""
    try:
        async for part in answer:
            if isinstance(part, ModelReply):
                ends.append(part)
                return
            if not isinstance(part, str):
                what = f"it streamed a {type(part).__name__}, which is neither text nor a ModelReply"
                raise OutputRejected(name, fault=Fault.MALFORMED, detail=what)
            if part:
                yield part
    finally:
        if isinstance(answer, AsyncGenerator):
            await answer.aclose()
