"""The inference service's ASGI application: routes, admission, deadlines, and clients that leave."""

import asyncio
import hmac
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from plimsoll.core.clock import Clock
from plimsoll.core.errors import Misuse
from plimsoll.services.http import NO_ROUTE, Failure, check_headers, json_response, read_body, retry_after
from plimsoll.services.inference.asking import ENDPOINTS, Limits
from plimsoll.services.inference.batching import Admission, BatchOptions, Overloaded, ReadFailed, Reading
from plimsoll.services.inference.metrics import Metrics
from plimsoll.services.inference.models import Models, ModelSource
from plimsoll.services.serving import answer

__all__ = ["InferenceOptions", "create_inference", "serve"]

TIMEOUT = "x-plimsoll-timeout-ms"
VERSION = "x-plimsoll-version"
_LEFT = 499
"""What a client that has left would have been told; nobody reads it but the metrics."""
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_LOG = logging.getLogger("plimsoll.inference")


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceOptions:
    """How a service answers.

    `name` is what clients call the model. `max_queued` texts wait or are read at most, `max_texts` of them of one
    request, which has at most `max_request_bytes`. A request has `timeout_s` seconds, or as many milliseconds as it
    says in `x-plimsoll-timeout-ms`, where that is less. Another model is looked for every `poll_s` seconds. With a
    `key`, only who sends it as `Authorization: Bearer KEY` is answered.
    """

    name: str
    max_batch: int = 16
    max_wait_s: float = 0.02
    max_queued: int = 1024
    max_texts: int = 256
    max_request_bytes: int = 1_048_576
    timeout_s: float = 30.0
    poll_s: float = 1.0
    key: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise Misuse("a model needs a name, by which its clients ask it")
        if not 1 <= self.max_texts <= self.max_queued:
            raise Misuse(f"max_texts is {self.max_texts}; it is 1 to max_queued, which is {self.max_queued}")
        if self.max_request_bytes < 1:
            raise Misuse(f"max_request_bytes is {self.max_request_bytes}; it is 1 or more")
        for name in ("timeout_s", "poll_s"):
            if not getattr(self, name) > 0:
                raise Misuse(f"{name} is {getattr(self, name)}; it is more than 0")
        if self.key == "":
            raise Misuse("the key is empty: anybody could send that")
        if self.key is not None and not re.fullmatch(r"[ -~]+", self.key):
            raise Misuse("the key has several lines, or a letter beyond ASCII, which no client can send")


def create_inference(source: ModelSource, *, options: InferenceOptions, clock: Clock) -> ASGIApp:
    """The service, as an ASGI application, which loads the model of `source` when it starts.

    Raises `Misuse` for options that cannot be. Starting raises what is wrong with the model.
    """
    return _Service(source, options, clock)


async def serve(source: ModelSource, *, options: InferenceOptions, clock: Clock, host: str, port: int) -> None:
    """Answers at `host` and `port` until it is told to end. Raises what is wrong with the model before it listens."""
    service = _Service(source, options, clock)
    await service.start()
    await answer(service, host=host, port=port)


