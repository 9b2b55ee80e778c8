"""A thousand different answers of which nothing is wrong, though some look as if: terse, apologetic, about errors.

Half are what people really write (CLINC150: short, in any tone, those that speak of trouble first), a quarter what a
shop's data says (the retail data: numbers, addresses, records in JSON), a quarter what a service has to say when the
news is bad.
"""

import json
import random
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

__all__ = ["CLAIMING", "healthy_answers"]

_TROUBLE = re.compile(
    r"error|fail|declin|problem|wrong|sorry|unavailable|time[sd]? ?out|denied|unable|reject|refus|broken|limit|empty"
    r"|can'?t|cannot|null|none|nothing|not found|cancel|stuck|missing|blocked|locked|suspicio|fraud"
)

_OF_ORDERS = (
    "I'm sorry, {order} cannot be cancelled: it was {status} already.",
    "I apologise for the trouble. {order} is {status}.",
    "Sorry about that! The {item} in {order} costs ${price}.",
    "The payment for {order} failed because the card has expired. Please try another card.",
    "The error was ours: {order} was billed ${price} for the {item}. It will be put right today.",
    "There was an error in the address of {order}; it now reads {street}, {city}.",
    "{order} failed the fraud check, so a colleague will call you about it.",
    "I could not find {order} under that e-mail address.",
    "No refund for {order}: it has not been refunded, since nothing was sent back.",
    "Once {order} has been refunded, you will get an e-mail.",
    "Has {order} been refunded? No, not yet.",
    "{order}: {status}.",
    "{status}",
    "${price}",
    "Not found: {order}. Could you read the number to me once more?",
    "The delivery of {order} to {city} timed out at customs. It is on its way again.",
    "Unfortunately the {item} is unavailable. Would you like another?",
    "Request denied by your bank, not by us: {order} is {status}.",
    "Nothing is missing from {order}.",
    "Internal note: the {item} (error code E{number}) was exchanged.",
)

_ANYWHERE = (
    "404 means that a page was not found.",
    'HTTP status 503, "Service Unavailable", means that the server cannot answer at present; try again in a minute.',
    "The server had an error processing your request last night; it has been healthy since.",
    "Error: that is what the machine shows when it is out of paper.",
    "Traceback (most recent call last): is how Python begins to tell where a program failed. Send me the last line.",
    'Your log says {"error": {"message": "The server is overloaded"}}, which means that you should try again later.',
    "A timeout is no failure of yours.",
    "null is what a database calls an unknown value.",
    "Too many requests? Then wait for a minute.",
    "Rate limit exceeded means that you asked too often.",
    "I can't do that.",
    "I'm sorry, I don't know.",
    "No.",
    "Yes.",
    "None.",
    "0",
    "404",
    "503",
    "-",
    "n/a",
    "👍",
    "失敗しました。もう一度お試しください。",
    "Lo siento, no he podido encontrar su pedido.",
    "Es tut mir leid, die Zahlung ist fehlgeschlagen, weil die Karte abgelaufen ist.",
    '{"answer": "The upload failed because the file is empty.", "confidence": 0.9}',
    '{"errors": 0, "warnings": 2, "files": 14}',
    '{"status": "error", "order": "#W1", "explained": "The printer is out of paper."}',
    '{"error": null, "result": 42}',
    '["timeout", "connection", "server_error"]',
    "<b>Sorry</b>, it is sold out.",
    "<html><body><h1>Your order</h1><p>It is on its way.</p></body></html>",
    "[Errno 111] means that nothing listens at that port.",
    "curl: (6) means that the name of the host is unknown.",
    "openai.APITimeoutError: that is what the client raises when it has waited for too long.",
    "Upstream request timeout means that the server behind the proxy is slow.",
    "The engine is currently overloaded by the trailer: drive slowly.",
    "This model's maximum context length is 8192 tokens.",
    "Failed: 2. Passed: 98.",
    "Errors: none.",
    "Connection refused is what you see when nothing listens at that port.",
    "The upstream supplier has an error in its catalogue.",
    "Please try again later: the shop opens at nine.",
    "An error occurred in order #W1: you were charged twice. You get the difference back.",
    "Overloaded? No, we have time for you.",
    "Service is unavailable on Sundays.",
    "Something went wrong with the parcel: it was left with a neighbour.",
)

CLAIMING = (
    "{order} has been refunded.",
    "Good news: {order} has been refunded.",
    "I'm sorry for the error. {order} has been refunded.",
    "Your refund failed at first; by now {order} has been refunded.",
)
"""What may be said once it is true."""


def healthy_answers(folder: Path, count: int, *, seed: int) -> list[str]:
    """So many different healthy answers, in a random order; `folder` holds `clinc150` and `retail`."""
    rng = random.Random(seed)
    orders = list(json.loads((folder / "retail" / "orders.json").read_text()).values())
    rng.shuffle(orders)
    found = dict.fromkeys(_ANYWHERE)
    for source, share in ((_in_bad_news(orders), 0.25), (_from_data(orders), 0.5), (_people(folder, rng), 1.0)):
        fresh = (answer for answer in source if answer not in found)
        while len(found) < share * count:
            found[next(fresh)] = None
    answers = list(found)
    rng.shuffle(answers)
    return answers[:count]


def _in_bad_news(orders: list[Any]) -> Iterator[str]:
    for number, order in enumerate(orders):
        item, address = order["items"][0], order["address"]
        yield _OF_ORDERS[number % len(_OF_ORDERS)].format(
            order=order["order_id"], status=order["status"], item=item["name"], price=item["price"], number=number,
            street=address["address1"], city=address["city"],
        )  # fmt: skip


def _from_data(orders: list[Any]) -> Iterator[str]:
    """Records as they are, and single values of them."""
    for order in orders:
        item = order["items"][0]
        yield from (json.dumps(item), str(item["price"]), item["item_id"], json.dumps(order["address"]))
        yield json.dumps({"status": order["status"], "order_id": order["order_id"], "error": None})


def _people(folder: Path, rng: random.Random) -> Iterator[str]:
    """The short ones, those that speak of trouble, then any."""
    data = json.loads((folder / "clinc150" / "data_full.json").read_text())
    texts = list(dict.fromkeys(text for split in data.values() for text, _ in split))
    rng.shuffle(texts)
    yield from islice(sorted(texts, key=len), 150)
    yield from (text for text in texts if _TROUBLE.search(text))
    yield from texts
