"""The figures in the documentation are those of the saved results."""

from pathlib import Path

import pytest

from benchmarks.figures import PAGES, filled


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_page_says_what_the_results_say(path: Path):
    page = path.read_text()
    assert filled(page) == page, "run: python -m benchmarks.figures"
