"""The gateway's ASGI application: routes, and how answers and errors are written."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from plimsoll.contract.model import Contract
from plimsoll.core.errors import (
    JournalCorrupt,
    JournalUnavailable,
    RateLimited,
    ReplayMismatch,
    RunBusy,
    RunErased,
    Superseded,
)
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.services.gateway.chat import unfolded
from plimsoll.services.gateway.exchange import CHAT, EMBEDDINGS, Endpoint, Part
from plimsoll.services.gateway.failures import Failure, limited
from plimsoll.services.gateway.reading import RUN, authenticated, check_headers, understood
from plimsoll.services.gateway.runs import Answer, Request, Runs, Screen
from plimsoll.services.gateway.tenants import KeyFile, Quotas
from plimsoll.services.gateway.upstreams import Upstreams

__all__ = ["create_gateway"]

STALLED_S = 60.0
"""How many seconds a client may take for a part of a stream before it counts as gone."""
_LOG = logging.getLogger("plimsoll.gateway")
_encode = msgspec.json.Encoder().encode
_DONE = b"data: [DONE]\n\n"
_AGAIN = {"retry-after": "1"}
_NO_ROUTE = {
    404: ("not_found", "there is nothing here"),
    405: ("method_not_allowed", "this is asked by another method"),
}
_OF_OURS: tuple[tuple[tuple[type[Exception], ...], int, str, str, Mapping[str, str]], ...] = (
    ((RunBusy, Superseded), 409, "run_busy", "another request of this run is under way; ask again", _AGAIN),
    ((RunErased,), 410, "run_erased", "this run was erased; begin another", {}),
    ((JournalUnavailable,), 503, "journal_unavailable", "the journal cannot be written; ask again", _AGAIN),
    (
        (JournalCorrupt, ReplayMismatch),
        503,
        "run_damaged",
        "the journal of this run does not verify; begin another",
        {},
    ),
)


def create_gateway(
    contract: Contract,
    *,
    surroundings: Surroundings,
    directory: str | Path = ".",
    environ: Mapping[str, str] | None = None,
) -> Starlette:
    """The gateway of a contract, as an ASGI application. What it asks goes through `surroundings.interceptor`.

    `directory` is where the contract's file lies, `environ` has the upstreams' keys (None: the process's own). The
    store stays the caller's to close. Raises `Misuse` where a model has no upstream, or a key is missing.
    """
    gateway = _Gateway(contract, surroundings, Path(directory), os.environ if environ is None else environ)
    routes = [
        Route("/healthz", gateway.alive, methods=["GET"]),
        Route("/readyz", _guarded(gateway.ready), methods=["GET"]),
        Route("/v1/models", _guarded(gateway.models), methods=["GET"]),
        Route("/v1/chat/completions", _guarded(gateway.chat), methods=["POST"]),
        Route("/v1/embeddings", _guarded(gateway.embeddings), methods=["POST"]),
        Route("/v1/responses", _guarded(gateway.responses), methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_route}, lifespan=gateway.lifespan)


class _Gateway:
    def __init__(
        self, contract: Contract, surroundings: Surroundings, directory: Path, environ: Mapping[str, str]
    ) -> None:
        self._upstreams = Upstreams(contract, environ=environ)
        assert contract.gateway is not None  # the upstreams have been looked for
        self._section = contract.gateway
        self._runs = Runs(contract, surroundings=surroundings, upstreams=self._upstreams)
        self._keys = KeyFile(directory / self._section.keys)
        self._quotas = Quotas(self._section, clock=surroundings.clock)
        self._streams: set[asyncio.Task[Answer]] = set()

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Takes up what a process that died has left, and at the end writes what is queued."""
        await self._runs.harness.wake()
        try:
            yield
        finally:
            if self._streams:
                await asyncio.wait(self._streams)
            await self._runs.harness.close()
            await self._upstreams.close()

    async def alive(self, http: HttpRequest) -> Response:
        return _json({"status": "alive"})

    async def ready(self, http: HttpRequest) -> Response:
        """Whether the journal can be read. Raises what it raises."""
        await self._runs.harness.store.head("readyz")
        return _json({"status": "ready"})

    async def models(self, http: HttpRequest) -> Response:
        check_headers(http)
        authenticated(http, self._keys)
        names = [name for name, section in self._runs.harness.env.contract.models.items() if section.is_model]
        each = [{"id": name, "object": "model", "created": 0, "owned_by": "plimsoll"} for name in names]
        return _json({"object": "list", "data": each})

    async def responses(self, http: HttpRequest) -> Response:
        check_headers(http)
        authenticated(http, self._keys)
        raise Failure(501, "not_implemented", "this gateway has no /v1/responses yet: use /v1/chat/completions")

    async def chat(self, http: HttpRequest) -> Response:
        return await self._asked(http, CHAT)

    async def embeddings(self, http: HttpRequest) -> Response:
        return await self._asked(http, EMBEDDINGS)

    async def _asked(self, http: HttpRequest, endpoint: Endpoint) -> Response:
        check_headers(http)
        tenant = authenticated(http, self._keys)
        self._quotas.take(tenant)
        response: Response | None = None
        try:
            ladders = self._runs.harness.env.ladders
            request = await understood(http, endpoint, tenant=tenant, section=self._section, ladders=ladders)
            response = await (self._shown(request) if request.asked.stream else self._whole(request))
        finally:
            if not isinstance(response, _Stream):
                self._quotas.give_back(tenant)
        _LOG.info("%s %s %d", tenant, endpoint.path, response.status_code)
        return response

    async def _whole(self, request: Request) -> Response:
        answer = await self._runs.ask(request)
        return _json(_named(answer.reply.body, request), status=answer.reply.status, headers=_told(answer))

    async def _shown(self, request: Request) -> Response:
        """A stream, once its first part has come: until then it may still become an error with a status of its own."""
        screen = Screen([rung.name for rung in self._runs.harness.env.ladders[request.asked.model].rungs])
        task = asyncio.create_task(self._led(request, screen))
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)
        try:
            first = await screen.next()
        except BaseException:
            await screen.leave()
            raise
        closing = partial(self._closed, request.asked.tenant, screen, task)
        if first is not None:
            return _Stream(_followed(first, request, screen, task), _told_early(first, request, screen.run), closing)
        answer = await task
        if not answer.reply.ok:
            return _json(answer.reply.body, status=answer.reply.status, headers=_told(answer))
        return _Stream(_again(request, answer), _told(answer), closing)

    async def _closed(self, tenant: str, screen: Screen, task: "asyncio.Task[Answer]") -> None:
        """Ends the stream of a client that may have left before its answer was whole."""
        try:
            if not task.done():
                await screen.leave()
                await asyncio.wait([task])
            if not task.cancelled():
                task.exception()
        finally:
            self._quotas.give_back(tenant)

    async def _led(self, request: Request, screen: Screen) -> Answer:
        try:
            return await self._runs.ask(request, screen=screen)
        finally:
            await screen.end()


