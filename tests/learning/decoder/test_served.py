"""A model behind a server: a real one on this machine, which does what a test says, good or bad."""

import asyncio
import json
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from plimsoll.core.calls import Fault
from plimsoll.core.errors import Misuse, OutputRejected
from plimsoll.learning.decoder.addresses import own_addresses
from plimsoll.learning.decoder.served import MAX_ANSWER_BYTES, Served, ServerFailed
from plimsoll.learning.errors import NotSure, ToolSchemaError
from plimsoll.learning.local import LocalCall, LocalReply
from plimsoll.policies.classify import classify
from tests.learning.decoder.tiny import TRACK, tool, user
from tests.services.gateway.serving import completion, hang, served

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(120)]

Behaviour = Callable[[dict[str, Any]], Response]


class Server:
    """A server such as vLLM. `does` is what it answers, `asked` what came in, `models` what it says it has."""

    def __init__(self) -> None:
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._answer, methods=["POST"]),
                Route("/v1/models", self._list),
            ]
        )
        self.begin(lambda _: JSONResponse(completion("It is on its way.")))

    def begin(self, does: Behaviour, models: tuple[str, ...] = ("tiny",)) -> None:
        self.does, self.models = does, models
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.listed = 0

    async def _list(self, request: Request) -> Response:
        self.listed += 1
        return JSONResponse({"data": [{"id": name} for name in self.models]})

    async def _answer(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.headers.append(dict(request.headers))
        return self.does(self.asked[-1])


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Server, str]]:
    server = Server()
    with served(server.app) as url:
        yield server, f"{url}/v1"


@pytest.fixture
def server(running: tuple[Server, str]) -> Server:
    running[0].begin(lambda _: JSONResponse(completion("It is on its way.")))
    return running[0]


@pytest.fixture
def url(running: tuple[Server, str]) -> str:
    return running[1]


def answers(server: Server, text: str | None = None, **message: Any) -> None:
    server.begin(lambda _: JSONResponse(completion(text, **message)))


