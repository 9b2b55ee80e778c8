"""The gateway: OpenAI's HTTP interface in front of a contract's ladders, for agents in any language.

app        the application: routes, and what a request may cost before anybody is asked
reading    a request, as far as it is taken from its client
tenants    keys, and what each tenant may send
runs       a request as a call of a run
exchange   one call, sent to whichever rung of the ladder is tried
upstreams  the services that answer
endpoint   what differs from endpoint to endpoint: chat, responses (and response_events), embeddings
streams    an answer as events, shown as it comes
failures   its errors, in OpenAI's own shape
remote     an agent of any language on trial, over stand_ins for the upstreams
"""

from plimsoll.core.errors import MissingExtra

try:
    import httpx2 as _httpx2  # noqa: F401
    import starlette as _starlette  # noqa: F401
    import uvicorn as _uvicorn  # noqa: F401
except ImportError as error:
    raise MissingExtra(error.name or "starlette", extra="gateway") from error

from plimsoll.services.gateway.app import create_gateway
from plimsoll.services.gateway.serving import serve

__all__ = ["create_gateway", "serve"]
