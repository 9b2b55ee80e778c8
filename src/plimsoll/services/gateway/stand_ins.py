"""Stand-ins for upstreams, and the faults of upstreams as a gateway meets them: for the gate's trials."""

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import httpx2

from plimsoll.contract.checking_gateway import upstream_of
from plimsoll.contract.model import Contract, Upstream
from plimsoll.core.calls import Fault
from plimsoll.core.errors import Misuse, OutputRejected
from plimsoll.policies.ladder import Rung
from plimsoll.runtime.exchange import Exchange
from plimsoll.services.gateway.endpoint import Endpoint, Json, Streamed
from plimsoll.services.gateway.exchange import GatewayExchange
from plimsoll.services.gateway.upstreams import Reply, UpstreamFailed

__all__ = ["GatewayForger", "StandIn", "StandIns"]

StandIn = Callable[[dict[str, Any]], Any]
"""Stands in for a model: is given the JSON of a request, and returns a text, or the JSON of an answer. May be async."""
_ERROR_DOCUMENT = '{"error": {"message": "The server is overloaded", "type": "server_error", "code": 503}}'


class StandIns:
    """In the place of `Upstreams`: functions, by the names that models have in the contract."""

    def __init__(self, contract: Contract, models: Mapping[str, StandIn]) -> None:
        """Raises `Misuse` where a model has none."""
        assert contract.gateway is not None  # whoever made the subject has looked for it
        missing = [name for name, model in contract.models.items() if model.is_model and name not in models]
        if missing:
            raise Misuse(f"the scenario's `models` have no stand-in for {', '.join(missing)}")
        self._sections = contract.gateway.upstreams
        self._models = models
        self._asked = 0

    def section(self, rung: Rung) -> Upstream:
        return self._sections[upstream_of(rung.model.id or "")[0]]

    async def send(self, rung: Rung, endpoint: Endpoint, body: Json) -> Reply:
        self._asked += 1
        said = self._models[rung.name](dict(body))
        if inspect.isawaitable(said):
            said = await said
        if isinstance(said, str):
            said = _saying(endpoint, body, said, id=str(self._asked))
        if not isinstance(said, dict):
            raise Misuse(f"the stand-in for {rung.name} returned {said!r}; it returns a text or a JSON object")
        return Reply(200, said)

    async def stream(self, rung: Rung, endpoint: Streamed, body: Json) -> AsyncGenerator[dict[str, Any] | Reply]:
        reply = await self.send(rung, endpoint, body)
        for part in endpoint.unfolded(reply.body):
            yield part

    async def close(self) -> None:
        """There is nothing to close."""


class GatewayForger:
    """Faults of an upstream, as they come to a gateway: a `plimsoll.gate.subject.Forger`."""

    def forge(self, fault: Fault, exchange: Exchange, native: Any) -> Any:
        assert isinstance(exchange, GatewayExchange)
        endpoint, body = exchange.asked.endpoint, exchange.asked.body
        match fault:
            case Fault.RATE_LIMITED:
                raise UpstreamFailed("the upstream", status_code=429, headers={"retry-after": "2"})
            case Fault.SERVER_ERROR:
                raise UpstreamFailed("the upstream", status_code=503, headers={})
            case Fault.CONNECTION:
                raise httpx2.ReadError("Connection reset by peer")
            case Fault.MALFORMED:
                raise OutputRejected("the upstream", fault=Fault.MALFORMED, detail="it is no JSON object")
            case Fault.EMPTY:
                return Reply(200, _saying(endpoint, body, "", id="empty"))
            case Fault.ERROR_IN_SUCCESS:
                return Reply(200, _saying(endpoint, body, _ERROR_DOCUMENT, id="error"))
            case Fault.TRUNCATED:
                cut = Reply(200, _cut(_saying(endpoint, body, "I will", id="cut")))
                if exchange.inspect(cut).problem is not None:
                    return cut  # of one with a cap of its own, it is what its client asked for
        raise LookupError(f"an upstream cannot show {fault}")


def _saying(endpoint: Endpoint, asked: Json, text: str, *, id: str) -> dict[str, Any]:
    """An answer that does not say what it used. Raises `LookupError` where none is a text."""
    said = endpoint.said(asked, text, id=id, model="stand-in")
    if said is None:
        raise LookupError(f"{endpoint.path} is not answered by a text")
    return {**said, "usage": None}


def _cut(said: dict[str, Any]) -> dict[str, Any]:
    if "choices" in said:
        return {**said, "choices": [{**choice, "finish_reason": "length"} for choice in said["choices"]]}
    return {**said, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
