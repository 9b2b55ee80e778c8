"""A month of customers, made from a seed: who they are, what they ordered, and what they ask for, in many wordings.

The assistant's own models learn from how these were served. None of them is a customer of the example's shop, so
whoever tries those models there tries them on strangers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded, and wants more than an Rng gives

from examples.assistant.requests import Document
from examples.assistant.shop import Shop

__all__ = ["Traffic", "traffic"]

_HOSTS = ("example.com", "example.net", "mail.example.com", "post.example.org")
_STREETS = (
    "Alder Way",
    "Bridge Street",
    "Cannon Row",
    "Dock Road",
    "Elm Court",
    "Ferry Lane",
    "Garden Close",
    "Hill Rise",
)
_CITIES = (
    ("Boise", "ID", "83702"),
    ("Duluth", "MN", "55802"),
    ("El Paso", "TX", "79901"),
    ("Erie", "PA", "16501"),
    ("Fresno", "CA", "93721"),
    ("Macon", "GA", "31201"),
    ("Reno", "NV", "89501"),
    ("Toledo", "OH", "43604"),
)
_STATUSES = ("pending", "pending", "processed", "delivered", "delivered", "cancelled")
_REASONS = ("it came late", "the box was open", "a part is missing", "the colour is off", "it was scratched")

_WHO = (
    "My email is {email}.",
    "Hello, my email is {email}.",
    "Hi there! You find me under {email}.",
    "My name is {first} {last}, zip {zip}.",
    "I am {first} {last}, my zip code is {zip}.",
    "Good morning, this is {email}.",
)
_ASKED: Mapping[str, tuple[str, ...]] = {
    "status": (
        "Where is my order {order}?",
        "What is the status of order {order}?",
        "Could you track {order} for me?",
        "When will {order} be here?",
        "Where is {order} now, please?",
    ),
    "two": (
        "What is the status of my orders {order} and {other}?",
        "Where are {order} and {other}?",
    ),
    "cancel": (
        "Please cancel order {order}, I no longer need it.",
        "Cancel {order}, please. It was a mistake.",
        "I want to cancel my order {order}.",
        "I ordered {order} by mistake, can you cancel it by today?",
    ),
    "refund": (
        "Please refund ${amount} for order {order} because {why}.",
        "I would like a refund of ${amount} for {order} because {why}.",
        "Can I have ${amount} of my money back for order {order} because {why}?",
    ),
    "return": (
        "I would like to return everything in order {order}.",
        "Please let me send back the {item} of order {order}.",
        "I want to return the {item} from {order}.",
    ),
    "address": (
        "Please send order {order} to {street}, {city}, {state}, USA {code} instead.",
        "Can you ship {order} to {street}, {city}, {state}, USA {code}?",
    ),
    "default_address": ("Please change my default address to {street}, {city}, {state}, USA {code}.",),
    "payment": ("Please pay order {order} with my gift card instead.", "Please charge {order} to my gift card."),
    "product": (
        "Do you have the {item}, and what does it cost?",
        "Do you sell a {item}?",
        "What is the price of the {item}?",
        "Is the {item} in stock?",
    ),
    "human": ("I want to talk to a human.", "Please let a real person look at this.", "May I speak with your manager?"),
}
_WEIGHTS = {"status": 5, "two": 2, "product": 3}
"""People mostly ask; all else comes half as often as the rarest of these."""
_NEEDS = {
    "cancel": ("pending",),
    "address": ("pending",),
    "payment": ("pending",),
    "refund": ("delivered", "cancelled"),
    "return": ("delivered",),
}
_OPEN = ("product",)
"""What is asked without saying who one is."""


@dataclass(frozen=True)
class Traffic:
    """A shop's documents by id, and what its customers write, in the order in which they write it."""

    users: Mapping[str, Document]
    products: Mapping[str, Document]
    orders: Mapping[str, Document]
    requests: tuple[str, ...]

    def shop(self) -> Shop:
        """The shop with these customers, fresh and in memory."""
        return Shop.load(users=self.users, products=self.products, orders=self.orders)


