"""What a customer wants, read from what they wrote: the stand-in model's understanding of language.

Plain patterns, enough for the requests of this example and for trying one's own. A sentence that names something to do
is a task; what it leaves out (an order, mostly) is taken from the sentences around it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Request", "Task", "named_items", "named_method", "understand", "wanted_variant"]

Document = dict[str, Any]

# The first that fits a sentence is its intent. "Return it, and refund my gift card" is a return, so return comes first.
_INTENTS = (
    ("human", r"\b(human|real person|to a person|someone|colleague|manager)\b"),
    ("cancel", r"\bcancel"),
    ("exchange", r"\bexchange\b"),
    ("return", r"\b(return|send back)\b"),
    ("refund", r"\b(refund|money back|compensat)"),
    ("default_address", r"\b(default|profile|my) address\b"),
    ("order_address", r"\b(send|ship|deliver)\b.*\bto\b|\baddress\b"),
    ("payment", r"\b(pay|charge)\b"),
    ("items", r"\b(change|swap|switch|modify)\b"),
    ("status", r"\b(where|status|when|track)\b"),
    ("product", r"\b(sell|in stock|cost|price|do you have|available)\b"),
)
_ADDRESS = re.compile(r"\bto (?P<parts>\d[^,]*(?:, [^,]+){3,4})$")
_LAST_WORDS = re.compile(r"(?: instead)?(?:,? please)?[.!?]?$")
_NAME = re.compile(r"(?:[Mm]y name is|I am) (?P<first>[A-Z][a-z]+) (?P<last>[A-Z][a-z]+)")


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do: its intent, the sentence that asks for it, and the orders that it is about."""

    intent: str
    sentence: str
    order_ids: tuple[str, ...]

    @property
    def amount(self) -> float | None:
        """Dollars, where the sentence names an amount."""
        found = re.search(r"\$ ?(\d+(?:\.\d{1,2})?)", self.sentence)
        return float(found[1]) if found else None

    @property
    def percent(self) -> str | None:
        """A share of the whole, where the sentence names one."""
        found = re.search(r"\b(\d{1,2}) ?(?:%|percent)", self.sentence)
        return found[1] if found else "50" if re.search(r"\bhalf\b", self.sentence) else None

    @property
    def reason(self) -> str | None:
        """What follows "because"."""
        found = re.search(r"\bbecause (.+?)[.!]?$", self.sentence)
        return found[1] if found else None

    @property
    def address(self) -> dict[str, str] | None:
        """`to LINE, [LINE,] CITY, STATE, COUNTRY ZIP`."""
        found = _ADDRESS.search(_LAST_WORDS.sub("", self.sentence))
        if found is None:
            return None
        *lines, city, state, last = found["parts"].split(", ")
        country, _, zip_code = last.rpartition(" ")
        address2 = lines[1] if len(lines) > 1 else ""
        return dict(address1=lines[0], address2=address2, city=city, state=state, country=country, zip=zip_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was written, who says they wrote it, and what is to be done, in the order in which it was asked."""

    text: str
    email: str | None
    name_and_zip: tuple[str, str, str] | None
    tasks: tuple[Task, ...]

    @property
    def says_who(self) -> bool:
        """Whether it says enough to find the customer's account."""
        return bool(self.email or self.name_and_zip)


def understand(text: str) -> Request:
    """Reads a request."""
    email = re.search(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", text)
    name, zip_code = _NAME.search(text), re.search(r"\bzip(?: code)?(?: is)? (\d{5})\b", text)
    return Request(
        text=text,
        email=email[0] if email else None,
        name_and_zip=(name["first"], name["last"], zip_code[1]) if name and zip_code else None,
        tasks=tuple(_tasks(text)),
    )


def _tasks(text: str) -> list[Task]:
    anywhere = _order_ids(text)
    tasks, latest = [], anywhere[:1]
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        latest = _order_ids(sentence) or latest
        wish = sentence.partition(" because ")[0]
        intent = next((intent for intent, words in _INTENTS if re.search(words, wish, re.IGNORECASE)), None)
        if intent is not None:
            tasks.append(Task(intent, sentence, latest))
    if not tasks and anywhere:
        tasks.append(Task("status", text, anywhere))
    return tasks


def _order_ids(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys("#" + digits for digits in re.findall(r"#?(W\d{7})\b", text)))


def named_items(sentence: str, order: Document) -> list[Document]:
    """The items of an order that a sentence is about: by id, by name ("both planters"), or all of them."""
    lowered = sentence.lower()
    items: list[Document] = order["items"]
    if re.search(r"\b(everything|all items|whole order)\b", lowered):
        return items
    return [item for item in items if item["item_id"] in lowered or _mentions(lowered, item["name"])]


def wanted_variant(sentence: str, item: Document, product: Document) -> Document | None:
    """The variant to get for an item: the one that fits what stands after "for" or "to", and else is most alike."""
    wish = re.split(r"\b(?:for|to)\b", sentence.lower())[-1]
    best, best_score = None, (0, 0, False)
    for variant in product["variants"].values():
        options: dict[str, str] = variant["options"]
        wished = sum(_mentions(wish, value) for value in options.values())
        alike = sum(item["options"].get(name) == value for name, value in options.items())
        score = (wished, alike, bool(variant["available"]))
        if wished and score > best_score:
            best, best_score = variant, score
    return best


def named_method(sentence: str, customer: Document, *, present: str) -> str | None:
    """The payment method that a sentence names, by id or by kind; `present` where it names none.

    "My other card" is not the present one. None when the customer has no such method.
    """
    methods: dict[str, Document] = customer["payment_methods"]
    lowered = sentence.lower()
    for method_id in methods:
        if method_id in lowered:
            return method_id
    kind = next((kind for kind in ("gift_card", "paypal", "credit_card") if kind.replace("_", " ") in lowered), None)
    if kind is None and "other" not in lowered:
        return present
    others = [
        method_id
        for method_id, method in methods.items()
        if kind in (None, method["source"]) and not ("other" in lowered and method_id == present)
    ]
    return others[0] if others else None


def _mentions(text: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words.lower())}s?\b", text) is not None
