import contextlib
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.contract.expressions import Rule, RuleSyntaxError, RuleUndecided, compile_rule
from plimsoll.contract.rule_syntax import MAX_DEPTH, MAX_LIST, MAX_SOURCE
from plimsoll.core.errors import Misuse, PlimsollError


def holds(source: str, **args: Any) -> bool:
    return compile_rule(source).holds(args)


@pytest.mark.parametrize(
    ("source", "args", "expected"),
    [
        ("true", {}, True),
        ("False", {}, False),
        ("amount > 50", {"amount": 50}, False),
        ("amount > 50", {"amount": 50.01}, True),
        ("amount >= 50", {"amount": 50}, True),
        ("amount < 50", {"amount": 49}, True),
        ("amount <= 50", {"amount": 51}, False),
        ("amount == 50", {"amount": 50.0}, True),
        ("amount != 50", {"amount": 50}, False),
        ("0 < amount < 50", {"amount": 7}, True),
        ("0 < amount < 50", {"amount": 50}, False),
        ("10 < amount < 50", {"amount": 5}, False),
        ('country not in ["US", "CA"] and amount * 2 >= 100', {"country": "FR", "amount": 50}, True),
        ('country not in ["US", "CA"] and amount * 2 >= 100', {"country": "US", "amount": 50}, False),
        ("len(item_ids) > 3", {"item_ids": [1, 2, 3, 4]}, True),
        ("len(item_ids) > 3", {"item_ids": "abc"}, False),
        ("len(meta) == 1", {"meta": {"a": 1}}, True),
        ('"express" in lower(method)', {"method": "DHL Express"}, True),
        ('upper(method) == "DHL"', {"method": "dhl"}, True),
        ('starts_with(path, "/etc")', {"path": "/etc/passwd"}, True),
        ("ends_with(path, '.pem')", {"path": "/etc/passwd"}, False),
        ("abs(change) > 10", {"change": -11}, True),
        ("min(a, b) == 1 and max(a, b) == 2", {"a": 2, "b": 1}, True),
        ("max(prices) > 9", {"prices": [1, 10]}, True),
        ("customer.tier == 'gold'", {"customer": {"tier": "gold"}}, True),
        ("'tier' in customer", {"customer": {"tier": "gold"}}, True),
        ("a + b - 1 == 4", {"a": 2, "b": 3}, True),
        ("a * 2 + b / 2 == 9", {"a": 4, "b": 2}, True),
        ("a - (b - c) == 2", {"a": 3, "b": 2, "c": 1}, True),
        ("a % 2 == 1", {"a": 3}, True),
        ("-a < 0", {"a": 3}, True),
        ("--a == 3", {"a": 3}, True),
        ("not a == b", {"a": 1, "b": 2}, True),
        ("not express", {"express": False}, True),
        ("express == true", {"express": True}, True),
        ("a or b and c", {"a": True, "b": False, "c": False}, True),
        ("(a or b) and c", {"a": True, "b": False, "c": False}, False),
        ("items == []", {"items": []}, True),
        ("items == [1, [2]]", {"items": [1, [2]]}, True),
        ("items == [1]", {"items": [1, 2]}, False),
        ("coupon == null", {"coupon": None}, True),
        ("coupon != None", {"coupon": "X"}, True),
        ("null != coupon", {"coupon": None}, False),
        ("a == b", {"a": None, "b": None}, True),
        ("x in [null, 1]", {"x": None}, True),
        ("x in [null, 1]", {"x": 2}, False),
        ("x in tags", {"x": "a", "tags": ["a", 5]}, True),
        ("given(coupon)", {}, False),
        ("given(coupon)", {"coupon": None}, False),
        ("given(customer.tier)", {"customer": {}}, False),
        ("given(customer.tier)", {"customer": {"tier": 1}}, True),
        ("given(coupon) and coupon > 10", {}, False),
        ("amount > 50 or nobody > 1", {"amount": 51}, True),
        (r'note == "a\"b\\\n\t"', {"note": 'a"b\\\n\t'}, True),
        ("amount > 1_000", {"amount": 1001}, True),
        ("amount > 1e3", {"amount": 1001}, True),
        ('day >= "2026-01-01"', {"day": "2026-02-01"}, True),
        ('day > "2026-01-01"', {"day": "2026-01-01"}, False),
        ("größe > 1", {"größe": 2}, True),
    ],
)
def test_holds(source: str, args: dict[str, Any], expected: bool) -> None:
    assert compile_rule(source).holds(args) is expected


