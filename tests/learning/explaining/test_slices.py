"""Slices: what differs beyond chance is marked, and what differs by chance is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.core.errors import Misuse
from plimsoll.core.rng import seeded_rng
from plimsoll.learning.explaining.slices import Grouping, by_column, by_length, by_pattern, share_of, slices

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import


def judged(right: list[bool]) -> dict[str, object]:
    """Answers of two labels, of which these are right, at 80 %."""
    chances = np.array([[0.8, 0.2] if each else [0.2, 0.8] for each in right])
    return {
        "chances": chances,
        "numbers": np.zeros(len(right), dtype=int),
        "rejected": np.zeros(len(right), dtype=bool),
    }


def test_a_group_for_which_it_does_worse_is_marked() -> None:
    values = tuple("a" if number % 4 else "b" for number in range(400))
    found = slices([Grouping(by="group", values=values)], **judged([value == "a" for value in values]))
    assert [(each.by, each.value, each.rows) for each in found] == [("group", "a", 300), ("group", "b", 100)]
    assert all(each.marked == ("accuracy",) for each in found)
    assert [each.accuracy.value for each in found] == [1, 0]
    assert [each.calibration_error for each in found] == [pytest.approx(0.2), pytest.approx(0.8)]


def test_a_group_that_is_rejected_more_is_marked() -> None:
    values = ("a",) * 100 + ("b",) * 100
    answers = judged([True] * 200) | {"rejected": np.array([number >= 150 for number in range(200)])}
    assert [each.marked for each in slices([Grouping(by="group", values=values)], **answers)] == [("rejected",)] * 2


def test_chance_is_not_marked_however_many_groups_are_looked_at() -> None:
    rng = seeded_rng(7)
    right = [rng.random() < 0.8 for _ in range(600)]
    groupings = [Grouping(by=str(n), values=tuple("ab"[rng.random() < 0.2] for _ in right)) for n in range(60)]
    assert not any(each.marked for each in slices(groupings, **judged(right)))


def test_all_rows_together_differ_from_none() -> None:
    (only,) = slices([Grouping(by="group", values=("a",) * 9)], **judged([True] * 9))
    assert only.marked == () and only.rows == 9


def test_texts_by_their_length() -> None:
    texts = ["x" * length for length in (1, 25, 26, 50, 51, 100, 101, 200, 201, 20_000)]
    assert by_length(texts).values == (
        *("25 or fewer", "25 or fewer", "26 to 50", "26 to 50", "51 to 100", "51 to 100"),
        *("101 to 200", "101 to 200", "more than 200", "more than 200"),
    )


def test_texts_by_a_pattern() -> None:
    assert by_pattern(["My MONEY", "my order"], r"\bmoney\b").values == ("found", "not found")
    with pytest.raises(Misuse, match=r"'\(' is no regular expression: "):
        by_pattern(["x"], "(")


def test_a_column_of_many_values() -> None:
    cells = [f"v{number}" for number in range(25) for _ in range(25 - number)] + ["", " "]
    grouping = by_column("city", cells)
    assert len(set(grouping.values)) == 21 and "(others)" in grouping.values
    assert by_column("city", ["", " x "]).values == ("(none)", "x")


@given(st.integers(1, 500).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_a_share_lies_in_its_interval(counts: tuple[int, int]) -> None:
    share = share_of(*counts)
    assert 0 <= share.low <= share.value + 1e-12 and share.value - 1e-12 <= share.high <= 1
