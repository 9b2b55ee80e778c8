"""A real HTTP server that takes webhooks, and answers as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Receiver:
    """What arrived, as (headers, body); `answers` are the statuses and headers to come, then 200 for ever."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    """Set: it answers. While it is not, it takes requests and says nothing."""


@contextmanager
def receiver(*answers: int | tuple[int, dict[str, str]], silent: bool = False) -> Iterator[Receiver]:
    told = Receiver(answers=[answer if isinstance(answer, tuple) else (answer, {}) for answer in answers])
    if not silent:
        told.let_go.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            told.arrived.set()
            told.let_go.wait(30.0)
            status, headers = told.answers.pop(0) if told.answers else (200, {})
            self.send_response(status)
            for name, value in {**headers, "content-length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}/hook/s3cret"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        told.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()
