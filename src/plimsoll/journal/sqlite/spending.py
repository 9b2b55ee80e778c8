"""What the limits of a day have been drawn on, in SQLite. Each function works inside its caller's transaction."""

import sqlite3

from plimsoll.journal.spending import DAYS_KEPT, Drawn, Most, Spend, share

__all__ = ["draw", "drawn", "put_back"]

_SUM = "SELECT coalesce(sum(nanos), 0), coalesce(sum(tokens), 0), coalesce(sum(runs), 0) FROM spending"
_ADD = (
    "INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET nanos = nanos + excluded.nanos,"
    " tokens = tokens + excluded.tokens, runs = runs + excluded.runs"
)


def draw(  # noqa: PLR0917 -- the whole key, and what is asked
    connection: sqlite3.Connection, account: str, day: int, owner: str, need: Spend, most: Most, may_pass: bool
) -> Drawn:
    """See `Store.draw`."""
    before = drawn(connection, account, day)
    if before == Spend():
        connection.execute("DELETE FROM spending WHERE account = ? AND day < ?", (account, day - DAYS_KEPT))
    dealt = share(need, before=before, most=most, may_pass=may_pass)
    if dealt is not None:
        connection.execute(_ADD, (account, day, owner, *dealt))
    return Drawn(dealt, before)


def put_back(connection: sqlite3.Connection, account: str, day: int, owner: str, unused: Spend) -> None:
    """See `Store.put_back`."""
    connection.execute(_ADD, (account, day, owner, *Spend().minus(unused)))


def drawn(connection: sqlite3.Connection, account: str, day: int) -> Spend:
    """See `Store.drawn`."""
    return Spend(*connection.execute(f"{_SUM} WHERE account = ? AND day = ?", (account, day)).fetchone())
