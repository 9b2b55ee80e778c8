"""The shop that the assistant serves: customers, products and orders in SQLite, and the tools to act on them.

It is the world outside the agent: each tool keeps to the shop's rules by itself, and each change is committed
together with its row in the ledger. The docstrings of the tools are what a model reads about them.
"""

from __future__ import annotations

import ast
import operator
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self, TypeAlias, get_args

from examples.assistant import ledger
from examples.assistant.ledger import (
    Document,
    Effect,
    LedgerEntry,
    ShopRefusal,
    read_document,
    require,
    to_cents,
)
from examples.assistant.seed import APPLICATION_ID, build_image, seed_image

__all__ = ["Shop", "ShopRefusal"]

CancelReason = Literal["no longer needed", "ordered by mistake"]

# What a model is told about each parameter; `tools.py` derives the JSON Schemas from these.
OrderId: TypeAlias = Annotated[str, "The order id with its leading '#', such as '#W7001001'."]
UserId: TypeAlias = Annotated[str, "The user id, such as 'ines_calder_4821'."]
ProductId: TypeAlias = Annotated[str, "The product id, such as '2045110018'; an item id is another thing."]
PaymentMethodId: TypeAlias = Annotated[
    str, "One of the customer's payment methods, such as 'gift_card_4100039'; see the customer's details."
]
ItemIds: TypeAlias = Annotated[list[str], "Item ids of the order; one that is meant twice stands twice."]
NewItemIds: TypeAlias = Annotated[
    list[str], "The item to get in place of each of `item_ids`, in the same order and of the same product."
]
Reason: TypeAlias = Annotated[CancelReason, "Why the customer cancels."]
Email: TypeAlias = Annotated[str, "The customer's email address, such as 'someone@example.com'."]
FirstName: TypeAlias = Annotated[str, "The customer's first name."]
LastName: TypeAlias = Annotated[str, "The customer's last name."]
Zip: TypeAlias = Annotated[str, "The zip code, such as '97205'."]
Address1: TypeAlias = Annotated[str, "The first line of the address, such as '14 Harbour Lane'."]
Address2: TypeAlias = Annotated[str, "The second line of the address, such as 'Apt 6', or ''."]
City: TypeAlias = Annotated[str, "The city."]
State: TypeAlias = Annotated[str, "The state, such as 'OR'."]
Country: TypeAlias = Annotated[str, "The country, such as 'USA'."]
Expression: TypeAlias = Annotated[str, "Numbers, + - * /, parentheses and spaces, such as '2 * (3.50 + 1)'."]
Thought: TypeAlias = Annotated[str, "The thought."]
Summary: TypeAlias = Annotated[str, "What the customer needs, in a few sentences."]
Amount: TypeAlias = Annotated[float, "How much, in dollars, such as 12.5."]
GoodwillReason: TypeAlias = Annotated[str, "What the refund makes good."]


