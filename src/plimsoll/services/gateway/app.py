"""The gateway's ASGI application: routes, and how answers and errors are written."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from plimsoll.contract.model import Contract
from plimsoll.core.errors import (
    DayLimitExceeded,
    JournalCorrupt,
    JournalUnavailable,
    RateLimited,
    ReplayMismatch,
    RunBusy,
    RunErased,
    Superseded,
)
from plimsoll.runtime.dispatch import Dispatcher
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.services.gateway.chat import CHAT
from plimsoll.services.gateway.embeddings import EMBEDDINGS
from plimsoll.services.gateway.endpoint import Endpoint, named
from plimsoll.services.gateway.exchange import Part
from plimsoll.services.gateway.failures import halted, limited
from plimsoll.services.gateway.reading import RUN, authenticated, understood
from plimsoll.services.gateway.responses import RESPONSES
from plimsoll.services.gateway.runs import Answer, Request, Runs, Screen
from plimsoll.services.gateway.streams import EventStream, again, shown
from plimsoll.services.gateway.tenants import KeyFile, Quotas
from plimsoll.services.gateway.upstreams import Sender, Upstreams
from plimsoll.services.http import NO_ROUTE, Failure, check_headers, json_response

__all__ = ["create_gateway"]

LOOK_S = 1.0
"""How often it looks for runs that somebody has cancelled, and for those that their clients have left."""
_ENDPOINTS = (CHAT, RESPONSES, EMBEDDINGS)
_PATHS = frozenset({"/healthz", "/readyz", "/v1/models", *(f"/v1{endpoint.path}" for endpoint in _ENDPOINTS)})
"""What the log has of the paths that are asked for: any other may hold whatever its client has put there."""
_LOG = logging.getLogger("plimsoll.gateway")
_AGAIN = {"retry-after": "1"}
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
    upstreams: Sender | None = None,
) -> Starlette:
    """The gateway of a contract, as an ASGI application. What it asks goes through `surroundings.interceptor`.

    `directory` is where the contract's file lies, `environ` has the upstreams' keys (None: the process's own);
    `upstreams` is who asks them (None: over HTTP). The store stays the caller's to close. Raises `Misuse` where a
    model has no upstream, or a key is missing.
    """
    if upstreams is None:
        upstreams = Upstreams(contract, environ=os.environ if environ is None else environ)
    gateway = _Gateway(contract, surroundings, Path(directory), upstreams)
    routes = [
        Route("/healthz", gateway.alive, methods=["GET"]),
        Route("/readyz", _guarded(gateway.ready), methods=["GET"]),
        Route("/v1/models", _guarded(gateway.models), methods=["GET"]),
        *(
            Route(f"/v1{endpoint.path}", _guarded(partial(gateway.asked, endpoint)), methods=["POST"])
            for endpoint in _ENDPOINTS
        ),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_route}, lifespan=gateway.lifespan)


class _Gateway:
    def __init__(self, contract: Contract, surroundings: Surroundings, directory: Path, upstreams: Sender) -> None:
        self._upstreams = upstreams
        assert contract.gateway is not None  # the upstreams have been looked for
        self._section = contract.gateway
        self._runs = Runs(contract, surroundings=surroundings, upstreams=self._upstreams)
        self._keys = KeyFile(directory / self._section.keys)
        self._quotas = Quotas(self._section, clock=surroundings.clock)
        self._streams: set[asyncio.Task[Answer]] = set()

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Takes up what a process that died has left, goes on with what is cancelled or idle, and at the end writes
        what is queued."""
        harness = self._runs.harness
        await harness.wake()
        try:
            async with Dispatcher(harness, poll_s=LOOK_S):
                yield
        finally:
            if self._streams:
                await asyncio.wait(self._streams)
            await harness.close()
            await self._upstreams.close()

    async def alive(self, http: HttpRequest) -> Response:
        return json_response({"status": "alive"})

    async def ready(self, http: HttpRequest) -> Response:
        """Whether the journal can be read. Raises what it raises."""
        await self._runs.harness.store.head("readyz")
        return json_response({"status": "ready"})

    async def models(self, http: HttpRequest) -> Response:
        check_headers(http)
        authenticated(http, self._keys)
        names = [name for name, section in self._runs.harness.env.contract.models.items() if section.is_model]
        each = [{"id": name, "object": "model", "created": 0, "owned_by": "plimsoll"} for name in names]
        return json_response({"object": "list", "data": each})

    async def asked(self, endpoint: Endpoint, http: HttpRequest) -> Response:
        check_headers(http)
        tenant = authenticated(http, self._keys)
        self._quotas.take(tenant)
        response: Response | None = None
        try:
            ladders = self._runs.harness.env.ladders
            request = await understood(http, endpoint, tenant=tenant, section=self._section, ladders=ladders)
            response = await (self._shown(request) if request.asked.streamed else self._whole(request))
        finally:
            if not isinstance(response, EventStream):
                self._quotas.give_back(tenant)
        _LOG.info("%s %s %d", tenant, endpoint.path, response.status_code)
        return response

    async def _whole(self, request: Request) -> Response:
        answer = await self._runs.ask(request)
        body = named(answer.reply.body, request.asked.model)
        return json_response(body, status=answer.reply.status, headers=_told(answer))

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
            events = shown(first, request, screen, task, told=_failure_of)
            return EventStream(events, _told_early(first, request, screen.run), closing)
        answer = await task
        if not answer.reply.ok:
            return json_response(answer.reply.body, status=answer.reply.status, headers=_told(answer))
        return EventStream(again(request, answer), _told(answer), closing)

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


def _told(answer: Answer) -> dict[str, str]:
    replayed = {"x-plimsoll-replayed": "true"} if answer.replayed else {}
    return {RUN: answer.run, **_rung_told(answer.rung, degraded=answer.degraded), **replayed}


def _told_early(first: Part, request: Request, run: str) -> dict[str, str]:
    """What is known of an answer when its first part comes."""
    return {RUN: run, **_rung_told(first.rung, degraded=first.rung != request.asked.model)}


def _rung_told(rung: str, *, degraded: bool) -> dict[str, str]:
    return {"x-plimsoll-rung": rung, "x-plimsoll-degraded": str(degraded).lower()}


def _failure_of(error: Exception) -> Failure:
    """What a client is told of an error."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, RateLimited):
        return limited(error.retry_after_s)
    if isinstance(error, DayLimitExceeded):
        return halted(error.limit, f"no run may begin: {error}", whole=False)
    for kinds, status, code, what, headers in _OF_OURS:
        if isinstance(error, kinds):
            return Failure(status, code, what, headers)
    _LOG.error("the gateway failed: %s", type(error).__name__)  # what it says may hold what was asked
    return Failure(500, "internal_error", "the gateway failed")


def _refused(http: HttpRequest, failure: Failure) -> Response:
    path = http.scope["path"]
    _LOG.info("- %s %d %s", path if path in _PATHS else "-", failure.status, failure.code)
    return json_response(failure.body, status=failure.status, headers=failure.headers)


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
    code, what = NO_ROUTE.get(error.status_code, ("http_error", "this cannot be asked"))
    return _refused(http, Failure(error.status_code, code, what, error.headers or {}))
