"""The gateway as a process: uvicorn around the application, and the journal closed at the end."""

import uvicorn
from starlette.types import ASGIApp

from plimsoll.journal.store import Store

__all__ = ["serve"]

MAX_CONNECTIONS = 2048
MAX_HEAD_BYTES = 65_536
GRACE_S = 30


async def serve(app: ASGIApp, *, store: Store, host: str, port: int) -> None:
    """Answers at `host` and `port` until it is told to end, and then closes the journal.

    Requests under way have 30 s to end. The log has no line for a request but the gateway's own.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http="h11",
        lifespan="on",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_graceful_shutdown=GRACE_S,
    )
    try:
        await uvicorn.Server(config).serve()
    finally:
        await store.close()
