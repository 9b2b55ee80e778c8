"""Upstreams: the HTTP services with OpenAI's interface that answer in the end."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import httpx2
import msgspec

from plimsoll.contract.checking_gateway import gateway_problems, upstream_of
from plimsoll.contract.model import Contract, Upstream
from plimsoll.core.calls import Fault
from plimsoll.core.errors import Misuse, OperationFailed, OutputRejected
from plimsoll.policies.ladder import Rung
from plimsoll.services.gateway.endpoint import Endpoint, Streamed

__all__ = ["Reply", "Sender", "UpstreamFailed", "Upstreams"]

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""An answer that is longer is none: somebody has to hold it in memory."""
_FOR_THE_CLIENT = frozenset({400, 413, 415, 422})
"""By these an upstream says that the request is wrong. That is an answer to its client, and no fault of the upstream:
otherwise one client's bad requests would open the circuit for all."""
_CODE = re.compile(r"[a-z0-9_.-]{1,64}")
_OK = 200


class Reply(msgspec.Struct, frozen=True):
    """What an upstream answered: its HTTP status and its JSON."""

    status: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether it is an answer to what was asked, and not to how it was asked."""
        return self.status == _OK


class UpstreamFailed(OperationFailed):
    """An upstream answered with an error. Of what it wrote, only a short code is kept."""

    def __init__(self, upstream: str, *, status_code: int, headers: Mapping[str, str], code: str = "") -> None:
        self.status_code = status_code
        self.headers = headers
        super().__init__(f"{upstream} answered with the status {status_code}{f' ({code})' if code else ''}")


class Sender(Protocol):
    """Who asks the upstreams: `Upstreams`, or a stand-in for them."""

    def section(self, rung: Rung) -> Upstream:
        """What the contract says of the upstream of this rung."""
        ...

    async def send(self, rung: Rung, endpoint: Endpoint, body: Mapping[str, Any]) -> Reply:
        """Asks for the whole answer."""
        ...

    def stream(self, rung: Rung, endpoint: Streamed, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any] | Reply]:
        """The parts of an answer as they come; one `Reply`, where the upstream does not stream it."""
        ...

    async def close(self) -> None:
        """Nobody is asked any more."""
        ...


class Upstreams:
    """Asks the services that a contract names, each over connections of its own."""

    def __init__(self, contract: Contract, *, environ: Mapping[str, str]) -> None:
        """Raises `Misuse` where a model has no upstream, or a key is not in `environ`."""
        problems = [f"{'.'.join(map(str, path))}: {what} → {fix}" for path, what, fix in gateway_problems(contract)]
        if contract.gateway is None or problems:
            raise Misuse("this contract makes no gateway: " + "; ".join(problems))
        self._sections = contract.gateway.upstreams
        self._clients = {name: _client(name, section, environ) for name, section in self._sections.items()}

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    def section(self, rung: Rung) -> Upstream:
        """What the contract says of the upstream of this rung."""
        return self._sections[upstream_of(rung.model.id or "")[0]]

    async def send(self, rung: Rung, endpoint: Endpoint, body: Mapping[str, Any]) -> Reply:
        """Asks for the whole answer."""
        async with self._asked(rung, endpoint, body) as (name, response):
            return await _whole(name, response)

    async def stream(
        self, rung: Rung, endpoint: Streamed, body: Mapping[str, Any]
    ) -> AsyncGenerator[dict[str, Any] | Reply]:
        """The parts of an answer as they come; one `Reply`, where the upstream does not stream it.

        Raises `OutputRejected` where the stream ends before its own end.
        """
        async with self._asked(rung, endpoint, body) as (name, response):
            if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
                yield await _whole(name, response)
                return
            async for data in _events(name, response):
                if data.strip() == b"[DONE]":
                    return
                yield _part(name, data)

    @asynccontextmanager
    async def _asked(
        self, rung: Rung, endpoint: Endpoint, body: Mapping[str, Any]
    ) -> AsyncIterator[tuple[str, httpx2.Response]]:
        """The response to a request, before its body is read. Raises `UpstreamFailed`."""
        name, model_name = upstream_of(rung.model.id or "")
        content = msgspec.json.encode({**body, "model": model_name})
        async with self._clients[name].stream("POST", endpoint.path, content=content) as response:
            if response.status_code != _OK and response.status_code not in _FOR_THE_CLIENT:
                code = _code(await _read(name, response))
                raise UpstreamFailed(name, status_code=response.status_code, headers=response.headers, code=code)
            yield name, response


def _client(name: str, section: Upstream, environ: Mapping[str, str]) -> httpx2.AsyncClient:
    headers = {"content-type": "application/json", "user-agent": "plimsoll-gateway"}
    if section.api_key is not None:
        variable = section.api_key.removeprefix("env:")
        key = environ.get(variable, "").strip()
        if not key:
            raise Misuse(f"gateway.upstreams.{name}.api_key: the variable {variable} is not set in the environment")
        headers["authorization"] = f"Bearer {key}"
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
    # How long an answer may take is the ladder's to say.
    return httpx2.AsyncClient(base_url=section.base_url.rstrip("/"), headers=headers, timeout=None, limits=limits)


async def _bytes(name: str, response: httpx2.Response) -> AsyncGenerator[bytes]:
    """The body as it comes. Raises `OutputRejected` for one that is too long."""
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise OutputRejected(name, fault=Fault.MALFORMED, detail=f"it is longer than {MAX_ANSWER_BYTES} bytes")
        yield part


async def _read(name: str, response: httpx2.Response) -> bytes:
    return b"".join([part async for part in _bytes(name, response)])


async def _whole(name: str, response: httpx2.Response) -> Reply:
    raw = await _read(name, response)
    if not raw.strip():
        raise OutputRejected(name, fault=Fault.EMPTY, detail="there is no body")
    return Reply(response.status_code, _object(name, raw))


async def _events(name: str, response: httpx2.Response) -> AsyncGenerator[bytes]:
    """The data of the server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    data: list[bytes] = []
    async for line in _lines(name, response):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []
    if data:
        yield b"\n".join(data)


