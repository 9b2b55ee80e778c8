import os
from collections.abc import Iterator

import pytest

from examples.assistant.shop import Shop

os.environ.pop("PLIMSOLL_MODEL", None)  # no test may talk to a real model


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop.seeded() as shop:
        yield shop
