"""The parts of a policy: where values can be, what a conversation looks like in short, and what is said of it."""

from typing import Any

import pytest

from plimsoll.core.errors import Misuse
from plimsoll.learning.conversations import Made
from plimsoll.learning.policy.answers import LABEL, check_templates, look_of, looks_done, report
from plimsoll.learning.policy.candidates import Words, cased, fitted, key_of, leaves, outline, shape, spans, words
from plimsoll.learning.policy.course import NOTHING_YET, course, summary

pytestmark = pytest.mark.heavy  # the package imports ONNX Runtime


def made(result: Any, tool: str = "get_order", **arguments: Any) -> Made:
    return Made(tool=tool, arguments=arguments, result=result)


def test_the_course_is_the_last_three_calls_the_latest_first() -> None:
    assert course([]) == NOTHING_YET
    calls = [made({"status": each}) for each in ("old", "pending", "sent")] + [made("no such order, at all")]
    assert course(calls) == "get order: no such order, at all. get order: status sent. get order: status pending"


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"order_id": "#W1", "status": "sent", "note": "a b c d e", "n": 3}, "status sent"),
        ({"order_id": "#W1"}, "ok"),
        ({f"k{at}": "x" for at in range(9)}, "k0 x, k1 x, k2 x"),
        ("anna_1", "ok"),
        ("the shop has no such order of that customer now", "the shop has no such order of that"),
        ([], "none"),
        (None, "none"),
        (12.5, "ok"),
    ],
)
def test_a_result_is_told_by_its_words(result: Any, said: str) -> None:
    assert summary(result) == said


@pytest.mark.parametrize(
    ("value", "looks"),
    [("#W2378156", "#A9"), ("Anna", "Aa"), ("San Antonio", "Aa+"), ("it came too late", "a+"), (2.5, "9.9"), ("", "")],
)
def test_a_shape_is_what_a_value_looks_like(value: Any, looks: str) -> None:
    assert shape(value) == looks


def test_capitals_are_put_where_values_have_them() -> None:
    seen = frozenset({"Aa"})
    assert [cased(text, seen) for text in ("anna", "ANNA", "Anna", "4711")] == ["Anna", "Anna", "Anna", "4711"]
    assert cased("anna", frozenset()) == "anna"


@pytest.mark.parametrize(
    ("value", "kinds", "said"),
    [
        ("12", ["string"], "12"),
        ("$1,320.50", ["number"], 1320.5),
        ("12", ["number"], 12),
        ("12a", ["number"], None),
        (12, ["string"], "12"),
        ("a", ["number"], None),
        (True, ["number"], None),
    ],
)
def test_a_value_is_taken_as_the_type_that_is_wanted(value: Any, kinds: list[str], said: Any) -> None:
    assert fitted(value, kinds) == said and isinstance(fitted(value, kinds), bool) is False


def test_an_outline_is_what_holds_a_value_together() -> None:
    assert [outline(each) for each in ("kim.lee7@example.com", "kim.lee@example.com", "4711", "a b-c")] == [
        ".@",
        ".@",
        "",
        " -",
    ]


def test_equal_numbers_are_one_value() -> None:
    assert key_of(12) == key_of(12.0) != key_of("12")


def test_spans_are_runs_of_whole_words() -> None:
    found = spans(Words("ship to El Paso", (1, 2, 3, 4), (1, 2, 3, 6), (0, 5, 8, 11), (4, 7, 10, 15)))
    assert len(found) == 10
    (city,) = (span for span in found if span.value == "El Paso")
    assert (city.first, city.last, city.shape) == (3, 6, "Aa+")


def test_leaves_have_paths_that_are_the_same_for_every_customer() -> None:
    item = {"item_id": "77", "name": "Desk Lamps", "options": {"colour": "red"}, "in_stock": True}
    found = leaves([made({"items": [item], "cards": {"card_1": {"id": "card_1"}}, "note": None})])
    by_path = {leaf.path: leaf for leaf in found}
    assert set(by_path) == {
        "get_order.items.*.item_id",
        "get_order.items.*.name",
        "get_order.items.*.options.colour",
        "get_order.items.*.in_stock",
        "get_order.cards.*.id",
    }
    assert {"desk", "lamp", "red"} <= by_path["get_order.items.*.item_id"].context


def test_a_map_from_names_is_one_path_with_the_names_beside() -> None:
    found = leaves([made({f"Thing {'abcdefghijklmnop'[at]}x": str(at) for at in range(16)})])
    assert {leaf.path for leaf in found} == {"get_order.*"}
    assert "thing" in found[0].context


def test_hostile_results_are_bounded() -> None:
    assert len(leaves([made(list(range(5000)))])) == 1000
    assert leaves([made("x" * 1000)]) == []
    assert words("Orders of LAMPS, 12") == {"order", "lamp"}


OK = look_of([{"id": "1", "status": "sent"}, {"id": "2", "status": "sent", "more": 1}])