def calls(*named: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [
        {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(named)
    ]


def reply(model: Served, *tools: dict[str, Any]) -> LocalReply:
    return asyncio.run(model.reply(user("where is W123?"), tools))


def test_a_text(server: Server, url: str) -> None:
    assert reply(Served.at(url)) == LocalReply(text="It is on its way.")
    (asked,) = server.asked
    assert asked == {"messages": user("where is W123?"), "model": "tiny", "max_tokens": 512, "temperature": 0}


def test_a_call_that_its_schema_allows(server: Server, url: str) -> None:
    answers(server, tool_calls=calls(("track_order", '{"order_id": "W123"}'), ("track_order", '{"order_id": "W124"}')))
    said = reply(Served.at(f"{url}/#qwen", max_tokens=9, api_key="sk-own"), tool())
    assert [call.arguments for call in said.calls] == [{"order_id": "W123"}, {"order_id": "W124"}]
    (asked,), (headers,) = server.asked, server.headers
    assert asked["model"] == "qwen" and asked["max_tokens"] == 9
    assert asked["tools"] == [tool()] and asked["tool_choice"] == "auto"
    assert headers["authorization"] == "Bearer sk-own" and headers["host"] == url.split("/")[2]


@pytest.mark.parametrize(
    ("called", "fault", "said"),
    [
        (("track_order", '{"order_id": "X1"}'), Fault.WRONG_SHAPE, "`properties/order_id/pattern` does not hold"),
        (("track_order", "{}"), Fault.WRONG_SHAPE, "`required` does not hold"),
        (("track_order", ""), Fault.WRONG_SHAPE, "`required` does not hold"),
        (("track_order", '{"order_id": "W1'), Fault.MALFORMED, "no JSON object"),
        (("track_order", '["W123"]'), Fault.MALFORMED, "no JSON object"),
        (("track_order", '{"order_id": "\\ud800"}'), Fault.MALFORMED, "no JSON object"),
        (("track_order", "[" * 100_000), Fault.MALFORMED, "no JSON object"),
        (("track_order", {"order_id": "W123"}), Fault.WRONG_SHAPE, "a call without arguments"),
        (("issue_refund", '{"order_id": "W123"}'), Fault.WRONG_SHAPE, "a tool that it was not given"),
        ((None, "{}"), Fault.WRONG_SHAPE, "a tool that it was not given"),
        ((["track_order"], "{}"), Fault.WRONG_SHAPE, "a tool that it was not given"),
    ],
)
def test_a_call_that_is_none_is_never_passed_on(
    server: Server, url: str, called: tuple[Any, Any], fault: Fault, said: str
) -> None:
    answers(server, tool_calls=calls(("track_order", '{"order_id": "W123"}'), called))
    with pytest.raises(OutputRejected, match=said) as error:
        reply(Served.at(url), tool())
    assert classify(error.value).fault is fault
    assert "W1" not in str(error.value) and "X1" not in str(error.value)


def test_a_call_without_any_tool(server: Server, url: str) -> None:
    answers(server, tool_calls=calls(("track_order", '{"order_id": "W123"}')))
    with pytest.raises(OutputRejected, match="was not given"):
        reply(Served.at(url))


def body(whole: Any) -> Behaviour:
    return lambda _: Response(whole if isinstance(whole, bytes) else json.dumps(whole))


def far_too_long(_: dict[str, Any]) -> Response:
    async def parts() -> Any:
        for _ in range(4):
            yield b" " * (MAX_ANSWER_BYTES // 2)

    return StreamingResponse(parts())


@pytest.mark.parametrize(
    ("does", "fault"),
    [
        (body(b"<html>hello</html>"), Fault.MALFORMED),
        (body(b""), Fault.MALFORMED),
        (body(b"\xff\xfe"), Fault.MALFORMED),
        (body(b"data: {}\n\n"), Fault.MALFORMED),
        (body(b"[" * 1_000_000), Fault.MALFORMED),
        (far_too_long, Fault.MALFORMED),
        (body([]), Fault.MALFORMED),
        (body({}), Fault.WRONG_SHAPE),
        (body({"choices": []}), Fault.WRONG_SHAPE),
        (body({"choices": [{"message": "hi"}]}), Fault.WRONG_SHAPE),
        (body({"choices": [{"message": {"content": ["hi"]}}]}), Fault.WRONG_SHAPE),
        (body({"choices": [{"message": {"tool_calls": {"name": "x"}}}]}), Fault.WRONG_SHAPE),
        (body({"choices": [{"message": {"tool_calls": ["x"]}}]}), Fault.WRONG_SHAPE),
        (body({"choices": [{"message": {"content": "hi"}, "finish_reason": "length"}]}), Fault.TRUNCATED),
        (body({"choices": [{"message": {"content": "hi"}, "finish_reason": "content_filter"}]}), Fault.FILTERED),
        (body(completion("  ")), Fault.EMPTY),
        (body(completion(None)), Fault.EMPTY),
        (body({"error": {"message": "out of memory"}}), Fault.ERROR_IN_SUCCESS),
    ],
)
def test_an_answer_that_is_none(server: Server, url: str, does: Behaviour, fault: Fault) -> None:
    server.begin(does)
    with pytest.raises(OutputRejected) as error:
        reply(Served.at(url), tool())
    assert classify(error.value).fault is fault


def test_an_answer_that_is_too_long_says_so(server: Server, url: str) -> None:
    server.begin(far_too_long)
    with pytest.raises(OutputRejected, match=f"longer than {MAX_ANSWER_BYTES:,} bytes"):
        reply(Served.at(url))


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (500, Fault.SERVER_ERROR),
        (503, Fault.SERVER_ERROR),
        (429, Fault.RATE_LIMITED),
        (400, Fault.CLIENT_ERROR),
        (404, Fault.CLIENT_ERROR),
        (302, Fault.EXCEPTION),
    ],
)
def test_a_status_that_is_none(server: Server, url: str, status: int, fault: Fault) -> None:
    headers = {"retry-after": "7", "location": "http://192.0.2.1/v1"}
    server.begin(lambda _: JSONResponse({"error": {"message": "where is W123?"}}, status, headers=headers))
    with pytest.raises(ServerFailed, match=f"status {status}") as error:
        reply(Served.at(url))
    record = classify(error.value)
    assert record.fault is fault and record.retry_after_s == 7.0
    assert "W123" not in record.message


def test_a_server_that_is_not_there(unused_tcp_url: str) -> None:
    with pytest.raises(httpx2.ConnectError) as error:
        reply(Served.at(f"{unused_tcp_url}#tiny"))
    assert classify(error.value).fault is Fault.CONNECTION


@pytest.fixture
def unused_tcp_url() -> str:
    with served(Starlette()) as url:
        pass
    return f"{url}/v1"


def test_who_gives_up_is_rid_of_a_server_that_hangs(server: Server, url: str) -> None:
    async def leave() -> None:
        asked = asyncio.create_task(Served.at(url).reply(user("hi"), []))
        async with asyncio.timeout(30):
            while not server.asked:
                await asyncio.to_thread(lambda: None)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    server.begin(hang)
    asyncio.run(leave())  # the server ends with this test only if the request is closed


def test_the_only_model_is_asked_and_of_several_one_has_to_be_named(server: Server, url: str) -> None:
    for models in ((), ("a", "b")):
        server.begin(lambda _: JSONResponse(completion()), models)
        with pytest.raises(Misuse, match=f"has {len(models)} models"):
            reply(Served.at(url))
        assert reply(Served.at(url, model="b")).text == "Hello."
        assert server.asked[-1]["model"] == "b"


def test_a_name_is_asked_at_whichever_of_its_addresses_answers(server: Server, url: str) -> None:
    assert reply(Served.at(url.replace("127.0.0.1", "localhost"))).text  # ::1 comes first on many machines
    assert server.headers[0]["host"].startswith("localhost:")


@pytest.mark.parametrize(
    "public",
    ["http://8.8.8.8/v1", "https://[2001:4860:4860::8888]/v1", "http://[::ffff:8.8.8.8]:80/v1", "http://100.64.0.1"],
)
def test_a_public_address_is_refused(public: str) -> None:
    with pytest.raises(Misuse, match="public address, and what agents are told may not leave"):
        Served.at(public)
    Served.at(public, allow_remote=True)


@pytest.mark.parametrize("own", ["http://127.0.0.1:8000/v1", "http://10.1.2.3", "http://[::1]/v1", "https://[fd00::1]"])
def test_an_address_of_ones_own_is_taken(own: str) -> None:
    Served.at(own)


def test_a_name_with_a_public_address_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(host: str, **allowed: bool) -> list[str]:
        loop = asyncio.get_running_loop()

        async def found(*_: Any, **__: Any) -> list[Any]:
            return [(0, 0, 0, "", ("10.0.0.1", 80)), (0, 0, 0, "", ("93.184.215.14", 80))]

        monkeypatch.setattr(loop, "getaddrinfo", found)
        return await own_addresses(host, 80, **allowed)

    with pytest.raises(Misuse, match=r"example\.com \(93\.184\.215\.14\) is a public address"):
        asyncio.run(both("example.com", allow_remote=False))
    assert asyncio.run(both("example.com", allow_remote=True)) == ["10.0.0.1", "93.184.215.14"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("127.0.0.1:8000/v1", "no URL"),
        ("ftp://127.0.0.1/v1", "no URL of a server"),
        ("http:///v1", "no URL of a server"),
        ("http://127.0.0.1:99999/v1", "no URL"),
        ("http://127.0.0.1/v1?key=1", "no URL of a server"),
        ("http://me:secret@127.0.0.1/v1", "give the key as `api_key`"),
    ],
)
def test_what_is_no_url(bad: str, said: str) -> None:
    with pytest.raises(Misuse, match=said) as error:
        Served.at(bad)
    assert "secret" not in str(error.value)


