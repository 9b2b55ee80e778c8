from collections.abc import Iterator

import pytest

from examples.assistant.shop import Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop.seeded() as shop:
        yield shop
