"""A gateway, and an upstream that does what a test says, each a real server in a thread of its own."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from openai import OpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from plimsoll.contract.loading import parse_contract
from plimsoll.core.clock import Clock
from plimsoll.journal.store import Store
from plimsoll.runtime.exchange import Interceptor
from plimsoll.runtime.local import local
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.services.gateway import create_gateway
from plimsoll.services.gateway.tenants import KeyFile

CONTRACT = """
[agent]
name = "gateway"

[models.primary]
id = "up:first"
timeout_s = {timeout_s}
fallback = ["second"]

[models.second]
id = "up:second"

[models.lone]
id = "up:first"

[models.embed]
id = "up:embed"
max_output_tokens = 1

[models.polite]
id = "up:first"
fallback = ["canned"]

[models.canned]
canned = "Nobody can answer that now."

[gateway.upstreams.up]
base_url = "{base_url}"
api_key = "env:UP_KEY"
"""
UP_KEY = "sk-upstream-secret"

Behaviour = Callable[[dict[str, Any]], Response]


class _Server(uvicorn.Server):
    def __init__(self, app: ASGIApp) -> None:
        super().__init__(uvicorn.Config(app, http="h11", access_log=False, log_level="warning", lifespan="on"))
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """The address of `app`, which answers there."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = _Server(app)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    try:
        assert server.up.wait(30)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def completion(text: str | None = "Hello.", *, finish: str = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion as OpenAI writes it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-real"}
    return {**head, "choices": [choice], "usage": usage, "service_tier": "default"}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """A part of a streamed chat completion."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-real"}
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


USED = {**chunk({}), "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}
SPOKEN = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": word}) for word in ("It ", "is ", "so."))]


def streamed(parts: list[dict[str, Any]], *, done: bool = True) -> StreamingResponse:
    """Parts as server-sent events."""

    async def events() -> Any:
        for part in parts:
            yield f"data: {json.dumps(part)}\n\n"
        if done:
            yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def response(text: str = "Hello.", *, status: str = "completed", items: Any = None, **fields: Any) -> dict[str, Any]:
    """A response as OpenAI writes it."""
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    message = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": content}
    head = {"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "gpt-real", "error": None}
    more = {"incomplete_details": None, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}}
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    return {**head, **more, "output": [message] if items is None else items, "usage": usage, **fields}


def spoken(whole: dict[str, Any], *, ends: bool = True) -> list[dict[str, Any]]:
    """The events of a response of one message, word by word."""
    (message,) = whole["output"]
    (content,) = message["content"]
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    at = {"output_index": 0, "content_index": 0, "item_id": message["id"]}
    words = content["text"].replace(" ", " |").split("|")
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**message, "content": []}},
        {"type": "response.content_part.added", **at, "part": {**content, "text": ""}},
        *({"type": "response.output_text.delta", **at, "delta": word, "logprobs": []} for word in words),
        {"type": "response.output_text.done", **at, "text": content["text"], "logprobs": []},
        {"type": "response.content_part.done", **at, "part": content},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        *([{"type": f"response.{whole['status']}", "response": whole}] if ends else []),
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def evented(events: list[dict[str, Any]]) -> StreamingResponse:
    """Typed events, as the responses of OpenAI come in."""

    async def sent() -> Any:
        for event in events:
            yield f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n"

    return StreamingResponse(sent(), media_type="text/event-stream")


class Upstream:
    """A service with OpenAI's interface. `does` says what each of its models answers; `asked` is what came in."""

    def __init__(self) -> None:
        self.does: dict[str, Behaviour] = {}
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        paths = ("chat/completions", "responses", "embeddings")
        routes = [Route(f"/v1/{path}", self._answer, methods=["POST"]) for path in paths]
        self.app = Starlette(routes=routes)

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        self.keys.append(request.headers["authorization"])
        does = self.does.get(body["model"])
        if does is None and request.url.path.endswith("responses"):
            said = response(f"{body['model']} says {body['input']}.")
            return evented(spoken(said)) if body.get("stream") else JSONResponse(said)
        if does is None:
            if body.get("stream"):
                return streamed([*SPOKEN, chunk({}, "stop"), USED])
            last = (body.get("messages") or [{}])[-1]
            return JSONResponse(completion(f"{body['model']} says {last.get('content')}."))
        return does(body)


def hang(body: dict[str, Any]) -> Response:
    """Answers nothing until its client leaves."""

    class Hanging(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

    return Hanging()


def fails(status: int, headers: dict[str, str] | None = None, **error: Any) -> Behaviour:
    """Answers with an error."""
    return lambda body: JSONResponse({"error": {"message": "no", **error}}, status, headers)


class Gateway:
    """A gateway that runs."""

    def __init__(self, url: str, key_file: KeyFile, store: Store) -> None:
        self.url = url
        self.key_file = key_file
        self.store = store
        self._keys: dict[str, str] = {}
        self._clients: list[OpenAI] = []

    def key(self, tenant: str = "team-a") -> str:
        if tenant not in self._keys:
            self._keys[tenant] = self.key_file.add(tenant, at=0.0)
        return self._keys[tenant]

    def client(self, tenant: str = "team-a") -> OpenAI:
        client = OpenAI(base_url=f"{self.url}/v1", api_key=self.key(tenant), max_retries=0)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Closes the connections of its clients."""
        for client in self._clients:
            client.close()


@contextmanager
def gateway(
    folder: Path,
    upstream: str,
    text: str = CONTRACT,
    *,
    timeout_s: float = 20,
    interceptor: Interceptor | None = None,
    clock: Clock | None = None,
) -> Iterator[Gateway]:
    """A gateway whose journal lies in `folder`: one that is begun there again is the same, after a restart."""
    contract = parse_contract(
        text.replace("{base_url}", f"{upstream}/v1").replace("{timeout_s}", str(timeout_s)), file="plimsoll.toml"
    )
    surroundings = local(contract, directory=folder)
    own: dict[str, Any] = {"interceptor": interceptor, "clock": clock}
    own = {name: value for name, value in own.items() if value is not None}
    if own:
        surroundings = Surroundings(store=surroundings.store, owner=surroundings.owner, **own)
    app = create_gateway(contract, surroundings=surroundings, directory=folder, environ={"UP_KEY": UP_KEY})
    try:
        with served(app) as url:
            running = Gateway(url, KeyFile(folder / ".plimsoll/gateway-keys.json"), surroundings.store)
            with closing(running):
                yield running
    finally:
        asyncio.run(surroundings.store.close())