class Shop:
    """A shop in memory or in a file; usable from several threads. Close it, or use it as a context manager.

    `now` gives wall seconds for the ledger; None counts up one second for each effect from a fixed instant.
    """

    def __init__(self, db: sqlite3.Connection, *, now: Callable[[], float] | None = None) -> None:
        self._db = db
        self._now = now
        self._lock = threading.Lock()

    @classmethod
    def seeded(cls, *, now: Callable[[], float] | None = None) -> Self:
        """The example's own small shop, fresh and in memory."""
        return cls.from_image(seed_image(), now=now)

    @classmethod
    def load(
        cls,
        *,
        users: Mapping[str, Document],
        products: Mapping[str, Document],
        orders: Mapping[str, Document],
        now: Callable[[], float] | None = None,
    ) -> Self:
        """A shop in memory with these documents, keyed by id. Raises ValueError, naming the malformed one."""
        return cls.from_image(build_image(users=users, products=products, orders=orders), now=now)

    @classmethod
    def from_image(cls, image: bytes, *, now: Callable[[], float] | None = None) -> Self:
        """A shop in memory as `image()` gave it. To start many equal shops, take one image and keep it."""
        db = _connect(":memory:")
        db.deserialize(image)
        return cls(db, now=now)

    @classmethod
    def open(cls, path: str | Path, *, now: Callable[[], float] | None = None) -> Self:
        """The shop in a file that `copy(path)` made. Raises FileNotFoundError, or ValueError."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"no shop at {path}: make one with Shop.seeded().copy({str(path)!r})")
        db = _connect(path)
        try:
            (application_id,) = db.execute("PRAGMA application_id").fetchone()
        except sqlite3.DatabaseError as error:
            db.close()
            raise ValueError(f"{path} is not a shop: {error}") from error
        if application_id != APPLICATION_ID:
            db.close()
            raise ValueError(f"{path} is a database, but not a shop")
        return cls(db, now=now)

    def image(self) -> bytes:
        """The whole shop, ledger included, as bytes for `from_image`."""
        with self._lock:
            return self._db.serialize()

    def copy(self, path: str | Path | None = None) -> Self:
        """An independent shop with the same content and clock, in memory or (with `path`) in a new file."""
        if path is None:
            return type(self).from_image(self.image(), now=self._now)
        if Path(path).exists():
            raise FileExistsError(f"{path} exists already, and a ledger is never overwritten")
        db = _connect(path)
        with self._lock:
            self._db.backup(db)
        return type(self)(db, now=self._now)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # The ledger

    def ledger(self) -> list[LedgerEntry]:
        """Every effect so far, oldest first."""
        with self._lock:
            return list(ledger.entries(self._db))

    def find_effect(self, key: str) -> LedgerEntry | None:
        """The first effect recorded under this idempotency key; None says that there is none so far."""
        with self._lock:
            found = list(ledger.entries(self._db, key=key))
        return found[0] if found else None

    def money_moved(self) -> dict[str, int]:
        """Net cents by payment method as the customer sees them: refunds positive, charges negative."""
        totals: Counter[str] = Counter()
        for entry in self.ledger():
            for movement in entry.money:
                sign = 1 if movement.direction == "refund" else -1
                totals[movement.payment_method_id] += sign * movement.cents
        return dict(totals)

    # Tools that read

    def find_user_id_by_email(self, email: Email) -> str:
        """Find a customer's user id by email address."""
        return self._find_user("email = lower(?)", (email,), f"email {email!r}")

    def find_user_id_by_name_zip(self, first_name: FirstName, *, last_name: LastName, zip: Zip) -> str:
        """Find a customer's user id by first name, last name and zip code, if the email is not known."""
        return self._find_user(
            "last_name = lower(?) AND first_name = lower(?) AND zip = ?",
            (last_name, first_name, zip),
            f"name {first_name} {last_name} in {zip}",
        )

    def get_user_details(self, user_id: UserId) -> Document:
        """A customer's name, email address, postal address, payment methods and order ids."""
        return self._read("users", user_id)

    def get_order_details(self, order_id: OrderId) -> Document:
        """An order's status, items, address, payments and shipments."""
        return self._read("orders", order_id)

    def get_product_details(self, product_id: ProductId) -> Document:
        """A product's variants: item ids, options, prices, and whether each is in stock."""
        return self._read("products", product_id)

    def list_all_product_types(self) -> dict[str, str]:
        """The name and product id of every product that the shop sells."""
        with self._lock:
            rows = self._db.execute("SELECT json_extract(body, '$.name'), id FROM products ORDER BY 1")
            return dict(rows.fetchall())

    def calculate(self, expression: Expression) -> float:
        """The value of an arithmetic expression, rounded to cents."""
        return _evaluate(expression)

    def think(self, thought: Thought) -> str:
        """Think something over. It finds out nothing new and changes nothing."""
        return ""

    # Tools that change something

    def transfer_to_human_agents(self, summary: Summary, *, key: str | None = None) -> Document:
        """Hand the customer over to a person: only if the customer asks for one, or no tool can help."""
        with self._effect("transfer_to_human_agents", key, {"summary": summary}) as effect:
            effect.result = {"transferred": True}
        return effect.result

    def cancel_pending_order(self, order_id: OrderId, *, reason: Reason, key: str | None = None) -> Document:
        """Cancel an order that is still pending. All that was paid goes back to where it came from: to a
        gift card at once, otherwise within 5 to 7 business days. The customer must have confirmed."""
        arguments = {"order_id": order_id, "reason": reason}
        with self._effect("cancel_pending_order", key, arguments) as effect:
            order = effect.order(order_id, status="pending")
            require(reason in get_args(CancelReason), f"{reason!r} is not a reason to cancel an order")
            for payment_method_id, cents in _paid(order).items():
                effect.settle(payment_method_id, -cents)
            order["status"] = "cancelled"
            order["cancel_reason"] = reason
        return order

    def modify_pending_order_address(
        self,
        order_id: OrderId,
        *,
        address1: Address1,
        address2: Address2,
        city: City,
        state: State,
        country: Country,
        zip: Zip,
        key: str | None = None,
    ) -> Document:
        """Change where a pending order is sent. The customer must have confirmed."""
        address = dict(address1=address1, address2=address2, city=city, state=state, country=country, zip=zip)
        with self._effect("modify_pending_order_address", key, {"order_id": order_id, **address}) as effect:
            order = effect.order(order_id, status="pending")
            order["address"] = address
        return order

    def modify_pending_order_payment(
        self, order_id: OrderId, *, payment_method_id: PaymentMethodId, key: str | None = None
    ) -> Document:
        """Pay a pending order with another of the customer's payment methods; the former one is refunded. A
        gift card must hold the whole amount. Possible once per order. The customer must have confirmed."""
        arguments = {"order_id": order_id, "payment_method_id": payment_method_id}
        with self._effect("modify_pending_order_payment", key, arguments) as effect:
            order = effect.order(order_id, status="pending")
            require(len(order["payment_history"]) == 1, f"the payment of order {order_id} was changed before")
            former = order["payment_history"][0]
            former_id, cents = former["payment_method_id"], to_cents(former["amount"])
            require(payment_method_id != former_id, f"order {order_id} is paid by {former_id} already")
            effect.settle(payment_method_id, cents)
            effect.settle(former_id, -cents)
        return order

    def modify_pending_order_items(
        self,
        order_id: OrderId,
        *,
        item_ids: ItemIds,
        new_item_ids: NewItemIds,
        payment_method_id: PaymentMethodId,
        key: str | None = None,
    ) -> Document:
        """Swap items of a pending order for other variants of the same products, and pay or refund the
        difference in price. Possible once per order, which cannot be changed or cancelled afterwards: name
        all items in one call. The customer must have confirmed."""
        arguments = {
            "order_id": order_id,
            "item_ids": item_ids,
            "new_item_ids": new_item_ids,
            "payment_method_id": payment_method_id,
        }
        with self._effect("modify_pending_order_items", key, arguments) as effect:
            order = effect.order(order_id, status="pending")
            swaps = effect.swaps(item_ids, new_item_ids)
            for old, new in swaps:
                require(old["item_id"] != new["item_id"], f"item {old['item_id']} is swapped for itself")
            effect.settle(payment_method_id, _difference(swaps))
            for old, new in swaps:
                old.update(item_id=new["item_id"], price=new["price"], options=new["options"])
            order["status"] = "pending (item modified)"
        return order

    def modify_user_address(
        self,
        user_id: UserId,
        *,
        address1: Address1,
        address2: Address2,
        city: City,
        state: State,
        country: Country,
        zip: Zip,
        key: str | None = None,
    ) -> Document:
        """Change a customer's default address. Orders keep the address that they have. The customer must have
        confirmed."""
        address = dict(address1=address1, address2=address2, city=city, state=state, country=country, zip=zip)
        with self._effect("modify_user_address", key, {"user_id": user_id, **address}) as effect:
            user = effect.user(user_id)
            user["address"] = address
        return user

    def return_delivered_order_items(
        self,
        order_id: OrderId,
        *,
        item_ids: ItemIds,
        payment_method_id: PaymentMethodId,
        key: str | None = None,
    ) -> Document:
        """Take back items of a delivered order. The refund goes to the original payment method or to one of
        the customer's gift cards. An order can be returned or exchanged once: name all items in one call. The
        customer must have confirmed."""
        arguments = {"order_id": order_id, "item_ids": item_ids, "payment_method_id": payment_method_id}
        with self._effect("return_delivered_order_items", key, arguments) as effect:
            order = effect.order(order_id, status="delivered")
            items = effect.items(item_ids)
            method = effect.payment_method(payment_method_id)
            original = order["payment_history"][0]["payment_method_id"]
            require(
                method["source"] == "gift_card" or payment_method_id == original,
                f"a return of order {order_id} is refunded to {original} or to a gift card",
            )
            # What was refunded before out of goodwill is not paid a second time.
            worth = sum(to_cents(item["price"]) for item in items)
            effect.book(payment_method_id, -min(worth, _paid(order).total()))
            order["status"] = "return requested"
            order["return_items"] = sorted(item_ids)
            order["return_payment_method_id"] = payment_method_id
        return order

    def exchange_delivered_order_items(
        self,
        order_id: OrderId,
        *,
        item_ids: ItemIds,
        new_item_ids: NewItemIds,
        payment_method_id: PaymentMethodId,
        key: str | None = None,
    ) -> Document:
        """Exchange items of a delivered order for variants of the same products, and pay or refund the
        difference in price. An item that is faulty can be exchanged for the same variant. An order can be
        returned or exchanged once: name all items in one call. The customer must have confirmed."""
        arguments = {
            "order_id": order_id,
            "item_ids": item_ids,
            "new_item_ids": new_item_ids,
            "payment_method_id": payment_method_id,
        }
        with self._effect("exchange_delivered_order_items", key, arguments) as effect:
            order = effect.order(order_id, status="delivered")
            swaps = effect.swaps(item_ids, new_item_ids)
            effect.book(payment_method_id, _difference(swaps))
            order["status"] = "exchange requested"
            order["exchange_items"] = sorted(item_ids)
            order["exchange_new_items"] = sorted(new_item_ids)
            order["exchange_payment_method_id"] = payment_method_id
            order["exchange_price_difference"] = _difference(swaps) / 100
        return order

    def issue_refund(
        self,
        order_id: OrderId,
        *,
        amount: Amount,
        payment_method_id: PaymentMethodId,
        reason: GoodwillReason,
        key: str | None = None,
    ) -> Document:
        """Refund part or all of a delivered or cancelled order, at once and without a return, to one of the
        customer's payment methods. All refunds of an order together cannot exceed what was paid for it."""
        arguments = {
            "order_id": order_id,
            "amount": amount,
            "payment_method_id": payment_method_id,
            "reason": reason,
        }
        with self._effect("issue_refund", key, arguments) as effect:
            order = effect.order(order_id, status="delivered", or_status="cancelled")
            cents, left = _refundable(amount), _paid(order).total()
            require(cents <= left, f"only {left / 100:.2f} of order {order_id} can still be refunded")
            effect.settle(payment_method_id, -cents)
            order["payment_history"][-1]["reason"] = reason
        return order

    # Shared by the tools

    @contextmanager
    def _effect(self, tool: str, key: str | None, arguments: Document) -> Iterator[Effect]:
        at = None if self._now is None else self._now()
        with self._lock, ledger.effect(self._db, tool, key=key, arguments=arguments, at=at) as effect:
            yield effect

    def _read(self, table: str, name: str) -> Document:
        with self._lock:
            return read_document(self._db, table, name)

    def _find_user(self, where: str, values: tuple[str, ...], wanted: str) -> str:
        with self._lock:
            found = self._db.execute(f"SELECT id FROM users WHERE {where}", values).fetchall()
        require(len(found) > 0, f"no customer with the {wanted}")
        require(len(found) == 1, f"more than one customer with the {wanted}")
        return str(found[0][0])


