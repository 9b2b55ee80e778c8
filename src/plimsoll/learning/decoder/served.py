"""A causal language model behind an OpenAI-compatible server of one's own, such as vLLM or llama.cpp, by its URL.

https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html,
https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from plimsoll.core.calls import Fault
from plimsoll.core.errors import MissingExtra, Misuse, OperationFailed, OutputRejected
from plimsoll.learning.decoder.addresses import literal, own_addresses, split_url
from plimsoll.learning.decoder.conversation import read_messages
from plimsoll.learning.decoder.forms import as_plain_chat, as_tools
from plimsoll.learning.decoder.tools import Tool, read_call, read_tools
from plimsoll.learning.local import LocalCall, LocalReply

try:
    import httpx2
except ImportError as error:
    raise MissingExtra("httpx2", extra="served") from error

__all__ = ["Constraints", "Served", "ServerFailed"]

Constraints = Literal["tools", "json_schema"]
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""An answer that is longer is none: somebody has to hold it in memory."""
_OK = 200
_FINISHED: Mapping[str, Fault] = {"length": Fault.TRUNCATED, "content_filter": Fault.FILTERED}
_TOLD = """Answer with a JSON object and nothing else. To answer in words: {{"text": "…"}}
To call a tool: {{"name": "TOOL", "arguments": {{…}}}}. The tools:
{tools}"""


class ServerFailed(OperationFailed):
    """A server of one's own answered with an error. What it wrote is not kept: it may quote what it was asked."""

    def __init__(self, server: str, *, status_code: int, headers: Mapping[str, str]) -> None:
        self.status_code = status_code
        self.headers = headers
        hint = "; does it have this model, at this address?" if status_code == 404 else ""
        super().__init__(f"{server} answered with the status {status_code}{hint}")


