"""What the transactions of one harness share."""

import asyncio
from collections.abc import Mapping
from typing import Any

from plimsoll.runtime.databases.database import Database

__all__ = ["Transactions"]


class Transactions:
    """The databases by the names of their connections, and the queues before those that take one writer at a time."""

    __slots__ = ("_left", "_turns", "databases")

    def __init__(self, databases: Mapping[str, Database]) -> None:
        self.databases = databases
        self._turns = {name: asyncio.Lock() for name, database in databases.items() if database.serial}
        self._left: set[asyncio.Future[Any]] = set()

    def turn(self, name: str) -> asyncio.Lock | None:
        """What to hold during a transaction, where only one may write."""
        return self._turns.get(name)

    def keep(self, work: asyncio.Future[Any]) -> None:
        """Work that nobody waits for any more, and that has a transaction to roll back when it ends."""
        self._left.add(work)
        work.add_done_callback(self._over)

    def _over(self, work: asyncio.Future[Any]) -> None:
        self._left.discard(work)
        if not work.cancelled():
            work.exception()  # seen: nobody is left to look at it
