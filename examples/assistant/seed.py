"""What fills a shop: sets of JSON documents, made into the image of a database that opens in microseconds."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from examples.assistant.ledger import LEDGER_SCHEMA

__all__ = ["APPLICATION_ID", "build_image", "seed_documents", "seed_image"]

# Stored in the database file, so that some other SQLite file is never taken for a shop.
APPLICATION_ID = 0x53484F50

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    email TEXT AS (lower(json_extract(body, '$.email'))),
    first_name TEXT AS (lower(json_extract(body, '$.name.first_name'))),
    last_name TEXT AS (lower(json_extract(body, '$.name.last_name'))),
    zip TEXT AS (json_extract(body, '$.address.zip'))
);
CREATE INDEX users_by_email ON users (email);
CREATE INDEX users_by_name ON users (last_name, first_name, zip);
CREATE TABLE products (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE orders (id TEXT PRIMARY KEY, body TEXT NOT NULL);
{LEDGER_SCHEMA}
"""

_FIELDS = {
    "users": ("name", "email", "address", "payment_methods", "orders"),
    "products": ("name", "product_id", "variants"),
    "orders": ("order_id", "user_id", "status", "address", "items", "payment_history"),
}

Documents = Mapping[str, Mapping[str, Any]]


def build_image(*, users: Documents, products: Documents, orders: Documents) -> bytes:
    """The database of a shop with these documents, each set keyed by id, and an empty ledger.

    Raises ValueError, naming the document, where one lacks a field or refers to what is not there.
    """
    tables = {"users": users, "products": products, "orders": orders}
    for table, documents in tables.items():
        for name, document in documents.items():
            _check(table, name, document, users=users)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(_SCHEMA)
        db.execute("BEGIN")
        for table, documents in tables.items():
            rows = ((name, json.dumps(document)) for name, document in documents.items())
            db.executemany(f"INSERT INTO {table} (id, body) VALUES (?, ?)", rows)
        db.execute("COMMIT")
        return db.serialize()


@functools.cache
def seed_image() -> bytes:
    """The image of the example's own small shop: 8 customers, 6 products, 15 orders in every status."""
    return build_image(**seed_documents())


@functools.cache
def seed_documents() -> Mapping[str, Documents]:
    """What is in it: `users`, `products` and `orders`, each by id."""
    documents: Mapping[str, Documents] = json.loads((Path(__file__).parent / "data" / "shop.json").read_bytes())
    return documents


def _check(table: str, name: str, document: Mapping[str, Any], *, users: Documents) -> None:
    missing = [field for field in _FIELDS[table] if field not in document]
    if missing:
        raise ValueError(f"{table}[{name!r}]: missing {', '.join(missing)}")
    if table != "orders":
        return
    owner = users.get(document["user_id"])
    if owner is None:
        raise ValueError(f"orders[{name!r}]: user {document['user_id']!r} is not among the users")
    for entry in document["payment_history"]:
        if entry["payment_method_id"] not in owner["payment_methods"]:
            raise ValueError(
                f"orders[{name!r}]: payment method {entry['payment_method_id']!r} is not one of {document['user_id']!r}"
            )
