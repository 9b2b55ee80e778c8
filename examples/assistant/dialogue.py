"""How the stand-in model serves a customer: a script for each kind of task.

A script is a generator. It yields the tool calls that it needs next (those of one `yield` are made in parallel), is
sent their results, and returns what to say. It says that something was done only when the tool's result shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from examples.assistant.requests import Document, Request, Task, named_items, named_method, understand, wanted_variant
from examples.assistant.wording import ids, listed, paid, swapped, usd

__all__ = ["Call", "Result", "Script", "converse"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call."""

    tool: str
    args: Document


@dataclass(frozen=True, slots=True)
class Result:
    """What a call brought: a value, or `trouble`, the reason why there is none, to be told to the customer."""

    value: Any = None
    trouble: str = ""


Script: TypeAlias = Generator[list[Call], list[Result], T]


class Stuck(Exception):
    """The task cannot be done. The message is what to say."""


def converse(text: str) -> Script[str]:
    """Serves everything that a request asks for, one task after the other."""
    request = understand(text)
    if not request.tasks:
        return "How can I help you? Please tell me your order number and what you would like me to do."
    answers, user_id = [], ""
    try:
        if request.says_who or any(task.intent not in _OPEN_TO_ALL for task in request.tasks):
            user_id = yield from _authenticate(request)
    except Stuck as stuck:
        return str(stuck)
    for task in request.tasks:
        try:
            answers.append((yield from _SCRIPTS[task.intent](task, user_id)))
        except Stuck as stuck:
            answers.append(str(stuck))
    return " ".join(answers)


# ------------------------------------------------------------------------------------------------ reading


def _read(what: str, *calls: Call) -> Script[list[Any]]:
    """The values of some reads, made in parallel. Stuck if one of them fails."""
    results = yield list(calls)
    for result in results:
        if result.trouble:
            raise Stuck(f"I am sorry, I could not look up {what}: {result.trouble}.")
    return [result.value for result in results]


def _authenticate(request: Request) -> Script[str]:
    if request.email:
        call = Call("find_user_id_by_email", {"email": request.email})
    elif request.name_and_zip:
        first, last, zip_code = request.name_and_zip
        call = Call("find_user_id_by_name_zip", {"first_name": first, "last_name": last, "zip": zip_code})
    else:
        raise Stuck("Please tell me your email address, or your name and zip code, so that I can find your account.")
    (user_id,) = yield from _read("your account", call)
    return str(user_id)


def _orders(task: Task, user_id: str) -> Script[list[Document]]:
    if not task.order_ids:
        raise Stuck("Please tell me the number of the order; it looks like #W1234567.")
    calls = [Call("get_order_details", {"order_id": order_id}) for order_id in task.order_ids]
    orders: list[Document] = yield from _read(f"order {' and '.join(task.order_ids)}", *calls)
    for order in orders:
        _only_own(order, user_id)
    return orders


def _order(task: Task, user_id: str, *, status: tuple[str, ...], to_do: str) -> Script[Document]:
    """The task's order. Stuck unless its status allows what is to be done."""
    first = Task(task.intent, task.sentence, task.order_ids[:1])
    (order,) = yield from _orders(first, user_id)
    _only_in(order, status, to_do)
    return order


def _order_and_customer(
    task: Task, user_id: str, *, status: tuple[str, ...], to_do: str
) -> Script[tuple[Document, Document]]:
    """The task's order and its customer, asked for in one go."""
    if not task.order_ids:
        raise Stuck("Please tell me the number of the order; it looks like #W1234567.")
    order_id = task.order_ids[0]
    order, customer = yield from _read(
        f"order {order_id} and your account",
        Call("get_order_details", {"order_id": order_id}),
        Call("get_user_details", {"user_id": user_id}),
    )
    _only_own(order, user_id)
    _only_in(order, status, to_do)
    return order, customer


def _only_own(order: Document, user_id: str) -> None:
    if order["user_id"] != user_id:
        raise Stuck(f"I am sorry, I can only help with your own orders, and {order['order_id']} is not one of them.")