async def _lines(name: str, response: httpx2.Response) -> AsyncGenerator[bytes]:
    """The lines of a body, which end in LF, CR or both. In nothing else: JSON may have a U+2028 as it is."""
    begun = bytearray()
    async for part in _bytes(name, response):
        begun += part
        if b"\n" in part or b"\r" in part:
            lines = bytes(begun).splitlines(keepends=True)
            # A CR at the end may be half of what ends the line.
            begun = bytearray() if lines[-1].endswith(b"\n") else bytearray(lines.pop())
            for line in lines:
                yield line.rstrip(b"\r\n")
    if begun:
        yield bytes(begun).rstrip(b"\r\n")


def _part(name: str, data: bytes) -> dict[str, Any]:
    part = _object(name, data)
    error = _error_in(part)
    if error is not None:
        raise UpstreamFailed(name, status_code=500, headers={}, code=_short(error))
    return part


def _error_in(part: Mapping[str, Any]) -> Any:
    """The error that this part of a stream brings, by itself or as a typed event; None where it is none."""
    if part.get("error"):
        return part["error"]
    kind, response = part.get("type"), part.get("response")
    if kind == "error":
        return part
    if kind == "response.failed":
        return (response.get("error") if isinstance(response, dict) else None) or {}
    return None


def _object(name: str, raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise OutputRejected(name, fault=Fault.MALFORMED, detail="it is no JSON object") from None


def _code(raw: bytes) -> str:
    """The short code of an error, where it has one. A sentence may quote a key, or what was asked."""
    try:
        error = msgspec.json.decode(raw)["error"]
    except Exception:
        return ""
    return _short(error)


def _short(error: Any) -> str:
    code = (error.get("code") or error.get("type")) if isinstance(error, dict) else ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""
