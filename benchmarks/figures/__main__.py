"""`python -m benchmarks.figures`."""

from benchmarks.figures import filled, pages

for page in pages():
    page.write_text(filled(page.read_text()))
