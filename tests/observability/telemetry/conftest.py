"""Telemetry that stays in memory."""

from collections.abc import Iterator

import pytest

from tests.observability.telemetry.heard import Heard


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    yield made
    made.close()
