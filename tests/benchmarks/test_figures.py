"""The figures in the documentation are those of the saved results."""

from benchmarks.figures import PAGE, filled


def test_the_page_says_what_the_results_say():
    page = PAGE.read_text()
    assert filled(page) == page, "run: python -m benchmarks.figures"
