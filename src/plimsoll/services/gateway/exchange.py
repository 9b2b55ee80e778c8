"""One call of a gateway's client, sent to whichever rung of the ladder is tried."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec

from plimsoll.core.calls import CallKind, Fault, Unknown, Usage
from plimsoll.core.canonical import canonical_json, digest
from plimsoll.core.errors import OperationFailed, OutputRejected
from plimsoll.core.events import CallSettled
from plimsoll.policies.ladder import Rung
from plimsoll.runtime.exchange import Inspection
from plimsoll.runtime.models import estimate_tokens
from plimsoll.runtime.showing import followed
from plimsoll.services.gateway.endpoint import Endpoint, Streamed
from plimsoll.services.gateway.upstreams import Reply, Sender

__all__ = ["Asked", "GatewayExchange", "Part", "Past"]

_NO_CAP = 1 << 62
_SAID = ("choices", "output", "data", "error")
"""What an answer says, by the names that the endpoints have for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a client asks: the JSON of its request, of a ladder of the contract. `tenant` is who asks."""

    endpoint: Endpoint
    tenant: str
    model: str
    body: dict[str, Any]

    @property
    def streamed(self) -> Streamed | None:
        """The endpoint, where the client wants to be shown the answer as it comes; None where it does not."""
        endpoint = self.endpoint
        return endpoint if isinstance(endpoint, Streamed) and self.body.get("stream") is True else None


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
        return digest([value["status"], *(_without_ids(body.get(name)) for name in _SAID)])

    async def verify(self, idempotency_key: str) -> Any:
        return Unknown("a model call changes nothing; there is nothing to verify")


class GatewayExchange(Past):
    """One request to a ladder. Its digest holds the tenant, so that no tenant is given what another was answered."""

    __slots__ = ("_asked", "_most", "_upstreams", "_whole", "input_tokens")

    def __init__(self, asked: Asked, upstreams: Sender) -> None:
        self.dependency = asked.model
        self.args_digest = digest([asked.tenant, asked.endpoint.path, asked.body])
        self.input_tokens = estimate_tokens(canonical_json(asked.body))
        self._asked = asked
        self._upstreams = upstreams
        self._most = _NO_CAP
        self._whole: Reply | None = None

    @property
    def asked(self) -> Asked:
        """What the client asks."""
        return self._asked

    async def send(self, rung: Rung | None) -> Reply:
        assert rung is not None  # models have ladders
        if rung.model.canned is not None:
            return self._canned(rung, rung.model.canned)
        asked = self._asked
        self._most = rung.model.max_output_tokens
        body = asked.endpoint.sent(asked.body, self._most, cap=self._upstreams.section(rung).output_cap)
        if asked.streamed is None:
            return await self._upstreams.send(rung, asked.endpoint, body)
        self._whole = None
        self._whole = reply = await self._streamed(rung, asked.streamed, body)
        return reply

    async def _streamed(self, rung: Rung, endpoint: Streamed, body: dict[str, Any]) -> Reply:
        """Asks for a stream, and shows it. An upstream may answer with the whole."""
        parts: list[dict[str, Any]] = []
        whole: list[Reply] = []
        async with aclosing(followed(self._parts(rung, endpoint, body, parts, whole))) as shown:
            async for _ in shown:
                pass
        if whole:
            return whole[0]
        reply = endpoint.assembled(parts)
        if not parts or not endpoint.is_ended(reply):
            raise OutputRejected(rung.name, fault=Fault.TRUNCATED, detail="its stream ended before the answer did")
        return Reply(200, reply)

    async def _parts(
        self,
        rung: Rung,
        endpoint: Streamed,
        body: dict[str, Any],
        parts: list[dict[str, Any]],
        whole: list[Reply],
    ) -> AsyncGenerator[Part]:
        """The parts that are shown, from the first on that says anything: until then another rung may answer."""
        held: list[dict[str, Any]] = []
        says = False
        async with aclosing(self._upstreams.stream(rung, endpoint, body)) as stream:
            async for part in stream:
                if isinstance(part, Reply):
                    whole.append(part)
                    return
                says = _says(rung, endpoint, part) or says
                parts.append(part)
                if endpoint.is_shown(part, self._asked.body):
                    held.append(part)
                if says:
                    for each in held:
                        yield Part(rung.name, each)
                    held = []

    def inspect(self, native: Reply) -> Inspection:
        if not native.ok:
            return Inspection(usage=Usage())
        asked = self._asked
        usage = asked.endpoint.usage(native.body)
        return Inspection(usage=usage, problem=asked.endpoint.check(asked.body, native.body, self._most))

    def is_whole(self, shown: Sequence[Part], native: Reply) -> bool:
        return bool(shown) and native is self._whole

    async def parts(self, native: Reply) -> AsyncGenerator[Part]:
        if native.ok:
            for data in unfolded(self._asked, native.body):
                yield Part("", data)

    async def left(self, shown: Sequence[Part]) -> tuple[Any, Usage]:
        endpoint = self._asked.streamed
        assert endpoint is not None
        reply = Reply(200, endpoint.assembled(part.data for part in shown))
        tokens = estimate_tokens(canonical_json([reply.body.get(name) for name in _SAID]))
        return msgspec.to_builtins(reply), Usage(input_tokens=self.input_tokens, output_tokens=tokens)

    async def again(self, left: Any) -> AsyncGenerator[Part]:
        for data in unfolded(self._asked, left["body"]):
            yield Part("", data)

    def _canned(self, rung: Rung, text: str) -> Reply:
        """The fixed answer of the contract. Whoever wants data, or vectors, cannot use it."""
        asked = self._asked
        said = asked.endpoint.said(asked.body, text, id=self.args_digest[:24], model=rung.name)
        if said is None or asked.endpoint.wants_data(asked.body):
            detail = "what is asked for is data, which a canned text is not"
            raise OutputRejected(rung.name, fault=Fault.WRONG_SHAPE, detail=detail)
        return Reply(200, said)


def unfolded(asked: Asked, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a whole answer that its client is shown."""
    endpoint = asked.streamed
    assert endpoint is not None
    return [part for part in endpoint.unfolded(body) if endpoint.is_shown(part, asked.body)]


def _says(rung: Rung, endpoint: Streamed, part: dict[str, Any]) -> bool:
    try:
        return endpoint.says(part)
    except (LookupError, TypeError, ValueError, AttributeError, msgspec.ValidationError):
        raise OutputRejected(rung.name, fault=Fault.MALFORMED, detail="a part of its stream is none") from None


def _without_ids(value: Any) -> Any:
    """Without the ids that its parts have; what says to which call an answer belongs is no id of a part."""
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return [{name: _without_ids(each) for name, each in item.items() if name != "id"} for item in value]
    return value
