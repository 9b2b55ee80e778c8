"""How old an answer may be."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.contract.model import Fresh, OutputRule
from plimsoll.core.calls import Fault
from plimsoll.policies.output_check import OutputProblem, check_value

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
RULE = OutputRule(type="object", fresh=Fresh(field="as_of", max_age_s=3600.0))


def checked(as_of: Any, rule: OutputRule = RULE) -> OutputProblem | None:
    return check_value({"as_of": as_of, "price": 3}, rule, now=lambda: NOW)


@pytest.mark.parametrize(
    "as_of",
    [
        "2026-01-01T00:00:00Z",
        "2025-12-31T23:00:00+00:00",
        "2026-01-01T01:30:00+02:00",
        " 2025-12-31T18:59:59-05:00 ",
        "20260101T000000Z",
        NOW,
        int(NOW) - 3600,
        (NOW - 3600) * 1000,
        NOW + 86_400 * 365,  # a clock of theirs may be ahead, and that is not old
    ],
)
def test_an_answer_that_is_fresh_enough(as_of: Any) -> None:
    assert checked(as_of) is None


@pytest.mark.parametrize(
    "as_of",
    ["2025-12-31T22:59:59Z", "2026-01-01T00:59:59+02:00", NOW - 3601, (NOW - 3601) * 1000, 0, -5.0],
)
def test_an_answer_that_is_stale(as_of: Any) -> None:
    problem = checked(as_of)
    assert problem is not None and problem.fault is Fault.STALE
    assert "3600 s are allowed" in problem.detail


@pytest.mark.parametrize(
    "as_of", [None, "", "yesterday", "2026-01-01", "2026-01-01T00:00:00", True, [NOW], {}, "9" * 400]
)
def test_what_is_no_date_with_a_time_zone_is_the_wrong_shape(as_of: Any) -> None:
    problem = checked(as_of)
    assert problem == OutputProblem(Fault.WRONG_SHAPE, "as_of is missing, or no date with a time zone")


@pytest.mark.parametrize("value", [{"price": 3}, [1], "text", 7, {"quote": 5}, {"quote": {"price": 1}}])
def test_an_answer_without_its_date_is_none(value: Any) -> None:
    rule = OutputRule(fresh=Fresh(field="quote.as_of", max_age_s=1.0))
    problem = check_value(value, rule, now=lambda: NOW)
    assert problem is not None and problem.fault is Fault.WRONG_SHAPE


@pytest.mark.parametrize("value", [None, {}, [], ""])
def test_nothing_is_no_fresh_answer_unless_it_may_be_empty(value: Any) -> None:
    fresh = Fresh(field="as_of", max_age_s=1.0)
    problem = check_value(value, OutputRule(fresh=fresh), now=lambda: NOW)
    assert problem is not None and problem.fault is Fault.EMPTY
    assert check_value(value, OutputRule(fresh=fresh, may_be_empty=True), now=lambda: NOW) is None


def test_a_date_within_objects_within_objects() -> None:
    rule = OutputRule(fresh=Fresh(field="quote.meta.as_of", max_age_s=60.0))
    assert check_value({"quote": {"meta": {"as_of": NOW}}}, rule, now=lambda: NOW) is None


def test_nobody_looks_where_nobody_knows_what_time_it_is() -> None:
    assert check_value({"as_of": 0}, RULE) is None


def test_the_answer_is_not_quoted() -> None:
    problem = checked("card 4111")
    assert problem is not None and "4111" not in problem.detail


@given(st.integers(-7200, 7200), st.integers(-23, 23), st.booleans())
def test_the_age_is_what_counts_and_not_how_it_is_written(age_s: int, hours: int, seconds: bool) -> None:
    at = datetime.fromtimestamp(NOW - age_s, UTC)
    there = at.astimezone(timezone(timedelta(hours=hours)))
    for written in (there.isoformat(), at.timestamp() * (1 if seconds else 1000)):
        problem = checked(written)
        assert (problem is not None) == (age_s > 3600)