def _connect(path: str | Path) -> sqlite3.Connection:
    # The shop's own lock keeps threads apart; transactions are begun by hand.
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def _paid(order: Document) -> Counter[str]:
    """Cents that each payment method has paid for the order and not got back."""
    paid: Counter[str] = Counter()
    for entry in order["payment_history"]:
        sign = 1 if entry["transaction_type"] == "payment" else -1
        paid[entry["payment_method_id"]] += sign * to_cents(entry["amount"])
    return paid


def _difference(swaps: list[tuple[Document, Document]]) -> int:
    """Cents that the customer pays for the swaps; negative is what the customer gets back."""
    return sum(to_cents(new["price"]) - to_cents(old["price"]) for old, new in swaps)


def _refundable(amount: float) -> int:
    """`amount` in cents; refused unless it is a positive, whole number of them."""
    require(0 < amount < 1_000_000, f"{amount} is not an amount to refund")
    cents = to_cents(amount)
    require(cents / 100 == amount, f"{amount} is not a whole number of cents")
    return cents


_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
# Digits and signs only: nothing can be named. The length bounds how deep the parser goes and, since a character
# is worth at most one power of ten, how large a value becomes.
_ARITHMETIC = re.compile(r"[0-9.+\-*/() ]{1,200}")


def _evaluate(expression: str) -> float:
    require(_ARITHMETIC.fullmatch(expression) is not None, f"{expression!r} is not arithmetic, or too long")
    try:
        value = _value(ast.parse(expression.strip(), mode="eval").body)
    except SyntaxError as error:
        raise ShopRefusal(f"{expression!r} is not an arithmetic expression") from error
    except ZeroDivisionError as error:
        raise ShopRefusal(f"{expression!r} divides by zero") from error
    return round(value, 2)


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
        case _:
            raise ShopRefusal("only + - * / and parentheses can be calculated")