def traffic(*, seed: int, customers: int, requests: int) -> Traffic:
    """So many customers with one to three orders each, and so many requests. The same seed gives the same."""
    rng = Random(f"traffic {seed}")
    users: dict[str, Document] = {}
    orders: dict[str, Document] = {}
    for number in range(customers):
        user_id, user = _customer(rng, number)
        bought = [_order(rng, user_id, user, 8_000_000 + 10 * number + index) for index in range(rng.randint(1, 3))]
        user["orders"] = [order["order_id"] for order in bought]
        users[user_id] = user
        orders |= {order["order_id"]: order for order in bought}
    written = _requests(rng, list(users.values()), orders)
    return Traffic(users, _data("shop")["products"], orders, tuple(next(written) for _ in range(requests)))


@cache
def _data(name: str) -> Document:
    found: Document = json.loads((Path(__file__).parent / "data" / f"{name}.json").read_bytes())
    return found


def _customer(rng: Random, number: int) -> tuple[str, Document]:
    first, last = (rng.choice(_data("names")[kind]) for kind in ("first", "last"))
    city, state, code = rng.choice(_CITIES)
    card, gift = f"credit_card_{8_100_000 + number}", f"gift_card_{8_200_000 + number}"
    return f"{first}_{last}_{1000 + number}".lower(), {
        "name": {"first_name": first, "last_name": last},
        "email": f"{first}.{last}{number}@{rng.choice(_HOSTS)}".lower(),
        "address": _address(rng) | {"city": city, "state": state, "country": "USA", "zip": code},
        "payment_methods": {
            card: {"id": card, "source": "credit_card", "brand": "visa", "last_four": card[-4:]},
            gift: {"id": gift, "source": "gift_card", "balance": float(rng.randint(0, 3000))},
        },
    }


def _address(rng: Random) -> Document:
    return {"address1": f"{rng.randint(1, 99)} {rng.choice(_STREETS)}", "address2": ""}


def _order(rng: Random, user_id: str, user: Document, number: int) -> Document:
    status = rng.choice(_STATUSES)
    items = []
    for product in rng.sample(list(_data("shop")["products"].values()), rng.randint(1, 2)):
        variant = rng.choice(list(product["variants"].values()))
        known = {name: variant[name] for name in ("item_id", "price", "options")}
        items.append({"name": product["name"], "product_id": product["product_id"], **known})
    paid = {"amount": round(sum(item["price"] for item in items), 2), "payment_method_id": min(user["payment_methods"])}
    history = [{"transaction_type": "payment", **paid}]
    if status == "cancelled":
        history.append({"transaction_type": "refund", **paid})
    return {
        "order_id": f"#W{number}",
        "user_id": user_id,
        "status": status,
        "address": dict(user["address"]),
        "items": items,
        "fulfillments": [],
        "payment_history": history,
    }


def _requests(rng: Random, users: list[Document], orders: Mapping[str, Document]) -> Iterator[str]:
    intents = list(_ASKED)
    weights = [_WEIGHTS.get(intent, 1) for intent in intents]
    while True:
        user, (intent,) = rng.choice(users), rng.choices(intents, weights)
        own = [orders[order_id] for order_id in user["orders"]]
        fitting = [order for order in own if order["status"] in _NEEDS.get(intent, (order["status"],))]
        if not fitting or (intent == "two" and len(own) < 2):
            continue
        asked = _worded(rng, intent, rng.choice(fitting), own)
        yield asked if intent in _OPEN else f"{_who(rng, user)} {asked}"


def _who(rng: Random, user: Document) -> str:
    address: Document = user["address"]
    name: Document = user["name"]
    return rng.choice(_WHO).format(
        email=user["email"], first=name["first_name"], last=name["last_name"], zip=address["zip"]
    )


def _worded(rng: Random, intent: str, order: Document, own: list[Document]) -> str:
    city, state, code = rng.choice(_CITIES)
    pick: Callable[[list[Document]], Document] = rng.choice
    return rng.choice(_ASKED[intent]).format(
        order=order["order_id"],
        other=next((each["order_id"] for each in own if each is not order), ""),
        item=pick(order["items"])["name"],
        amount=rng.randint(1, 15),
        why=rng.choice(_REASONS),
        street=_address(rng)["address1"],
        city=city,
        state=state,
        code=code,
    )