def test_options_that_fit_nothing(url: str) -> None:
    with pytest.raises(Misuse, match="name one"):
        Served.at(f"{url}#a", model="b")
    with pytest.raises(Misuse, match="max_tokens is 0"):
        Served.at(url, max_tokens=0)


def test_the_digest_is_of_url_and_model(url: str) -> None:
    assert Served.at(f"{url}#a").digest == Served.at(f"{url}/", model="a").digest
    assert len({Served.at(url).digest, Served.at(f"{url}#a").digest, Served.at("http://127.0.0.1/v1#a").digest}) == 3


def test_certificates_are_of_the_name() -> None:
    assert isinstance(Served.at("https://localhost/v1")._tls, ssl.SSLContext)


# By one JSON Schema for the whole answer, for servers that parse no calls


def test_a_schema_of_the_whole_answer(server: Server, url: str) -> None:
    answers(server, '{"name": "track_order", "arguments": {"order_id": "W123"}}')
    linked = {"properties": {"a": {"$ref": "#/$defs/one"}}, "$defs": {"one": {"type": "integer"}}}
    said = reply(Served.at(url, constraints="json_schema"), tool(), tool("add", linked))
    assert said.calls == (LocalCall("track_order", {"order_id": "W123"}),)
    (asked,) = server.asked
    schema = asked["response_format"]["json_schema"]["schema"]
    assert schema["$defs"]["tool_0"] == {**TRACK, "additionalProperties": False}
    assert schema["$defs"]["tool_1"]["properties"] == {"a": {"$ref": "#/$defs/tool_1/$defs/one"}}
    assert "tools" not in asked and '"name":"track_order"' in asked["messages"][0]["content"]
    answers(server, '{"text": " It is sent. "}')
    assert reply(Served.at(url, constraints="json_schema"), tool()).text == "It is sent."


@pytest.mark.parametrize("text", ["It is sent.", '{"text": " "}', '{"text": 5}', '{"name": "track_order"}', "[]", ""])
def test_a_whole_answer_that_is_none(server: Server, url: str, text: str) -> None:
    answers(server, text)
    with pytest.raises(OutputRejected):
        reply(Served.at(url, constraints="json_schema"), tool())


def test_nothing_is_sent_of_what_is_none(server: Server, url: str) -> None:
    model = Served.at(url)
    with pytest.raises(ToolSchemaError, match="tool bad"):
        reply(model, tool("bad", {"type": "array"}))
    with pytest.raises(ToolSchemaError, match="tool bad"):
        model.check([tool("bad", {"properties": 5})])
    with pytest.raises(NotSure, match="image_url"):
        asyncio.run(model.reply([{"role": "user", "content": [{"type": "image_url"}]}], []))
    assert not server.asked


def test_a_reference_is_never_fetched(server: Server, url: str) -> None:
    answers(server, tool_calls=calls(("look", '{"a": 1}')))
    with pytest.raises(ToolSchemaError, match=r"`\$ref` http.* leads nowhere"):
        reply(Served.at(f"{url}#tiny"), tool("look", {"properties": {"a": {"$ref": f"{url}/models"}}}))
    assert server.listed == 0


def test_a_proxy_of_the_environment_sees_nothing(server: Server, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert reply(Served.at(url)).text