@pytest.mark.parametrize(
    ("result", "look", "done"),
    [
        ({"id": "3", "status": "x"}, OK, True),
        ({"id": "3"}, OK, False),
        ({"id": "3", "status": "x", "error": "no"}, OK, False),
        ("the shop refused: it is gone", OK, False),
        ("anna_1", look_of(["bob_2"]), True),
        ("the shop refused: it is gone", look_of(["bob_2"]), False),
        ("12.5", look_of([3.5]), True),
        ({"id": "3"}, None, False),
        ("12", None, False),
    ],
)
def test_a_result_looks_done_where_it_looks_like_those_that_were(result: Any, look: Any, done: bool) -> None:
    assert looks_done(result, look) is done


def test_what_is_said_claims_nothing_that_no_result_shows() -> None:
    looks, templates = {"pay": OK}, {"pay": "I have paid: {{ result.status }}."}
    good, bad = made({"id": "1", "status": "sent"}, "pay"), made("the shop refused: it is gone", "pay")
    assert report([good], looks=looks, templates=templates) == (
        f"{LABEL} I have paid: sent.\nNothing else was changed."
    )
    other = made({"id": "2", "status": "on its way"}, "pay")
    both = report([good, made("1", "look"), other, good], looks=looks, templates=templates, reads=["look"])
    assert both == f"{LABEL} I have paid: sent. I have paid: on its way.\nNothing else was changed.", "each call, once"
    assert "look:" in report([good, bad, made("1", "look"), other], looks=looks, templates=templates), "one has failed"
    told = report([bad], looks=looks, templates=templates)
    assert "paid" not in told and "no clear result (the shop refused: it is gone)" in told
    assert "paid" not in report([good], looks={}, templates=templates)
    assert "changed nothing" in report([], looks=looks, templates=templates)


def test_what_the_rest_of_the_conversation_changed_is_named_too() -> None:
    looks = {"pay": OK, "look": OK}
    paid, seen = made({"id": "7", "status": "done"}, "pay"), made({"id": "1", "status": "sent"}, "look")
    told = report([], looks=looks, templates={}, reads=["look"], others=[seen, paid])
    assert told.endswith("\n- pay: id 7, status done\nNothing else was changed.") and "changed nothing" not in told
    again = made({"id": "8", "status": "done"}, "pay")
    told = report([again], looks=looks, templates={"pay": "Paid {{ result.id }}."}, others=[paid])
    assert told == f"{LABEL} Paid 8.\n- pay: id 7, status done\nNothing else was changed."


def test_what_may_have_changed_something_is_always_named() -> None:
    seen, paid = made({"id": "1", "status": "sent"}, "look"), made({"id": "7", "status": "done"}, "pay")
    looks, templates = {"look": OK, "pay": OK}, {"look": "It is {{ result.status }}."}
    told = report([paid, seen], looks=looks, templates=templates, reads=["look"])
    assert told == f"{LABEL} It is sent.\n- pay: id 7, status done\nNothing else was changed."
    assert report([seen], looks=looks, templates=templates, reads=["look"]) == (
        f"{LABEL} It is sent.\nNothing was changed."
    )
    many = [paid, *[made({"id": str(n), "status": "sent"}, "look") for n in range(9)]]
    assert "- pay: id 7" in report(many, looks=looks, templates={}, reads=["look"]), "however long ago"


@pytest.mark.parametrize(
    "template", ["{{ result.none }}", "{{ result.id + 1 }}", "{{ 1 / 0 }}", "{{ result.__class__.x }}", " "]
)
def test_a_template_that_cannot_be_filled_is_not_used(template: str) -> None:
    told = report([made({"id": "1", "status": "sent"}, "pay")], looks={"pay": OK}, templates={"pay": template})
    assert "- pay: id 1, status sent" in told


def test_a_template_that_is_none() -> None:
    with pytest.raises(Misuse, match="the template for pay cannot be read"):
        check_templates({"pay": "{% if %}"})


def test_keys_that_are_data_are_no_part_of_a_path() -> None:
    products = {"Trail Lantern": "2045110026", "Rain Jacket": "2045110034"}
    address = {"address1": "14 Harbour Lane", "address2": "", "zip": "97205"}
    methods = {"gift_card_4100039": {"balance": 60.0}}
    found = leaves([Made(tool="look", arguments={}, result=each) for each in (products, address, methods)])
    assert [(leaf.path, leaf.value, sorted(leaf.context)) for leaf in found] == [
        ("look.*", "2045110026", ["lantern", "trail"]),
        ("look.*", "2045110034", ["jacket", "rain"]),
        ("look.address1", "14 Harbour Lane", ["harbour", "lane"]),
        ("look.address2", "", ["harbour", "lane"]),
        ("look.zip", "97205", ["harbour", "lane"]),
        ("look.*.balance", 60.0, ["card", "gift"]),
    ]
