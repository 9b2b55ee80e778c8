"""Canonical JSON: one value, one text."""

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.core.canonical import as_recorded, as_text, canonical_json, digest, is_json, parse_json
from plimsoll.core.errors import Misuse

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_round_trip(value: Any) -> None:
    try:
        encoded = canonical_json(value)
    except Misuse:  # lone surrogates are no text
        return
    assert parse_json(encoded) == value
    assert canonical_json(parse_json(encoded)) == encoded


def test_keys_are_sorted_all_the_way_down() -> None:
    assert canonical_json({"b": {"y": 1, "x": 2}, "a": None}) == b'{"a":null,"b":{"x":2,"y":1}}'


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [1, {"b": -math.inf}]}, (math.nan,)])
def test_what_json_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(Misuse, match="JSON cannot carry"):
        canonical_json(value)


def test_the_place_of_a_bad_number_is_named() -> None:
    with pytest.raises(Misuse, match=r"\.lines\[1\]\.price"):
        canonical_json({"lines": [{}, {"price": math.nan}]})


def test_objects_without_a_json_form_are_refused() -> None:
    with pytest.raises(Misuse, match="not a JSON value"):
        canonical_json({"x": object()})


def test_null_by_itself_is_fine() -> None:
    assert canonical_json({"x": None, "y": [1, None, "null"]}) == b'{"x":null,"y":[1,null,"null"]}'


def test_decimals_are_written_as_text() -> None:
    assert canonical_json(Decimal("1.10")) == b'"1.10"'


def test_digests_tell_values_apart() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest(None)) == 64


@pytest.mark.parametrize(
    ("text", "kind", "is_it"),
    [
        ('{"a": 1}', dict, True),
        ("[1]", dict, False),
        ("[1]", object, True),
        ("1 2", object, False),
        ("", object, False),
        ('"\ud800"', object, False),
        ("[" * 100_000, object, False),
    ],
)
def test_whether_a_text_is_json_of_a_kind(text: str, kind: type[Any], is_it: bool) -> None:
    assert is_json(text, kind=kind) is is_it


def test_text_that_is_no_json() -> None:
    with pytest.raises(Misuse, match="not JSON"):
        parse_json("{")


@given(JSON)
def test_what_was_recorded_once_is_the_same_the_second_time(value: Any) -> None:
    try:
        once = as_recorded((value, {"tuple": (1, 2)}), what="it")
    except Misuse:  # lone surrogates are no text
        return
    assert as_recorded(once, what="it") == once == [value, {"tuple": [1, 2]}]


def test_what_cannot_be_recorded_is_named() -> None:
    with pytest.raises(Misuse, match="the output has no JSON form"):
        as_recorded({1: "a"}, what="the output")


class Mute:
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("value", "text"),
    [(ValueError("plain"), "plain"), (ValueError("Zoë"), "Zoë"), ("caf\udce9", "caf\\udce9"), (Mute(), "Mute")],
)
def test_whatever_something_says_of_itself_is_text_that_json_can_carry(value: object, text: str) -> None:
    assert as_text(value) == text
    canonical_json(as_text(value))
