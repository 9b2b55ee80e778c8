"""A request, as far as it is taken from its client: bounded in size, headers and time, and then understood."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request as HttpRequest

from plimsoll.contract.checking_gateway import upstream_of
from plimsoll.contract.model import GatewaySection
from plimsoll.core.canonical import canonical_json
from plimsoll.core.errors import Misuse
from plimsoll.policies.ladder import Ladder
from plimsoll.services.gateway.endpoint import Endpoint, invalid
from plimsoll.services.gateway.exchange import Asked
from plimsoll.services.gateway.runs import Request
from plimsoll.services.gateway.tenants import KeyFile
from plimsoll.services.http import Failure, read_body

__all__ = ["authenticated", "understood"]

RUN = "x-plimsoll-run"
MAX_KEY_CHARS = 256
MAX_DEPTH = 100
"""Of JSON. What is nested deeper, some later reader could not go through."""
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def authenticated(http: HttpRequest, keys: KeyFile) -> str:
    """The tenant whose key this is. Raises `Failure`."""
    scheme, _, key = http.headers.get("authorization", "").partition(" ")
    try:
        tenant = keys.tenant_of(key.strip()) if scheme.lower() == "bearer" else None
    except Misuse:
        what = "the gateway's file of keys cannot be read; `plimsoll gateway keys list` tells why"
        raise Failure(503, "keys_unreadable", what) from None
    if tenant is None:
        what = "this is no key of this gateway; send one as `Authorization: Bearer KEY`"
        raise Failure(401, "invalid_api_key", what, {"www-authenticate": "Bearer"})
    return tenant


async def understood(
    http: HttpRequest, endpoint: Endpoint, *, tenant: str, section: GatewaySection, ladders: Mapping[str, Ladder]
) -> Request:
    """What the client asks. Raises `Failure` for anything that cannot be asked."""
    run = http.headers.get(RUN, "")
    if RUN in http.headers and not _RUN.fullmatch(run):
        raise Failure(
            400, "invalid_run", f"{RUN} is 1 to 128 letters, digits and . _ : -, and begins with one of the first"
        )
    key = http.headers.get("idempotency-key", "")
    if len(key) > MAX_KEY_CHARS:
        raise Failure(400, "invalid_idempotency_key", f"Idempotency-Key has {MAX_KEY_CHARS} characters at most")
    raw = await read_body(http, most_bytes=section.max_request_bytes, timeout_s=section.read_timeout_s)
    body = _object(raw)
    model = body.get("model")
    if not isinstance(model, str) or model not in ladders:
        raise Failure(404, "model_not_found", f"the models here are: {', '.join(sorted(ladders))}")
    if not isinstance(body.get("stream"), (bool, type(None))):
        raise invalid("`stream` is true or false")
    refusal = endpoint.refusal(body)
    if refusal is not None:
        raise refusal
    lacking = _lacking(endpoint, ladders[model], section)
    if lacking:
        what = f"an upstream of the model {model!r} ({lacking}) has no {endpoint.path}: ask it by another endpoint"
        raise Failure(400, "endpoint_not_here", what)
    if not endpoint.climbs and len(ladders[model].rungs) > 1:
        what = f"the model {model!r} falls back to others, and the vectors of two models do not mix"
        raise Failure(400, "model_has_fallback", f"{what}: name one without a fallback")
    return Request(asked=Asked(endpoint=endpoint, tenant=tenant, model=model, body=body), run=run, key=key)


def _lacking(endpoint: Endpoint, ladder: Ladder, section: GatewaySection) -> str:
    """The upstream of a rung that does not have the endpoint; empty where all have it."""
    names = [upstream_of(rung.model.id or "")[0] for rung in ladder.rungs if rung.model.is_model]
    return next((name for name in names if not endpoint.is_at(section.upstreams[name])), "")


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(raw, type=dict[str, Any])
        canonical_json(body)
    except (msgspec.DecodeError, Misuse, RecursionError, UnicodeError):
        raise Failure(400, "invalid_json", "the body of the request is no JSON object") from None
    if _is_deep(body):
        raise Failure(400, "invalid_json", f"the body of the request is nested deeper than {MAX_DEPTH} levels")
    return body


def _is_deep(body: dict[str, Any]) -> bool:
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH):
        items = [each.values() if isinstance(each, dict) else each for each in level]
        level = [item for each in items for item in each if isinstance(item, (dict, list))]
    return bool(level)