class _Stream(StreamingResponse):
    """Server-sent events. Whatever becomes of its client, `closing` is awaited at the end."""

    def __init__(
        self, events: AsyncGenerator[bytes], headers: Mapping[str, str], closing: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(events, headers={**headers, "cache-control": "no-cache"}, media_type="text/event-stream")
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def taken(message: Message) -> None:
            async with asyncio.timeout(STALLED_S):
                await send(message)

        try:
            await super().__call__(scope, receive, taken)
        except (TimeoutError, ClientDisconnect):
            _LOG.info("- a client took no more of a stream")
        finally:
            await asyncio.shield(asyncio.ensure_future(self._closing()))


async def _followed(
    first: Part, request: Request, screen: Screen, task: "asyncio.Task[Answer]"
) -> AsyncGenerator[bytes]:
    """The parts of an answer as events. What was shown cannot be taken back, so whatever voids it is an error."""
    part: Part | None = first
    while part is not None:
        yield _event(_named(part.data, request))
        part = await screen.next()
    try:
        await task
    except Exception as error:
        failure = _failure_of(error)
        if screen.voided:
            what = f"the answer began anew ({screen.voided}), and what was shown of it is void; ask again"
            failure = Failure(502, "stream_restarted", what)
        yield _event(failure.body)
        return
    yield _DONE


async def _again(request: Request, answer: Answer) -> AsyncGenerator[bytes]:
    """An answer that nobody was shown as events."""
    for data in unfolded(answer.reply.body):
        if data["choices"] or request.asked.wants_usage:
            yield _event(_named(data, request))
    yield _DONE


def _named(body: Mapping[str, Any], request: Request) -> Mapping[str, Any]:
    """The answer under the name of the model that was asked for."""
    return {**body, "model": request.asked.model} if "model" in body else body


def _told(answer: Answer) -> dict[str, str]:
    replayed = {"x-plimsoll-replayed": "true"} if answer.replayed else {}
    return {RUN: answer.run, **_rung_told(answer.rung, degraded=answer.degraded), **replayed}


def _told_early(first: Part, request: Request, run: str) -> dict[str, str]:
    """What is known of an answer when its first part comes."""
    return {RUN: run, **_rung_told(first.rung, degraded=first.rung != request.asked.model)}


def _rung_told(rung: str, *, degraded: bool) -> dict[str, str]:
    return {"x-plimsoll-rung": rung, "x-plimsoll-degraded": str(degraded).lower()}


def _json(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(_encode(body), status_code=status, headers=headers, media_type="application/json")


def _event(body: Any) -> bytes:
    return b"data: " + _encode(body) + b"\n\n"


def _failure_of(error: Exception) -> Failure:
    """What a client is told of an error."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, RateLimited):
        return limited(error.retry_after_s)
    for kinds, status, code, what, headers in _OF_OURS:
        if isinstance(error, kinds):
            return Failure(status, code, what, headers)
    _LOG.error("the gateway failed: %s", type(error).__name__)  # what it says may hold what was asked
    return Failure(500, "internal_error", "the gateway failed")


def _refused(http: HttpRequest, failure: Failure) -> Response:
    _LOG.info("- %s %d %s", http.url.path[:64], failure.status, failure.code)
    return _json(failure.body, status=failure.status, headers=failure.headers)


def _guarded(handler: Callable[[HttpRequest], Awaitable[Response]]) -> Callable[[HttpRequest], Awaitable[Response]]:
    """Whatever is raised becomes an error of OpenAI's shape."""

    async def guarded(http: HttpRequest) -> Response:
        try:
            return await handler(http)
        except Exception as error:
            return _refused(http, _failure_of(error))

    return guarded


async def _no_route(http: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, what = _NO_ROUTE.get(error.status_code, ("http_error", "this cannot be asked"))
    return _refused(http, Failure(error.status_code, code, what, error.headers or {}))