class Served:
    """A model behind a server, as a `LocalModel`. Make it by `at`.

    The server is asked to write calls as their tools' JSON Schemas allow. It may not do so, so every call is held
    against them here, and a call that is none is an answer that is none. How long an answer may take is for who waits
    to say: a request that is cancelled is closed, on which these servers stop writing.
    """

    def __init__(
        self, url: str, *, model: str | None, api_key: str | None, max_tokens: int, constraints: Constraints,
        allow_remote: bool,
    ) -> None:  # fmt: skip
        parts = split_url(url)
        if model is not None and parts.fragment and model != parts.fragment:
            raise Misuse(f"the URL names the model {parts.fragment}, and `model` is {model}: name one")
        if max_tokens < 1:
            raise Misuse(f"max_tokens is {max_tokens}; it must be at least 1")
        self._host = parts.hostname or ""
        literal(self._host, allow_remote=allow_remote)
        self._url = httpx2.URL(parts._replace(fragment="", path=parts.path.rstrip("/")).geturl())
        self._port = self._url.port or {"http": 80, "https": 443}[self._url.scheme]
        self._model = model or parts.fragment or None
        self._key = api_key
        self._max_tokens = max_tokens
        self._constraints = constraints
        self._allow_remote = allow_remote
        # One for all requests: to make it reads every certificate of the machine.
        self._tls = httpx2.create_ssl_context() if self._url.scheme == "https" else False

    @classmethod
    def at(
        cls,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        max_tokens: int = 512,
        constraints: Constraints = "tools",
        allow_remote: bool = False,
    ) -> "Served":
        """The model at `url`, such as `http://127.0.0.1:8000/v1` or `http://127.0.0.1:8000/v1#Qwen/Qwen3-4B`.

        model: its name there, which the URL may name behind `#`; None: the only one that the server has. max_tokens:
        the longest answer; one that is longer is none. constraints: how the server is told of the schemas, by `tools`
        and `tool_choice`, or by a `json_schema` as `response_format`, for a server that parses no calls. allow_remote:
        a public address is refused, unless what agents are told may go there.

        Nothing is sent yet. Raises `Misuse`.
        """
        return cls(
            url, model=model, api_key=api_key, max_tokens=max_tokens, constraints=constraints, allow_remote=allow_remote
        )

    @property
    def digest(self) -> str:
        """SHA-256 of URL and model name: which weights stand behind them, only the server knows."""
        return hashlib.sha256(f"{self._url}\n{self._model or ''}".encode()).hexdigest()

    def check(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """Whether these tools can be held to their schemas. Raises `ToolSchemaError`."""
        read_tools(tools)

    async def reply(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> LocalReply:
        """A text, calls, or both.

        Raises `ServerFailed` for a status other than 200, httpx2's errors where there is no connection,
        `OutputRejected` for an answer that is none, and `NotSure`, `Misuse` and `ToolSchemaError` as a `Decoder` does.
        """
        turns, known = read_messages(messages), read_tools(tools)
        asked: dict[str, Any] = {"messages": list(messages)}
        if known and self._constraints == "tools":
            asked |= {"tools": as_tools(known.values()), "tool_choice": "auto"}
        elif known:
            told = "\n".join(msgspec.json.encode(tool["function"]).decode() for tool in as_tools(known.values()))
            asked["messages"] = as_plain_chat(turns, known, told=_TOLD.format(tools=told))
            schema = {"name": "reply", "strict": True, "schema": _reply_schema(known)}
            asked["response_format"] = {"type": "json_schema", "json_schema": schema}
        addresses = await own_addresses(self._host, self._port, allow_remote=self._allow_remote)
        # A client for each request: a pool would belong to the event loop of the first.
        async with httpx2.AsyncClient(verify=self._tls, trust_env=False, timeout=None) as client:
            asked |= {"model": await self._name(client, addresses), "max_tokens": self._max_tokens, "temperature": 0}
            answer = await self._ask(client, addresses, "POST", "/chat/completions", asked)
        return self._reply(answer, known)

    async def _name(self, client: httpx2.AsyncClient, addresses: list[str]) -> str:
        """The model's name: as given, or that of the only one there."""
        if self._model is not None:
            return self._model
        listed = (await self._ask(client, addresses, "GET", "/models", None)).get("data")
        names = [each.get("id") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        if len(names) != 1 or not isinstance(names[0], str):
            raise Misuse(f"{self._url} has {len(names)} models: say which, by `model` or behind `#` in the URL")
        return names[0]

    async def _ask(
        self, client: httpx2.AsyncClient, addresses: list[str], method: str, path: str, body: dict[str, Any] | None
    ) -> dict[str, Any]:
        """What the first address that takes a connection answers."""
        content = None if body is None else msgspec.json.encode(body)
        *others, last = addresses
        for address in others:
            try:
                return await self._send(client, address, method, path, content)
            except httpx2.ConnectError:  # nothing was sent
                continue
        return await self._send(client, last, method, path, content)

    async def _send(
        self, client: httpx2.AsyncClient, address: str, method: str, path: str, content: bytes | None
    ) -> dict[str, Any]:
        headers = {"host": self._url.netloc.decode(), "user-agent": "plimsoll", "accept-encoding": "identity"}
        if content is not None:
            headers["content-type"] = "application/json"
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        url = self._url.copy_with(host=address, path=self._url.path.rstrip("/") + path)
        extensions = {"sni_hostname": self._host}  # the certificate is the name's, not the address's
        async with client.stream(method, url, content=content, headers=headers, extensions=extensions) as response:
            if response.status_code != _OK:
                raise ServerFailed(str(self._url), status_code=response.status_code, headers=response.headers)
            raw = bytearray()
            async for part in response.aiter_bytes():
                raw += part
                if len(raw) > MAX_ANSWER_BYTES:
                    raise self._none(Fault.MALFORMED, f"it is longer than {MAX_ANSWER_BYTES:,} bytes")
        try:
            return msgspec.json.decode(raw, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise self._none(Fault.MALFORMED, "it is no JSON object") from None

    def _reply(self, answer: Mapping[str, Any], tools: Mapping[str, Tool]) -> LocalReply:
        if answer.get("error"):
            raise self._none(Fault.ERROR_IN_SUCCESS, "it is an error report")
        choices = answer.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(message, dict):
            raise self._none(Fault.WRONG_SHAPE, "there is no message in it")
        if (fault := _FINISHED.get(str(choice.get("finish_reason")))) is not None:
            raise self._none(fault, f"it ended by {choice['finish_reason']}")
        text, calls = message.get("content") or "", message.get("tool_calls") or []
        if not isinstance(text, str) or not isinstance(calls, list):
            raise self._none(Fault.WRONG_SHAPE, "its message is none")
        if tools and self._constraints == "json_schema":
            return self._unpacked(text, tools)
        if not calls and not text.strip():
            raise self._none(Fault.EMPTY, "there is neither a text nor a call in it")
        return LocalReply(text=text.strip(), calls=tuple(self._call(call, tools) for call in calls))

    def _call(self, call: Any, tools: Mapping[str, Tool]) -> LocalCall:
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(arguments, str):
            raise self._none(Fault.WRONG_SHAPE, "it has a call without arguments")
        return read_call(str(self._url), tools, tool=function.get("name"), arguments=arguments)

    def _unpacked(self, text: str, tools: Mapping[str, Tool]) -> LocalReply:
        """A text or a call, from what was written as JSON."""
        try:
            written = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise self._none(Fault.MALFORMED, "it is no JSON object, as was asked for") from None
        if written.keys() == {"text"} and isinstance(written["text"], str) and written["text"].strip():
            return LocalReply(text=written["text"].strip())
        arguments = msgspec.json.encode(written.get("arguments"))
        return LocalReply(calls=(read_call(str(self._url), tools, tool=written.get("name"), arguments=arguments),))

    def _none(self, fault: Fault, detail: str) -> OutputRejected:
        return OutputRejected(str(self._url), fault=fault, detail=detail)


def _reply_schema(tools: Mapping[str, Tool]) -> dict[str, Any]:
    """The JSON Schema of a text or a call. Each tool's own schema stands among the definitions, so that it is whole."""
    text = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/tool_{number}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for number, name in enumerate(tools)
    ]
    definitions = {
        f"tool_{number}": _moved(tool.closed, f"#/$defs/tool_{number}") for number, tool in enumerate(tools.values())
    }
    return {"anyOf": [{**text, "additionalProperties": False}, *calls], "$defs": definitions}


def _moved(schema: Any, place: str) -> Any:
    """A schema that stands at `place`: its references to itself lead there."""
    if isinstance(schema, list):
        return [_moved(each, place) for each in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, place) for key, value in schema.items()}
    if isinstance(reference := schema.get("$ref"), str) and reference.startswith("#"):
        moved["$ref"] = place + reference[1:]
    return moved
