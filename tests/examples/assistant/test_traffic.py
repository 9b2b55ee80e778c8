"""Customers made from a seed: always the same, all of them served, and none of them of the example's shop."""

import asyncio
import json
from pathlib import Path

from examples import assistant
from examples.assistant.hardened import build
from examples.assistant.requests import understand
from examples.assistant.traffic import Traffic, traffic
from plimsoll import Ending, RunResult
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.surroundings import Surroundings

SHOP = json.loads(Path(assistant.__file__).with_name("data").joinpath("shop.json").read_bytes())


def test_a_seed_gives_the_same_customers_and_another_gives_others() -> None:
    first, again, other = (traffic(seed=seed, customers=20, requests=40) for seed in (1, 1, 2))
    assert first == again
    assert first.requests != other.requests
    assert (len(first.users), len(first.requests)) == (20, 40)


def test_no_customer_and_no_order_is_of_the_examples_shop() -> None:
    made = traffic(seed=1, customers=200, requests=1)
    emails = {user["email"] for user in SHOP["users"].values()}
    assert not SHOP["users"].keys() & made.users.keys()
    assert not SHOP["orders"].keys() & made.orders.keys()
    assert not emails & {user["email"] for user in made.users.values()}


def test_every_wording_is_understood() -> None:
    misunderstood = [
        text for text in traffic(seed=3, customers=100, requests=500).requests if not understand(text).tasks
    ]
    assert misunderstood == []


def test_all_of_them_are_served() -> None:
    made = traffic(seed=4, customers=30, requests=40)
    results = asyncio.run(_served(made))
    assert {result.ending for result in results} == {Ending.COMPLETE}
    assert len({result.output for result in results}) > 20


async def _served(made: Traffic) -> list[RunResult]:
    surroundings = Surroundings(store=MemoryStore(), owner="test", sinks=())
    with made.shop() as shop:
        async with build(shop, surroundings=surroundings) as assistant:
            return [await assistant.run(request) for request in made.requests]
