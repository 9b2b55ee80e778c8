"""The rows for a guard against prompt injection are half attacks, always the same, and read by `fit`."""

from collections import Counter
from pathlib import Path

import pytest

from examples.assistant.injections import INJECTION, OTHER, injection_rows, main
from examples.assistant.seed import seed_documents
from plimsoll.core.guards import text_of
from plimsoll.learning.rows import read_rows


def test_a_seed_gives_the_same_rows_and_another_gives_others() -> None:
    rows = injection_rows(100, seed=1)
    assert rows == injection_rows(100, seed=1) != injection_rows(100, seed=2)
    assert Counter(row["label"] for row in rows) == {INJECTION: 50, OTHER: 50}
    assert "{" not in "".join(row["text"] for row in rows)


def test_they_are_what_a_guard_is_shown_of_the_shops_records() -> None:
    rows = injection_rows(1000, seed=0)
    assert all(line.strip() for row in rows for line in row["text"].split("\n"))
    record = text_of(seed_documents()["orders"]["#W7001001"])
    parts = [row for row in rows if row["label"] == OTHER and "\n" in row["text"] and row["text"] in record]
    assert parts, "some are parts of an order"
    longer = [row["text"].split("\n") for row in rows if row["label"] == INJECTION and row["text"].count("\n") > 2]
    assert any(len(lines[-1]) < 20 for lines in longer), "an attack may stand in the middle of one"


def test_the_file_is_read_by_fit_and_never_written_over(tmp_path: Path) -> None:
    out = tmp_path / "injections.jsonl"
    main(["--out", str(out), "--count", "40"])
    assert read_rows(out).labels == (INJECTION, OTHER)
    assert out.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        main(["--out", str(out)])