@pytest.mark.parametrize(
    ("source", "args", "why"),
    [
        ("amount > 50", {}, "amount is missing"),
        ("amount > 50", {"amount": "5000"}, "text is compared by > with number"),
        ("amount > 50", {"amount": None}, "null is compared"),
        ("amount > 50", {"amount": math.nan}, "not finite"),
        ("amount > 50", {"amount": math.inf}, "not finite"),
        ("amount < 50", {"amount": -math.inf}, "not finite"),
        ("not amount < 50", {"amount": math.nan}, "not finite"),
        ("amount == amount", {"amount": math.nan}, "not finite"),
        ("amount in [50]", {"amount": math.nan}, "not finite"),
        ("amount > 50", {"amount": 2**257}, "256 bits"),
        ("amount > 0", {"amount": True}, "boolean is compared"),
        ("amount == 1", {"amount": True}, "boolean is compared with number"),
        ("amount + 1 > 1", {"amount": True}, "not boolean"),
        ("a > b", {"a": [1], "b": [0]}, "list is compared by >"),
        ("a == b", {"a": {}, "b": {}}, "compare their fields"),
        ("a == b", {"a": None, "b": 1}, "null is compared with number"),
        ("country == 'US'", {"country": 5}, "number is compared with text"),
        ("country in ['US']", {"country": None}, "null is compared with text"),
        ("x in xs", {"x": None, "xs": []}, "null was looked for"),
        ("x in xs", {"x": "b", "xs": ["a", 5]}, "text is compared with number"),
        ("x in y", {"x": "b", "y": 5}, "looks into number"),
        ("x in y", {"x": 5, "y": "five"}, "text was expected"),
        ("x in y", {"x": 5, "y": {}}, "text was expected"),
        ("a / b > 1", {"a": 1, "b": 0}, "division by zero"),
        ("a % b > 1", {"a": 1, "b": 0.0}, "division by zero"),
        ("a * a > 1", {"a": 1e200}, "not finite"),
        ("a * a > 1", {"a": 2**200}, "256 bits"),
        ("a / 1e-300 > 1", {"a": 2**200}, "not finite"),
        ("flag", {"flag": 1}, "true or false was expected, not number"),
        ("not flag", {"flag": "yes"}, "true or false was expected"),
        ("flag and true", {"flag": None}, "true or false was expected"),
        ("len(a) > 1", {"a": 5}, "number has no length"),
        ("lower(a) == 'x'", {"a": 5}, "text was expected"),
        ("min(a) > 1", {"a": []}, "empty list"),
        ("min(a) > 1", {"a": 3}, "min of one number"),
        ("customer.tier == 1", {"customer": {}}, "customer.tier is missing"),
        ("customer.tier == 1", {"customer": "x"}, "customer is text and has no field tier"),
        ("given(customer.tier)", {"customer": "x"}, "customer is text and has no field tier"),
        ("when > 1", {"when": object()}, "type object"),
        ("when == 1", {"when": b"1"}, "type bytes"),
    ],
)
def test_what_does_not_fit_is_undecided(source: str, args: dict[str, Any], why: str) -> None:
    with pytest.raises(RuleUndecided, match=why) as caught:
        compile_rule(source).holds(args)
    assert caught.value.source == source
    assert isinstance(caught.value, PlimsollError)


def test_undecided_never_shows_a_value() -> None:
    with pytest.raises(RuleUndecided) as caught:
        holds("iban > 5", iban="DE-private")
    assert "private" not in str(caught.value)


def test_lists_that_nest_without_end_are_undecided() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(RuleUndecided, match="deep"):
        holds("a == b", a=deep, b=deep)


