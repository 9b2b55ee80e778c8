"""What a tool's result must be to count as one."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.contract.model import OutputRule
from plimsoll.core.calls import Fault
from plimsoll.core.canonical import canonical_json
from plimsoll.policies.output_check import check_value

ANY = OutputRule()


@pytest.mark.parametrize(
    "value",
    [
        0,
        0.0,
        False,
        True,
        7,
        -1.5,
        "ok",
        "Error: none",
        "The payment failed.",
        "failed",
        [0],
        [None],
        [[]],
        {"id": 7},
        {"a": None},
        {"error": None, "value": 3},
        {"error": "", "items": []},
        {"error": "late", "order_id": "W1", "items": [1]},
        {"errors": [], "data": 1},
        {"status": "failed", "payment_id": "p1"},
        {"status": "failed"},
        {"status": "error"},
        {"status": 200},
        {"status": 404, "path": "/x"},
        {"status": True},
        {"status": 450, "sku": "x"},
        {"ok": True, "message": "refunded"},
        {"ok": False},
        {"valid": False, "reason": "expired"},
        {"code": 404, "title": "Not Found"},
        {"code": 404},
        {"message": "Hello"},
        {"message": 7},
        {"null": "null"},
        {1: 2},
        (1, 2),
    ],
)
def test_a_healthy_result_passes(value: Any) -> None:
    assert check_value(value, ANY) is None


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("", Fault.EMPTY),
        (" \n", Fault.WHITESPACE),
        (math.nan, Fault.MALFORMED),
        (math.inf, Fault.MALFORMED),
        ({"price": math.nan}, Fault.MALFORMED),
        ({"rows": [[1, (2, -math.inf)], None]}, Fault.MALFORMED),
        (object(), Fault.MALFORMED),
        ({"x": object()}, Fault.MALFORMED),
        ("\ud83d", Fault.MALFORMED),
        ({"error": "boom"}, Fault.ERROR_IN_SUCCESS),
        ({"Error": "boom"}, Fault.ERROR_IN_SUCCESS),
        ({"error": {"message": "boom", "code": 500}}, Fault.ERROR_IN_SUCCESS),
        ({"error": {"message": "boom"}, "data": None}, Fault.ERROR_IN_SUCCESS),
        ({"errors": ["boom"]}, Fault.ERROR_IN_SUCCESS),
        ({"status": 500}, Fault.ERROR_IN_SUCCESS),
        ({"statusCode": 503, "body": "down"}, Fault.ERROR_IN_SUCCESS),
        ({"ok": False, "error": "not_authed"}, Fault.ERROR_IN_SUCCESS),
        ({"ok": False, "error": "not_authed", "team": "T1"}, Fault.ERROR_IN_SUCCESS),
        ({"success": False, "message": "database is down"}, Fault.ERROR_IN_SUCCESS),
        ({"status": "error", "message": "try later"}, Fault.ERROR_IN_SUCCESS),
        ({"code": 429, "message": "slow down"}, Fault.ERROR_IN_SUCCESS),
        ({"message": "Service Unavailable"}, Fault.ERROR_IN_SUCCESS),
        ("Internal Server Error", Fault.ERROR_IN_SUCCESS),
        ('{"error": {"code": 503}}', Fault.ERROR_IN_SUCCESS),
        ("<html><title>502 Bad Gateway</title></html>", Fault.ERROR_IN_SUCCESS),
    ],
)
def test_what_is_no_result_is_caught(value: Any, fault: Fault) -> None:
    problem = check_value(value, ANY)

    assert problem is not None
    assert problem.fault is fault


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"a": 1}, "object"),
        ([1], "array"),
        ((1,), "array"),
        ("x", "string"),
        (1, "number"),
        (1.5, "number"),
        (1, "integer"),
        (2.0, "integer"),
        (True, "boolean"),
        (False, "boolean"),
    ],
)
def test_the_right_type_passes(value: Any, kind: Any) -> None:
    assert check_value(value, OutputRule(type=kind)) is None


@pytest.mark.parametrize(
    ("value", "kind", "got"),
    [
        ([1], "object", "array"),
        ({"a": 1}, "array", "object"),
        (1, "string", "number"),
        ("1", "number", "string"),
        (True, "number", "boolean"),
        (True, "integer", "boolean"),
        (1.5, "integer", "number"),
        (1, "boolean", "number"),
    ],
)
def test_the_wrong_type_is_named(value: Any, kind: Any, got: str) -> None:
    problem = check_value(value, OutputRule(type=kind))

    assert problem is not None
    assert (problem.fault, problem.detail) == (Fault.WRONG_SHAPE, f"expected {kind}, got {got}")


def test_missing_keys_are_named_and_their_presence_is_enough() -> None:
    rule = OutputRule(required=("id", "total", "paid"))

    assert check_value({"id": None, "total": 0, "paid": False}, rule) is None
    problem = check_value({"id": 1}, rule)
    assert problem is not None
    assert (problem.fault, problem.detail) == (Fault.WRONG_SHAPE, "missing: total, paid")


def test_what_has_required_keys_must_be_an_object() -> None:
    problem = check_value([{"id": 1}], OutputRule(required=("id",)))

    assert problem is not None
    assert problem.detail == "expected object, got array"


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (None, OutputRule()),
        ([], OutputRule()),
        ((), OutputRule()),
        ({}, OutputRule()),
        ({}, OutputRule(may_look_like_error=True)),
        ([], OutputRule(type="array")),
        ({}, OutputRule(type="object")),
    ],
)
def test_an_empty_answer_is_one_where_nothing_that_is_declared_speaks_against_it(value: Any, rule: OutputRule) -> None:
    assert check_value(value, rule) is None


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("", OutputRule()),
        ("", OutputRule(type="string")),
        ("", OutputRule(pattern=".*")),
        (None, OutputRule(type="object")),
        (None, OutputRule(type="string")),
        (None, OutputRule(required=("id",))),
        (None, OutputRule(pattern="x")),
        ({}, OutputRule(type="object", required=("id",))),
        ({}, OutputRule(required=("id",))),
        ([], OutputRule(required=("id",))),
        ([], OutputRule(type="object")),
        ({}, OutputRule(type="array")),
        ([], OutputRule(type="string")),
        *((value, OutputRule(may_be_empty=False)) for value in (None, "", [], {})),
        ([], OutputRule(type="array", may_be_empty=False)),
        ({}, OutputRule(type="object", may_be_empty=False)),
    ],
)
def test_an_empty_answer_is_none_where_something_that_is_declared_speaks_against_it(
    value: Any, rule: OutputRule
) -> None:
    problem = check_value(value, rule)

    assert problem is not None
    assert problem.fault is Fault.EMPTY


def test_blank_text_is_a_lost_answer_unless_it_is_allowed() -> None:
    assert check_value(" \n", ANY) is not None
    assert check_value(" \n", OutputRule(may_be_empty=False)) is not None


def test_may_be_empty_allows_what_is_empty() -> None:
    empty: tuple[Any, ...] = (None, "", [], {}, " \n")
    for value in empty:
        assert check_value(value, OutputRule(may_be_empty=True)) is None
    assert check_value(None, OutputRule(type="object", may_be_empty=True)) is None
    assert check_value({}, OutputRule(type="object", required=("id",), may_be_empty=True)) is None
    problem = check_value([], OutputRule(type="object", may_be_empty=True))
    assert problem is not None
    assert problem.fault is Fault.WRONG_SHAPE


def test_may_be_empty_allows_no_error_and_no_half_surrogate() -> None:
    rule = OutputRule(may_be_empty=True)

    assert check_value("Internal Server Error", rule) is not None
    assert check_value("\ud83d", OutputRule(may_be_empty=True, may_look_like_error=True)) is not None


def test_may_look_like_error_allows_error_documents_alone() -> None:
    rule = OutputRule(may_look_like_error=True, required=("error",))

    assert check_value({"error": "boom"}, rule) is None
    assert check_value("Internal Server Error", OutputRule(may_look_like_error=True)) is None
    assert check_value(" ", OutputRule(may_look_like_error=True)) is not None
    assert check_value({"ok": 1}, rule) is not None


def test_an_error_in_disguise_is_named_before_its_wrong_shape() -> None:
    problem = check_value({"error": "boom"}, OutputRule(type="array"))

    assert problem is not None
    assert problem.fault is Fault.ERROR_IN_SUCCESS


def test_a_self_containing_value_is_malformed_not_a_crash() -> None:
    value: Any = [1]
    value.append(value)

    problem = check_value(value, ANY)

    assert problem is not None
    assert problem.fault is Fault.MALFORMED


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(_JSON)
def test_what_passes_can_be_journalled(value: Any) -> None:
    lenient = OutputRule(may_be_empty=True, may_look_like_error=True)

    problem = check_value(value, lenient)

    if problem is None:
        canonical_json(value)
    else:
        assert problem.fault is Fault.MALFORMED


def test_a_text_that_does_not_match_its_pattern_is_of_the_wrong_shape() -> None:
    rule = OutputRule(type="string", pattern="[a-z]+_[0-9]+")
    assert check_value("ines_4821", rule) is None
    problem = check_value("ines_4821 {", rule)
    assert problem is not None
    assert problem.fault is Fault.WRONG_SHAPE
