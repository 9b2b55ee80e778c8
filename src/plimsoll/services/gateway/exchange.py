"""One call of a gateway's client, sent to whichever rung of the ladder is tried."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec

from plimsoll.core.calls import CallKind, Fault, Unknown, Usage
from plimsoll.core.canonical import canonical_json, digest
from plimsoll.core.errors import OperationFailed, OutputRejected
from plimsoll.core.events import CallSettled
from plimsoll.policies.ladder import Rung
from plimsoll.policies.output_check import OutputProblem
from plimsoll.runtime.exchange import Inspection
from plimsoll.runtime.models import estimate_tokens
from plimsoll.runtime.showing import followed
from plimsoll.services.gateway.chat import assembled, capped, check_chat, has_substance, unfolded, usage_in
from plimsoll.services.gateway.embeddings import check_embeddings
from plimsoll.services.gateway.upstreams import Reply, Upstreams

__all__ = ["CHAT", "EMBEDDINGS", "Asked", "Endpoint", "GatewayExchange", "Part", "Past"]

_NO_CAP = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a request is sent, and what makes an answer one. `climbs`: whether another model may answer."""

    path: str
    check: Callable[[Mapping[str, Any], Mapping[str, Any], int], OutputProblem | None]
    climbs: bool


CHAT = Endpoint(path="/chat/completions", check=check_chat, climbs=True)
EMBEDDINGS = Endpoint(path="/embeddings", check=check_embeddings, climbs=False)
"""The vectors of two models do not mix."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks: the JSON of its request, of a ladder of the contract. `tenant` is who asks."""

    endpoint: Any
    tenant: str
    model: str
    body: dict[str, Any]

    @property
    def stream(self) -> bool:
        """Whether the client wants to be shown the answer as it comes."""
        return self.endpoint is CHAT and self.body.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """Whether the client of a stream asks for the tokens that it used."""
        options = self.body.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True


class Part(msgspec.Struct, frozen=True):
    """A part of an answer as it comes, and the rung that it comes from."""

    rung: str
    data: dict[str, Any]


class Past:
    """A call that was settled, asked for again on replay: what was asked is not in the journal, its digest is."""

    __slots__ = ("args_digest", "dependency")

    kind = CallKind.MODEL
    args = None
    input_tokens = 0
    refusals = ()

    def __init__(self, settled: CallSettled) -> None:
        self.dependency = settled.dependency
        self.args_digest = settled.args_digest

    async def send(self, rung: Rung | None) -> Any:
        raise OperationFailed("what was asked then is not here any more")

    def inspect(self, native: Any) -> Inspection:
        return Inspection()

    def encode(self, native: Any) -> Any:
        return msgspec.to_builtins(native)

    def decode(self, value: Any) -> Any:
        return msgspec.convert(value, Reply)

    def cache_key(self) -> str:
        return self.args_digest

    def sameness(self, value: Any) -> str:
        """As its answer says it: without ids and dates."""
        body = value["body"]
        return digest([value["status"], body.get("choices"), body.get("data"), body.get("error")])

    async def verify(self, idempotency_key: str) -> Any:
        return Unknown("a model call changes nothing; there is nothing to verify")


class GatewayExchange(Past):
    """One request to a ladder. Its digest holds the tenant, so that no tenant is given what another was answered."""

    __slots__ = ("_asked", "_most", "_upstreams", "_whole", "input_tokens")

    def __init__(self, asked: Asked, upstreams: Upstreams) -> None:
        self.dependency = asked.model
        self.args_digest = digest([asked.tenant, asked.endpoint.path, asked.body])
        self.input_tokens = estimate_tokens(canonical_json(asked.body))
        self._asked = asked
        self._upstreams = upstreams
        self._most = _NO_CAP
        self._whole: Reply | None = None

    async def send(self, rung: Rung | None) -> Reply:
        assert rung is not None  # models have ladders
        if rung.model.canned is not None:
            return self._canned(rung, rung.model.canned)
        asked, cap = self._asked, self._upstreams.section(rung.model).output_cap
        body = asked.body
        if asked.endpoint is CHAT:
            self._most = rung.model.max_output_tokens
            body = capped(body, self._most, field=cap)
        if not asked.stream:
            return await self._upstreams.send(rung.model, asked.endpoint.path, body)
        self._whole = None
        options = body.get("stream_options")
        body |= {"stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True}}
        reply = await self._streamed(rung, body)
        self._whole = reply
        return reply

    async def _streamed(self, rung: Rung, body: dict[str, Any]) -> Reply:
        """Asks for a stream, and shows it. An upstream may answer with the whole."""
        parts: list[dict[str, Any]] = []
        whole: list[Reply] = []
        async with aclosing(followed(self._parts(rung, body, parts, whole))) as shown:
            async for _ in shown:
                pass
        if whole:
            return whole[0]
        reply = assembled(parts)
        if not parts or any(choice["finish_reason"] is None for choice in reply["choices"]):
            raise OutputRejected(rung.name, fault=Fault.TRUNCATED, detail="its stream ended before the answer did")
        return Reply(200, reply)

    async def _parts(
        self, rung: Rung, body: dict[str, Any], parts: list[dict[str, Any]], whole: list[Reply]
    ) -> AsyncGenerator[Part]:
        """The parts that are shown, from the first on that says anything: until then another rung may answer."""
        held: list[dict[str, Any]] = []
        says = False
        async with aclosing(self._upstreams.stream(rung.model, self._asked.endpoint.path, body)) as stream:
            async for part in stream:
                if isinstance(part, Reply):
                    whole.append(part)
                    return
                parts.append(part)
                if not part.get("choices") and "usage" in part and not self._asked.wants_usage:
                    continue  # asked for by us
                says = says or has_substance(part)
                held.append(part)
                if says:
                    for each in held:
                        yield Part(rung.name, each)
                    held = []

    def inspect(self, native: Reply) -> Inspection:
        if not native.ok:
            return Inspection(usage=Usage())
        asked = self._asked
        usage = usage_in(native.body)
        return Inspection(usage=usage, problem=asked.endpoint.check(asked.body, native.body, self._most))

    def is_whole(self, shown: Sequence[Part], native: Reply) -> bool:
        return bool(shown) and native is self._whole

    async def parts(self, native: Reply) -> AsyncGenerator[Part]:
        if native.ok:
            for data in unfolded(native.body):
                if data["choices"] or self._asked.wants_usage:
                    yield Part("", data)

    async def left(self, shown: Sequence[Part]) -> tuple[Any, Usage]:
        reply = Reply(200, assembled(part.data for part in shown))
        tokens = estimate_tokens(canonical_json(reply.body["choices"]))
        return msgspec.to_builtins(reply), Usage(input_tokens=self.input_tokens, output_tokens=tokens)

    async def again(self, left: Any) -> AsyncGenerator[Part]:
        for data in unfolded(left["body"]):
            yield Part("", data)

    def _canned(self, rung: Rung, text: str) -> Reply:
        """The fixed answer of the contract. Whoever wants data, or vectors, cannot use it."""
        if self._asked.endpoint is not CHAT or _wants_data(self._asked.body):
            detail = "what is asked for is data, which a canned text is not"
            raise OutputRejected(rung.name, fault=Fault.WRONG_SHAPE, detail=detail)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        body = {"id": f"chatcmpl-{self.args_digest[:24]}", "object": "chat.completion", "created": 0}
        return Reply(200, {**body, "model": rung.name, "choices": [choice], "usage": usage})


def _wants_data(body: Mapping[str, Any]) -> bool:
    wanted = body.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")
