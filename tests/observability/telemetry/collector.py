"""A collector for tests: a real HTTP server that takes OTLP, refuses it, or never answers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["Collector", "collecting"]


class Collector:
    """What came in, by path, as it came. `status` is what it answers; 0: nothing, until `released` is set."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.bodies: dict[str, list[bytes]] = {}
        self.asked = threading.Event()
        self.released = threading.Event()
        self.answered = 0
        self.endpoint = ""

    @property
    def spans(self) -> list[str]:
        """The names of the spans that came in."""
        requests = map(ExportTraceServiceRequest.FromString, self.bodies.get("/v1/traces", ()))
        scopes = [scope for each in requests for resource in each.resource_spans for scope in resource.scope_spans]
        return [span.name for scope in scopes for span in scope.spans]

    @property
    def services(self) -> set[str]:
        """The services that they come from."""
        requests = map(ExportTraceServiceRequest.FromString, self.bodies.get("/v1/traces", ()))
        attributes = [told for each in requests for told in each.resource_spans for told in told.resource.attributes]
        return {told.value.string_value for told in attributes if told.key == "service.name"}

    @property
    def metrics(self) -> set[str]:
        """The names of the metrics that came in."""
        requests = map(ExportMetricsServiceRequest.FromString, self.bodies.get("/v1/metrics", ()))
        scopes = [scope for each in requests for resource in each.resource_metrics for scope in resource.scope_metrics]
        return {metric.name for scope in scopes for metric in scope.metrics}

    @property
    def events(self) -> list[str]:
        """The names of the events that came in."""
        requests = map(ExportLogsServiceRequest.FromString, self.bodies.get("/v1/logs", ()))
        scopes = [scope for each in requests for resource in each.resource_logs for scope in resource.scope_logs]
        return [record.event_name for scope in scopes for record in scope.log_records]

    def everything(self) -> bytes:
        """All that came in."""
        return b"".join(body for bodies in self.bodies.values() for body in bodies)


@contextmanager
def collecting(status: int = 200) -> Iterator[Collector]:
    """A collector on a free port of this machine."""
    collector = Collector(status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.bodies.setdefault(self.path, []).append(body)
            collector.asked.set()
            if not collector.status:
                collector.released.wait(30)
            self.send_response(collector.status or 200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            collector.answered += 1

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