@pytest.mark.parametrize(
    ("source", "column", "what", "fix"),
    [
        ("", 1, "empty", "true for always"),
        ("   ", 4, "empty", "condition"),
        ("amount = 5", 8, "'='", "write =="),
        ("a && b", 3, "'&&'", "write and"),
        ("a || b", 3, "'||'", "write or"),
        ("!a", 1, "'!'", "write not"),
        ("a ** 9 > 1", 3, "'**'", "no powers"),
        ("a // 9 > 1", 3, "'//'", "write /"),
        ("a is b", 3, "'is' comes", "write =="),
        ("amount >", 9, "the rule ends", "finish"),
        ("amount > 50)", 12, "')' comes", "something like"),
        ("(amount > 50", 13, "where ')' was expected", "finish"),
        ("'abc", 1, '"\'"', "close the text"),
        ("amount > 50usd", 10, "'50usd'", "quotes"),
        (r"a == '\x41'", 6, r"'\\x'", "only"),
        ("a. > 1", 4, "name of a field", "something like"),
        ("lenght(a) > 1", 1, "no function 'lenght'", "did you mean len"),
        ("__import__('os')", 1, "no function '__import__'", "there are abs"),
        ("len() > 1", 1, "given 0 operands", "takes 1"),
        ("len(a, b) > 1", 1, "given 2 operands", "takes 1"),
        ("given(1)", 1, "not asked about an argument", "given"),
        ("a > 1e999", 5, "more than a number can hold", "smaller"),
        ("a > " + "9" * 41, 5, "too long", "40 digits"),
        ("a + 1", 1, "this is a number", "a rule needs true or false"),
        ("len(a) and b", 1, "this is a number", "and needs true or false"),
        ("not 'a'", 5, "this is text", "not needs"),
        ("a > '5' + 1", 5, "this is text", "needs a number"),
        ("-'5' > a", 2, "this is text", "minus sign"),
        ("1 > 'x'", 1, "a number is compared by > with text", "two numbers"),
        ("true > a", 1, "true or false is compared", "two numbers"),
        ("lower(a) == 5", 1, "text is compared with a number", "same kind"),
        ("a in 5", 6, "looks into a number", "list"),
        ("5 in lower(a)", 1, "looks for a number", "text"),
        ("lower(a) in [1, 2]", 1, "in a list of a number", "what the list has"),
        ("upper(5) == a", 7, "this is a number", "upper needs text"),
        ("min('a', b) > 1", 5, "this is text", "min needs a number"),
        ("max('a') > 1", 5, "this is text", "max needs a list"),
        ("starts_with(a, 1)", 16, "this is a number", "starts_with needs text"),
        ("a == [1 + 'x']", 11, "this is text", "needs a number"),
        ("(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1), MAX_DEPTH + 1, "nested", "flatter"),
        ("not " * (MAX_DEPTH + 1) + "a", MAX_DEPTH * 4 + 1, "nested", "flatter"),
        ("-" * (MAX_DEPTH + 1) + "a > 1", MAX_DEPTH + 1, "nested", "flatter"),
        (".".join("a" * (MAX_DEPTH + 1)) + " > 1", 1, "nested", "flatter"),
        ("a in [" + "1," * MAX_LIST + "1]", 6, "101 items", "at most 100"),
        ("a" * (MAX_SOURCE + 1), MAX_SOURCE + 1, "1001 characters", "at most 1000"),
    ],
)
def test_what_is_no_rule_says_where_and_what_would_be(source: str, column: int, what: str, fix: str) -> None:
    with pytest.raises(RuleSyntaxError) as caught:
        compile_rule(source)
    assert caught.value.column == column
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert isinstance(caught.value, Misuse)


def test_the_largest_rules_that_are_allowed_are_decided() -> None:
    assert holds("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH, a=True)
    assert holds("a in [" + "1," * (MAX_LIST - 1) + "7]", a=7)
    assert holds("a" + "+1" * 490 + " == 490", a=0)
    assert holds("a" + " and a" * 165, a=True)
    assert holds("1" + "<a" * 499, a=2) is False


def test_a_rule_tells_which_arguments_it_uses() -> None:
    rule = compile_rule('given(coupon) and coupon > 1 or -customer.tier in [x, len(y)] or not z == "no"')
    assert rule.names == {"coupon", "customer", "x", "y", "z"}
    assert rule.paths == {"coupon", "customer.tier", "x", "y", "z"}
    assert rule.guarded == {"coupon"}
    assert rule == compile_rule(rule.source)
    assert isinstance(rule, Rule)


def test_any_mapping_will_do() -> None:
    assert compile_rule("a.b == 1").holds(MappingProxyType({"a": MappingProxyType({"b": 1})}))
    assert compile_rule("len(a) == 1").holds(MappingProxyType({"a": MappingProxyType({"b": 1})}))


# ---------------------------------------------------------------------------------------- against Python

NUMBERS = st.integers(-20, 20) | st.floats(-20, 20, allow_nan=False).map(lambda number: round(number, 3))
TEXTS = st.text("abXY", max_size=4)
ARGS = st.fixed_dictionaries({"n": NUMBERS, "m": NUMBERS, "t": TEXTS, "u": TEXTS, "f": st.booleans()})


def number_sources() -> st.SearchStrategy[str]:
    leaves = st.sampled_from(["n", "m", "len(t)"]) | st.integers(0, 9).map(str)
    return st.recursive(
        leaves,
        lambda inner: (
            st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "%"]), inner).map(" ".join)
            | inner.map("({})".format)
            | inner.map("- {}".format)
            | inner.map("abs({})".format)
            | st.tuples(inner, inner).map(lambda pair: f"max({pair[0]}, {pair[1]})")
        ),
        max_leaves=6,
    )


