"""Telemetry by OpenTelemetry: spans, metrics and events under the names of docs/telemetry.md. Extra: `telemetry`."""

from plimsoll.core.errors import MissingExtra

try:
    import opentelemetry.sdk.trace  # noqa: F401 -- the SDK, which the API alone does not bring
except ImportError as error:
    raise MissingExtra("opentelemetry-sdk", extra="telemetry") from error

from plimsoll.observability.telemetry.environment import from_environment, serve_metrics
from plimsoll.observability.telemetry.listening import OpenTelemetry

__all__ = ["OpenTelemetry", "from_environment", "serve_metrics"]
