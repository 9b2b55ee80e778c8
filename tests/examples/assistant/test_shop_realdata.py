"""The retail data of tau-bench: each request is played by its right sequence of calls, each in a fresh shop.

The folder named by PLIMSOLL_REALDATA holds `users.json`, `products.json`, `orders.json` and `tasks.json`, directly or
in `retail/`.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from examples.assistant.ledger import args_digest
from examples.assistant.shop import Shop, ShopRefusal
from examples.assistant.tools import TOOLS, call

pytestmark = pytest.mark.realdata

# Some right sequences contain a call that the rules refuse: (request, position) and why.
REFUSED_WRITES = {
    ("retail-12", 4): "is refunded to credit_card_3124723 or to a gift card",  # PayPal did not pay the order
    ("retail-13", 4): "is refunded to credit_card_3124723 or to a gift card",
    ("retail-64", 6): "is pending, not delivered",  # an exchange is tried before the order is modified
    ("retail-106", 0): "gift_card_7245904 holds only 17.00",  # the new items cost 21.10 more
}
# And some look up what does not exist.
REFUSED_READS = {
    ("retail-2", 1): "no product '6086499569'",
    ("retail-3", 1): "no product '6086499569'",
    ("retail-4", 1): "no product '6086499569'",
    ("retail-21", 5): "no product '4107812777'",
    ("retail-21", 6): "no product '1421289881'",
    ("retail-21", 8): "no product '4107812777'",
    ("retail-35", 0): "no customer with the email 'aarav.santos8321@example.com'",
    ("retail-36", 0): "no customer with the email 'daikisanchez1479@example.com'",
    ("retail-37", 0): "no customer with the email 'daikisanchez1479@example.com'",
    ("retail-38", 0): "no customer with the email 'daikisanchez1479@example.com'",
    ("retail-39", 0): "no customer with the name Fatima Taylor in 85033",
    ("retail-46", 1): "no order '#9502126'",
    ("retail-46", 2): "no order '#9502127'",
    ("retail-47", 1): "no order '#9502126'",
    ("retail-47", 2): "no order '#9502127'",
    ("retail-54", 0): "no customer with the email 'silva7872@example.com'",
    ("retail-55", 0): "no customer with the email 'silva7872@example.com'",
    ("retail-67", 0): "no customer with the name Noah Ito in 98178",
    ("retail-67", 1): "no customer with the name Noah Ito in 98186",
    ("retail-68", 0): "no customer with the name Noah Ito in 98178",
}


def read(name: str) -> Any:
    folder = os.environ.get("PLIMSOLL_REALDATA")
    if not folder:
        pytest.fail("set PLIMSOLL_REALDATA to the folder of the retail data")
    found = [path for path in (Path(folder, name), Path(folder, "retail", name)) if path.is_file()]
    if not found:
        pytest.fail(f"no {name} in {folder}, nor in its folder retail/")
    return json.loads(found[0].read_text())


def test_the_right_sequences_are_accepted_but_for_the_known_refusals() -> None:
    with Shop.load(users=read("users.json"), products=read("products.json"), orders=read("orders.json")) as shop:
        image = shop.image()
    tasks = read("tasks.json")
    refused, effects, calls = {}, 0, 0
    for task in tasks:
        with Shop.from_image(image) as shop:
            expected = []
            for position, action in enumerate(task["actions"]):
                calls += 1
                try:
                    call(shop, action["name"], action["arguments"])
                except ShopRefusal as refusal:
                    refused[task["id"], position] = str(refusal)
                else:
                    if TOOLS[action["name"]].effect == "write":
                        expected.append((action["name"], args_digest(action["arguments"])))
            assert [(entry.tool, entry.args_digest) for entry in shop.ledger()] == expected
            effects += len(expected)
    known = REFUSED_WRITES | REFUSED_READS
    assert refused.keys() == known.keys()
    assert [refused[place] for place in known if known[place] not in refused[place]] == []
    assert (len(tasks), calls, effects) == (115, 582, 178)
