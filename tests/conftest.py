"""What all tests share: how Hypothesis works on a busy machine, where each of a thousand mutants dies, a browser."""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # nothing is timed
settings.load_profile("tests")
settings.register_profile("mutation", derandomize=True, database=None, phases=(Phase.explicit, Phase.generate))


@pytest.fixture
def browser() -> Iterator[Any]:
    """A real Chromium."""
    chromium = os.environ.get("PLIMSOLL_CHROMIUM") or "/usr/bin/chromium"
    if "CI" not in os.environ:  # there it has to be; elsewhere one may do without
        pytest.importorskip("playwright.sync_api")
        if not Path(chromium).exists():
            pytest.skip("no chromium: set PLIMSOLL_CHROMIUM")
    sync_api = importlib.import_module("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()
