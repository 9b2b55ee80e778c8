"""How the shop is changed, and its own record of that: one row for each effect, never changed, never removed.

The final state of a shop hides most doubled writes: a second cancellation is refused, a second address change
changes nothing. The ledger hides none, so whether each effect happened exactly once is judged here.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = [
    "LEDGER_SCHEMA",
    "Direction",
    "Document",
    "Effect",
    "LedgerEntry",
    "Movement",
    "ShopRefusal",
    "args_digest",
    "effect",
    "entries",
    "read_document",
    "require",
    "to_cents",
]

Direction = Literal["refund", "charge"]
Document = dict[str, Any]

_EPOCH_S = 1_700_000_000.0

LEDGER_SCHEMA = """
CREATE TABLE ledger (
    seq INTEGER PRIMARY KEY,
    idempotency_key TEXT,
    tool TEXT NOT NULL,
    args TEXT NOT NULL,
    args_digest TEXT NOT NULL,
    order_id TEXT,
    user_id TEXT,
    money TEXT NOT NULL,
    result TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX ledger_by_key ON ledger (idempotency_key);
CREATE TRIGGER ledger_keeps_rows BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_keeps_values BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
-- INSERT OR REPLACE removes the old row without firing a DELETE trigger.
CREATE TRIGGER ledger_replaces_nothing BEFORE INSERT ON ledger
WHEN EXISTS (SELECT 1 FROM ledger WHERE seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """Money that an effect moves: a `refund` to the customer's payment method, a `charge` from it."""

    payment_method_id: str
    direction: Direction
    cents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One effect on the shop.

    `idempotency_key` is the caller's (None: none was given), recorded but not deduplicated by. `args` are the call's,
    `args_digest` is `args_digest(args)`. `order_id` and `user_id` say what was touched (None: no order, no customer).
    `result` is what the tool answered. `at` is in wall seconds.
    """

    seq: int
    idempotency_key: str | None
    tool: str
    args: Document
    args_digest: str
    order_id: str | None
    user_id: str | None
    money: tuple[Movement, ...]
    result: Any
    at: float


def args_digest(arguments: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of the canonical JSON of `arguments`: sorted keys, no spaces, 20.0 as 20."""
    return hashlib.sha256(_canonical(_plain(arguments)).encode()).hexdigest()


def entries(db: sqlite3.Connection, *, key: str | None = None) -> Iterator[LedgerEntry]:
    """All rows in their order, or those recorded under `key`."""
    where = "" if key is None else " WHERE idempotency_key = ?"
    rows = db.execute(
        "SELECT seq, idempotency_key, tool, args, args_digest, order_id, user_id, money, result, at FROM ledger"
        f"{where} ORDER BY seq",
        () if key is None else (key,),
    )
    for seq, row_key, tool, args, digest, order_id, user_id, money, result, at in rows:
        yield LedgerEntry(
            seq=seq,
            idempotency_key=row_key,
            tool=tool,
            args=json.loads(args),
            args_digest=digest,
            order_id=order_id,
            user_id=user_id,
            money=tuple(Movement(**movement) for movement in json.loads(money)),
            result=json.loads(result),
            at=at,
        )


class ShopRefusal(ValueError):
    """The shop's rules forbid the call. Nothing was changed: the error proves that nothing happened."""


class Effect:
    """A write under way: the documents that it changes, the money that it moves, and what it answers."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._order: Document = {}
        self._user: Document = {}
        self.order_id: str | None = None
        self.user_id: str | None = None
        self.money: list[Movement] = []
        self.result: Document = {}

    def order(self, order_id: str, *, status: str, or_status: str | None = None) -> Document:
        """The order to change, and with it its customer. Refused unless it is in a status that allows it."""
        order = read_document(self._db, "orders", order_id)
        allowed = status if or_status is None else f"{status} or {or_status}"
        found = order["status"]
        require(found in (status, or_status), f"order {order_id} is {found}, not {allowed}")
        self.user(order["user_id"])
        self._order = self.result = order
        self.order_id = order_id
        return order

    def user(self, user_id: str) -> Document:
        self._user = self.result = read_document(self._db, "users", user_id)
        self.user_id = user_id
        return self._user

    def items(self, item_ids: list[str]) -> list[Document]:
        """The items of the order with these ids: one of its items for each id."""
        require(len(item_ids) > 0, "no item is named")
        left = list(self._order["items"])
        found = []
        for item_id in item_ids:
            item = next((item for item in left if item["item_id"] == item_id), None)
            if item is None:
                raise ShopRefusal(f"order {self.order_id} has no item {item_id}, or fewer than are named")
            left = [other for other in left if other is not item]
            found.append(item)
        return found

    def swaps(self, item_ids: list[str], new_item_ids: list[str]) -> list[tuple[Document, Document]]:
        """Items of the order, each with the variant to get for it: of the same product, and in stock."""
        require(len(item_ids) == len(new_item_ids), "each item needs exactly one new item")
        pairs = []
        for item, new_item_id in zip(self.items(item_ids), new_item_ids, strict=True):
            variants = read_document(self._db, "products", item["product_id"])["variants"]
            require(new_item_id in variants, f"item {new_item_id} is not a variant of {item['name']}")
            require(variants[new_item_id]["available"], f"item {new_item_id} is out of stock")
            pairs.append((item, variants[new_item_id]))
        return pairs

    def payment_method(self, payment_method_id: str) -> Document:
        """One of the customer's payment methods; refused if it is not."""
        methods: Document = self._user["payment_methods"]
        require(payment_method_id in methods, f"{self.user_id} has no payment method {payment_method_id}")
        method: Document = methods[payment_method_id]
        return method

    def book(self, payment_method_id: str, cents: int) -> None:
        """Enter money into the ledger: positive is charged, negative refunded. It is owed from here on; the
        balance of a gift card follows when the goods arrive, which happens outside this shop."""
        method = self.payment_method(payment_method_id)
        if method["source"] == "gift_card":
            balance = method["balance"]
            require(cents <= to_cents(balance), f"{payment_method_id} holds only {balance:.2f}")
        if cents != 0:
            movement = Movement(
                payment_method_id=payment_method_id,
                direction="charge" if cents > 0 else "refund",
                cents=abs(cents),
            )
            self.money.append(movement)

    def settle(self, payment_method_id: str, cents: int) -> None:
        """Book money, and move it at once: into the order's payments and, where it is one, the gift card."""
        self.book(payment_method_id, cents)
        if cents == 0:
            return
        method = self.payment_method(payment_method_id)
        if method["source"] == "gift_card":
            method["balance"] = (to_cents(method["balance"]) - cents) / 100
        payment = {
            "transaction_type": "payment" if cents > 0 else "refund",
            "amount": abs(cents) / 100,
            "payment_method_id": payment_method_id,
        }
        self._order["payment_history"].append(payment)

    def save(self) -> None:
        for table, name, document in (
            ("orders", self.order_id, self._order),
            ("users", self.user_id, self._user),
        ):
            if name is not None:
                self._db.execute(f"UPDATE {table} SET body = ? WHERE id = ?", (json.dumps(document), name))


@contextmanager
def effect(
    db: sqlite3.Connection, tool: str, *, key: str | None, arguments: Mapping[str, Any], at: float | None
) -> Iterator[Effect]:
    """One write, which the body makes: its changes and its row are committed together, or neither is.

    `at` is in wall seconds; None counts up one second for each row, from a fixed instant.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        write = Effect(db)
        yield write
        write.save()
        _append(db, write, tool=tool, key=key, arguments=arguments, at=at)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ShopRefusal(otherwise)


def read_document(db: sqlite3.Connection, table: str, name: str) -> Document:
    row = db.execute(f"SELECT body FROM {table} WHERE id = ?", (name,)).fetchone()
    if row is None:
        raise ShopRefusal(f"no {table.removesuffix('s')} {name!r}")
    document: Document = json.loads(row[0])
    return document


def to_cents(dollars: float) -> int:
    return round(dollars * 100)


def _append(
    db: sqlite3.Connection,
    write: Effect,
    *,
    tool: str,
    key: str | None,
    arguments: Mapping[str, Any],
    at: float | None,
) -> None:
    (rows,) = db.execute("SELECT count(*) FROM ledger").fetchone()
    db.execute(
        "INSERT INTO ledger (idempotency_key, tool, args, args_digest, order_id, user_id, money, result, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key,
            tool,
            _canonical(arguments),
            args_digest(arguments),
            write.order_id,
            write.user_id,
            json.dumps([asdict(movement) for movement in write.money]),
            json.dumps(write.result),
            _EPOCH_S + rows if at is None else at,
        ),
    )


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """`value` with whole floats as integers: JSON has one kind of number, so 20 and 20.0 are one argument."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
