"""A service as a process: where it cannot listen, that is an error like any other."""

import asyncio
import socket

import pytest
from starlette.applications import Starlette

from plimsoll.core.errors import OperationFailed
from plimsoll.services.serving import answer


def test_an_address_that_is_taken_is_an_error_and_no_exit_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OperationFailed, match=f"nobody can listen at 127.0.0.1:{port}: it is taken"):
            asyncio.run(answer(Starlette(), host="127.0.0.1", port=port))
