"""The modules that the contracts of these tests name."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest


class Verifiers(ModuleType):
    """Has every function that verifies."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("verify"):
            return object()
        raise AttributeError(name)


@pytest.fixture(scope="module", autouse=True)
def shop() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("shop.agent", "shop.tools", "a", "agent"):
            patch.setitem(sys.modules, name, Verifiers(name))
        yield
