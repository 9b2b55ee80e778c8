"""A service as a process: uvicorn around an application, bounded, and with an end that lets requests end."""

import uvicorn
from starlette.types import ASGIApp

from plimsoll.core.errors import OperationFailed

__all__ = ["answer"]

MAX_CONNECTIONS = 2048
MAX_HEAD_BYTES = 65_536
GRACE_S = 30


async def answer(app: ASGIApp, *, host: str, port: int) -> None:
    """Answers at `host` and `port` until it is told to end.

    Requests under way have 30 s to end. The log has no line for a request but the service's own. Raises
    `OperationFailed` where nobody can listen there.
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
    except SystemExit:  # what was wrong stands in the log
        what = f"nobody can listen at {host}:{port}: it is taken, or not this machine's; name another"
        raise OperationFailed(what) from None