class _Service:
    def __init__(self, source: ModelSource, options: InferenceOptions, clock: Clock) -> None:
        self._handlers = {path: self._handler(path) for path in ENDPOINTS}
        routes = [
            *(Route(path, handler, methods=["POST"]) for path, handler in self._handlers.items()),
            Route("/v1/models", self._guarded(self._named), methods=["GET"]),
            Route("/livez", self._alive, methods=["GET"]),
            Route("/readyz", self._ready, methods=["GET"]),
            Route("/metrics", self._told, methods=["GET"]),
        ]
        self._app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route}, lifespan=self._lifespan)
        self._options = options
        self._clock = clock
        self._admission = Admission(options.max_queued)
        self._metrics = Metrics(queued=lambda: self._admission.queued)
        self._limits = Limits(name=options.name, max_texts=options.max_texts)
        self._models = Models(
            source,
            options=BatchOptions(max_batch=options.max_batch, max_wait_s=options.max_wait_s),
            admission=self._admission,
            clock=clock,
            metrics=self._metrics,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is asked most goes past the routes: they would take a tenth of the time of an answer."""
        handler = self._handlers.get(scope["path"]) if scope["type"] == "http" else None
        if handler is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
        else:
            response = await handler(Request(scope, receive))
            await response(scope, receive, send)

    async def start(self) -> None:
        """Loads the model and warms it, where that was not done yet."""
        await self._models.start()

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """The model is loaded and warm before the first request; at the end, what was asked is answered."""
        await self.start()
        watching = asyncio.create_task(self._models.watch(every_s=self._options.poll_s))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            await self._models.close()

    async def _alive(self, http: Request) -> Response:
        return json_response({"status": "alive"})

    async def _ready(self, http: Request) -> Response:
        """Which version answers, and what is wrong with the one that should."""
        model, rejected = self._models.current, self._models.rejected
        told = {"status": "ready", "model": self._options.name, "version": model.version}
        return json_response({**told, "queued_texts": self._admission.queued, "rejected": rejected})

    async def _told(self, http: Request) -> Response:
        return Response(self._metrics.written(), media_type=_PROMETHEUS)

    async def _named(self, http: Request) -> Response:
        model = self._models.current
        manifest = model.classifier.manifest
        told = {
            "id": self._options.name,
            "object": "model",
            "created": 0,
            "owned_by": "plimsoll",
            "version": model.version,
            "labels": manifest.labels,
            "max_tokens": manifest.max_tokens,
            "dimensions": model.classifier.dimensions,
        }
        return json_response({"object": "list", "data": [told]})

    def _handler(self, path: str) -> Callable[[Request], Awaitable[Response]]:
        """Answers what is asked at `path`, and counts it."""
        answered = self._guarded(partial(self._answered, path))

        async def handled(http: Request) -> Response:
            began = self._clock.monotonic()
            response = await answered(http)
            self._metrics.answered(path, response.status_code, self._clock.monotonic() - began)
            return response

        return handled

    def _guarded(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Asks for the key where there is one. Whatever is raised becomes an error of OpenAI's shape."""

        async def guarded(http: Request) -> Response:
            try:
                check_headers(http)
                self._authenticate(http)
                return await handler(http)
            except Failure as failure:
                return _refused(failure)
            except Exception as error:
                _LOG.exception("the service failed")
                return _refused(Failure(500, "internal_error", f"the service failed: {type(error).__name__}"))

        return guarded

    def _authenticate(self, http: Request) -> None:
        if self._options.key is None:
            return
        scheme, _, key = http.headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(key.strip().encode("utf-8", "surrogateescape"), self._options.key.encode())
        if scheme.lower() != "bearer" or not known:
            what = "this is no key of this service; send its key as `Authorization: Bearer KEY`"
            raise Failure(401, "invalid_api_key", what, {"www-authenticate": "Bearer"})

    async def _answered(self, path: str, http: Request) -> Response:
        deadline = self._clock.monotonic() + self._timeout_s(http)
        raw = await read_body(http, most_bytes=self._options.max_request_bytes, timeout_s=self._options.timeout_s)
        model = self._models.current  # one version answers all of it, whatever is exchanged meanwhile
        asked = ENDPOINTS[path](raw, model, self._limits)
        try:
            reading = model.batcher.submit(asked.items)
            read = reading.result() if reading.done() else await self._awaited(reading, http, deadline)
        except Overloaded as error:
            what = f"{self._admission.queued:,} texts are in the queue: ask again later"
            raise Failure(429, "overloaded", what, retry_after(error.retry_after_s)) from None
        except ReadFailed as error:
            _LOG.error("%s", error)
            raise Failure(500, "model_failed", "the model failed at a text") from None
        return json_response(asked.answer(read), headers={VERSION: model.version})

    async def _awaited(
        self, reading: "asyncio.Future[list[Reading]]", http: Request, deadline: float
    ) -> "list[Reading]":
        """What is being read, unless its time runs out or its client leaves: then nothing more is read for it."""
        leaving = asyncio.create_task(_left(http))
        try:
            either: list[asyncio.Future[Any]] = [reading, leaving]
            left_s = max(0.0, deadline - self._clock.monotonic())
            await asyncio.wait(either, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            if leaving.done():
                raise Failure(_LEFT, "disconnected", "the client left before it was answered")
            raise Failure(504, "deadline_exceeded", "the request was not answered in its time")
        finally:
            reading.cancel()
            leaving.cancel()

    def _timeout_s(self, http: Request) -> float:
        told = http.headers.get(TIMEOUT)
        if told is None:
            return self._options.timeout_s
        if not (told.isascii() and told.isdigit() and len(told) < 10 and int(told)):
            raise Failure(400, "invalid_timeout", f"{TIMEOUT} is a whole number of milliseconds above 0")
        return min(self._options.timeout_s, int(told) / 1000)


def _refused(failure: Failure) -> Response:
    return json_response(failure.body, status=failure.status, headers=failure.headers)


async def _left(http: Request) -> None:
    """Returns when the client has left."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def _no_route(http: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, what = NO_ROUTE.get(error.status_code, ("http_error", "this cannot be asked"))
    return _refused(Failure(error.status_code, code, what, error.headers or {}))