def _only_in(order: Document, status: tuple[str, ...], to_do: str) -> None:
    if order["status"] not in status:
        raise Stuck(
            f"I am sorry, I could not {to_do} order {order['order_id']}: it is {order['status']}, not {status[0]}."
        )


def _items_and_swaps(task: Task, order: Document) -> Script[tuple[list[Document], list[Document]]]:
    """The items that a task names, and the variants that it wants for them."""
    items = _items(task, order)
    product_ids = list(dict.fromkeys(item["product_id"] for item in items))
    products = yield from _read(
        "the product", *(Call("get_product_details", {"product_id": product_id}) for product_id in product_ids)
    )
    known = dict(zip(product_ids, products, strict=True))
    variants = []
    for item in items:
        variant = wanted_variant(task.sentence, item, known[item["product_id"]])
        if variant is None:
            raise Stuck(f"Which {item['name']} would you like instead? Please name its colour, size or the like.")
        variants.append(variant)
    return items, variants


def _items(task: Task, order: Document) -> list[Document]:
    items = named_items(task.sentence, order)
    if not items:
        raise Stuck(f"Which items of order {order['order_id']} do you mean? It has {listed(order['items'])}.")
    return items


def _method(task: Task, customer: Document, order: Document) -> str:
    present = str(order["payment_history"][0]["payment_method_id"])
    found = named_method(task.sentence, customer, present=present)
    if found is None:
        raise Stuck("I am sorry, there is no such payment method in your account.")
    return found


# ------------------------------------------------------------------------------------------------ acting


def _act(to_do: str, tool: str, **args: Any) -> Script[Any]:
    """One change. Stuck, with an honest word, unless the result shows that it was made."""
    (result,) = yield [Call(tool, args)]
    if result.trouble:
        raise Stuck(f"I am sorry, I could not {to_do}: {result.trouble}.")
    return result.value


def _cancel(task: Task, user_id: str) -> Script[str]:
    order = yield from _order(task, user_id, status=("pending",), to_do="cancel")
    order_id, reason = order["order_id"], "ordered by mistake" if "mistake" in task.sentence else "no longer needed"
    yield from _act(f"cancel order {order_id}", "cancel_pending_order", order_id=order_id, reason=reason)
    return f"I have cancelled order {order_id}. {usd(paid(order))} goes back to where it came from."


def _refund(task: Task, user_id: str) -> Script[str]:
    order, customer = yield from _order_and_customer(
        task, user_id, status=("delivered", "cancelled"), to_do="issue a refund for"
    )
    order_id, amount = order["order_id"], task.amount or paid(order)
    if task.percent and not task.amount:
        share = Call("calculate", {"expression": f"{paid(order)} * {task.percent} / 100"})
        (amount,) = yield from _read("the amount", share)
    method = _method(task, customer, order)
    to_do = f"issue the refund of {usd(amount)} for order {order_id}"
    reason = task.reason or "goodwill"
    args = dict(order_id=order_id, amount=amount, payment_method_id=method, reason=reason)
    yield from _act(to_do, "issue_refund", **args)
    return f"I have refunded {usd(amount)} for order {order_id} to {method}."


def _return(task: Task, user_id: str) -> Script[str]:
    order, customer = yield from _order_and_customer(task, user_id, status=("delivered",), to_do="return items of")
    order_id, items, method = order["order_id"], _items(task, order), _method(task, customer, order)
    args = dict(order_id=order_id, item_ids=ids(items), payment_method_id=method)
    yield from _act(f"register the return for order {order_id}", "return_delivered_order_items", **args)
    return f"I have registered the return of {listed(items)} from order {order_id}; the money goes to {method}."


