"""The figures in the documentation are those of the saved results."""

from pathlib import Path

import pytest

from benchmarks.figures import filled, pages

PAGES = list(pages())


def test_the_pages_with_figures_are_found() -> None:
    assert {"README.md", "figures.md", "journal.md", "long-lives.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_what_the_results_say(page: Path) -> None:
    text = page.read_text()
    assert filled(text) == text, "run: python -m benchmarks.figures"
