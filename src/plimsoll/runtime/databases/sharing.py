"""What the transactions of one harness share."""

import asyncio
from collections.abc import Mapping
from typing import Any

from plimsoll.runtime.databases.database import Database

__all__ = ["Transactions"]


class Transactions:
    """The databases by the names of their connections, and the attempts that nobody waits for any more."""

    __slots__ = ("_left", "databases")

    def __init__(self, databases: Mapping[str, Database]) -> None:
        self.databases = databases
        self._left: set[asyncio.Future[Any]] = set()

    def keep(self, attempt: asyncio.Future[Any]) -> None:
        """An attempt that was given up, and has a transaction to roll back when it ends."""
        self._left.add(attempt)
        attempt.add_done_callback(self._over)

    def _over(self, attempt: asyncio.Future[Any]) -> None:
        self._left.discard(attempt)
        if not attempt.cancelled():
            attempt.exception()  # seen: nobody is left to look at it