def _exchange(task: Task, user_id: str) -> Script[str]:
    order, customer = yield from _order_and_customer(task, user_id, status=("delivered",), to_do="exchange items of")
    items, variants = yield from _items_and_swaps(task, order)
    order_id, method = order["order_id"], _method(task, customer, order)
    args = dict(order_id=order_id, item_ids=ids(items), new_item_ids=ids(variants), payment_method_id=method)
    yield from _act(f"register the exchange for order {order_id}", "exchange_delivered_order_items", **args)
    return f"I have registered the exchange for order {order_id}: {swapped(items, variants)}, settled with {method}."


def _modify_items(task: Task, user_id: str) -> Script[str]:
    order, customer = yield from _order_and_customer(task, user_id, status=("pending",), to_do="change the items of")
    items, variants = yield from _items_and_swaps(task, order)
    order_id, method = order["order_id"], _method(task, customer, order)
    args = dict(order_id=order_id, item_ids=ids(items), new_item_ids=ids(variants), payment_method_id=method)
    yield from _act(f"change the items of order {order_id}", "modify_pending_order_items", **args)
    return f"I have changed the items of order {order_id}: {swapped(items, variants)}, settled with {method}."


def _modify_payment(task: Task, user_id: str) -> Script[str]:
    order, customer = yield from _order_and_customer(task, user_id, status=("pending",), to_do="change the payment of")
    order_id, method = order["order_id"], _method(task, customer, order)
    to_do = f"change the payment of order {order_id}"
    yield from _act(to_do, "modify_pending_order_payment", order_id=order_id, payment_method_id=method)
    return f"I have changed the payment of order {order_id} to {method}."


def _modify_address(task: Task, user_id: str) -> Script[str]:
    order = yield from _order(task, user_id, status=("pending",), to_do="change the address of")
    order_id, address = order["order_id"], _address(task)
    yield from _act(
        f"change the address of order {order_id}", "modify_pending_order_address", **address, order_id=order_id
    )
    return f"I have changed the address of order {order_id} to {', '.join(filter(None, address.values()))}."


def _default_address(task: Task, user_id: str) -> Script[str]:
    address = _address(task)
    yield from _act("change your default address", "modify_user_address", **address, user_id=user_id)
    return f"I have changed your default address to {', '.join(filter(None, address.values()))}."


def _address(task: Task) -> dict[str, str]:
    if task.address is None:
        raise Stuck("Please write the address as: to 12 Some Street, City, State, USA 12345.")
    return task.address


def _hand_over(task: Task, user_id: str) -> Script[str]:
    summary = f"{user_id or 'A customer'} writes: {task.sentence}"
    yield [Call("think", {"thought": f"None of my tools does this. A colleague needs to know: {summary}"})]
    yield from _act("hand you over to a colleague", "transfer_to_human_agents", summary=summary)
    return "I have handed you over to a colleague, who has read what you wrote."


# ------------------------------------------------------------------------------------------------ telling


def _status(task: Task, user_id: str) -> Script[str]:
    orders = yield from _orders(task, user_id)
    return " ".join(
        f"Order {order['order_id']} with {listed(order['items'])} is {order['status']}." for order in orders
    )


def _product(task: Task, user_id: str) -> Script[str]:
    (products,) = yield from _read("our products", Call("list_all_product_types", {}))
    name = next((name for name in products if name.lower() in task.sentence.lower()), None)
    if name is None:
        return f"We sell: {', '.join(products)}."
    (product,) = yield from _read(f"the {name}", Call("get_product_details", {"product_id": products[name]}))
    variants = (
        f"{', '.join(variant['options'].values())} for {usd(variant['price'])}"
        f" ({'in stock' if variant['available'] else 'out of stock'})"
        for variant in product["variants"].values()
    )
    return f"The {name} comes in these variants: {'; '.join(variants)}."


_OPEN_TO_ALL = ("product", "human")
_SCRIPTS: dict[str, Callable[[Task, str], Script[str]]] = {
    "human": _hand_over,
    "cancel": _cancel,
    "refund": _refund,
    "return": _return,
    "exchange": _exchange,
    "order_address": _modify_address,
    "default_address": _default_address,
    "payment": _modify_payment,
    "items": _modify_items,
    "status": _status,
    "product": _product,
}
