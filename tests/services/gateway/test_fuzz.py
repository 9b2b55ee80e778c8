"""Whatever bytes come in, the gateway answers in time, and never with a failure of its own."""

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.gateway.serving import CONTRACT, Gateway, Upstream, gateway

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        *(
            "messages",
            "input",
            "stream",
            "stream_options",
            "n",
            "max_tokens",
            "max_completion_tokens",
            "response_format",
        ),
        *("max_output_tokens", "text", "previous_response_id", "conversation", "background", "tools", "instructions"),
    ]
)
BODIES = st.builds(
    lambda more, model: {"messages": [], "input": "x", **more, "model": model},
    st.dictionaries(NAMES | st.text(max_size=8), JSON, max_size=5),
    st.sampled_from(["primary", "embed", "polite", "canned", "nobody"]),
)
HEADERS = st.dictionaries(
    st.sampled_from(["x-plimsoll-run", "idempotency-key", "content-type", "accept", "content-encoding"]),
    st.binary(max_size=40).filter(lambda value: value == value.strip() and not set(value) & {*range(32), 127}),
    max_size=3,
)
FAST = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, upstream_url: str) -> Any:
    text = CONTRACT.replace(
        "[gateway.upstreams.up]", "[gateway]\nrequests_per_minute = 1000000\n[gateway.upstreams.up]"
    )
    folder: Path = tmp_path_factory.mktemp("fuzz")
    with (
        gateway(folder, upstream_url, text, timeout_s=2) as found,
        httpx2.Client(base_url=found.url, timeout=20) as client,
    ):
        client.headers["authorization"] = f"Bearer {found.key()}"
        yield found, client


def _check(answer: httpx2.Response) -> None:
    """An answer, or an error of a client or of the upstream, in OpenAI's shape."""
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert isinstance(error["message"], str)
        # the upstream's own failures, which a canned answer that was no data may stand for, are no failures of ours
        assert answer.status_code < 500 or error["code"] == "upstream_failed", answer.text


@pytest.mark.parametrize("path", ["chat/completions", "responses", "embeddings"])
@FAST
@given(body=st.data())
def test_any_json_and_headers(running: tuple[Gateway, httpx2.Client], upstream: Upstream, path: str, body: Any) -> None:
    _, client = running
    content = json.dumps(body.draw(BODIES)).encode()
    headers = [(name.encode(), value) for name, value in body.draw(HEADERS).items()]
    _check(client.post(f"/v1/{path}", content=content, headers=headers))


@FAST
@given(content=st.binary(max_size=200))
def test_any_bytes_as_a_body(running: tuple[Gateway, httpx2.Client], upstream: Upstream, content: bytes) -> None:
    _check(running[1].post("/v1/chat/completions", content=content))


@FAST
@given(raw=st.binary(max_size=300), begins=st.sampled_from([b"", b"POST /v1/chat/completions HTTP/1.1\r\n"]))
def test_any_bytes_on_the_wire(running: tuple[Gateway, httpx2.Client], raw: bytes, begins: bytes) -> None:
    address = urlsplit(running[0].url)
    assert address.hostname and address.port
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(begins + raw + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answered = b""
        while part := connection.recv(65536):
            answered += part
    assert not answered.startswith(b"HTTP/1.1 5")


def test_too_many_headers_are_refused(running: tuple[Gateway, httpx2.Client]) -> None:
    answer = running[1].get("/v1/models", headers={f"x-{number}": "1" for number in range(101)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (431, "too_many_headers")


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path, upstream: Upstream, upstream_url: str) -> None:
    text = CONTRACT.replace("[gateway.upstreams.up]", "[gateway]\nread_timeout_s = 0.1\n[gateway.upstreams.up]")
    with gateway(tmp_path, upstream_url, text) as slow:
        address = urlsplit(slow.url)
        assert address.hostname and address.port
        with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {slow.key()}\r\n"
            connection.sendall(f"{head}Content-Length: 10\r\n\r\n{{".encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 408")
