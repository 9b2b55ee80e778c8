"""How the stand-in model words amounts, orders and items."""

from __future__ import annotations

from examples.assistant.requests import Document

__all__ = ["ids", "listed", "paid", "swapped", "usd"]


def usd(amount: float) -> str:
    return f"${amount:,.2f}"


def paid(order: Document) -> float:
    signs = {"payment": 1, "refund": -1}
    total: float = sum(signs[entry["transaction_type"]] * entry["amount"] for entry in order["payment_history"])
    return round(total, 2)


def ids(items: list[Document]) -> list[str]:
    return [item["item_id"] for item in items]


def listed(items: list[Document]) -> str:
    names = [item["name"] for item in items]
    return ", ".join(
        f"{names.count(name)} × {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)
    )


def swapped(items: list[Document], variants: list[Document]) -> str:
    pairs = zip(items, variants, strict=True)
    return "; ".join(f"{old['name']} in {', '.join(new['options'].values())}" for old, new in pairs)