def rule_sources() -> st.SearchStrategy[str]:
    compare = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    texts = st.sampled_from(["t", "u", "'a'", '"bX"'])
    leaves = (
        st.tuples(number_sources(), compare, number_sources()).map(" ".join)
        | st.tuples(number_sources(), compare, number_sources(), compare, number_sources()).map(" ".join)
        | st.tuples(texts, compare | st.sampled_from(["in", "not in"]), texts).map(" ".join)
        | st.tuples(texts, st.sampled_from(["in", "not in"]), st.lists(texts, min_size=1, max_size=3)).map(
            lambda parts: f"{parts[0]} {parts[1]} [{', '.join(parts[2])}]"
        )
        | st.just("f")
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join)
            | inner.map("not {}".format)
            | inner.map("({})".format)
        ),
        max_leaves=5,
    )


def python_says(source: str, args: Mapping[str, Any]) -> bool:
    return bool(eval(source, {"__builtins__": {}}, {**args, "len": len, "abs": abs, "max": max}))


@settings(max_examples=500)
@given(rule_sources(), ARGS)
def test_what_python_can_decide_is_decided_alike(source: str, args: dict[str, Any]) -> None:
    rule = compile_rule(source)
    try:
        expected = python_says(source, args)
    except ZeroDivisionError:
        with pytest.raises(RuleUndecided, match="division by zero"):
            rule.holds(args)
        return
    assert rule.holds(args) is expected


# ----------------------------------------------------------------------------------------------- fuzzing

WORDS = st.sampled_from(
    [
        "and",
        "or",
        "not",
        "in",
        "true",
        "null",
        "a",
        "b.c",
        "len",
        "given",
        "(",
        ")",
        "[",
        "]",
        ",",
        "-",
        "*",
        "/",
        "%",
        "<",
        "==",
        "!=",
        "'x'",
        "1",
        "2.5",
        "=",
        "max",
        ".",
        '"',
        "0",
        "1e300",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["c", "d"]), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=500)
@given(st.text(max_size=1100) | st.lists(WORDS, max_size=40).map(" ".join), JSON, JSON)
def test_no_text_and_no_arguments_raise_anything_else(source: str, a: object, b: object) -> None:
    try:
        rule = compile_rule(source)
    except RuleSyntaxError as error:
        assert 1 <= error.column <= len(source) + 1
        return
    with contextlib.suppress(RuleUndecided):
        assert rule.holds({"a": a, "b": b}) in (True, False)


@given(JSON, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), JSON)
def test_a_comparison_is_decided_only_between_equal_kinds(left: object, operator: str, right: object) -> None:
    try:
        decided = holds(f"a {operator} b", a=left, b=right)
    except RuleUndecided:
        return
    assert type(left) is type(right) or {type(left), type(right)} == {int, float}
    assert decided is python_says(f"a {operator} b", {"a": left, "b": right})
