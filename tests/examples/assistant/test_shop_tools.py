"""The tools as an agent is given them, and the calculator."""

from typing import Any

import pytest

from examples.assistant.shop import Shop, ShopRefusal
from examples.assistant.tools import TOOLS, call

READS = {
    "find_user_id_by_email",
    "find_user_id_by_name_zip",
    "get_user_details",
    "get_order_details",
    "get_product_details",
    "list_all_product_types",
    "calculate",
    "think",
}
WRITES = {
    "transfer_to_human_agents",
    "cancel_pending_order",
    "modify_pending_order_address",
    "modify_pending_order_payment",
    "modify_pending_order_items",
    "modify_user_address",
    "return_delivered_order_items",
    "exchange_delivered_order_items",
    "issue_refund",
}


def test_each_tool_says_what_it_does_to_the_world() -> None:
    assert {name for name, spec in TOOLS.items() if spec.effect == "read"} == READS
    assert {name for name, spec in TOOLS.items() if spec.effect == "write"} == WRITES


@pytest.mark.parametrize("name", sorted(READS | WRITES))
def test_each_tool_and_parameter_is_described(name: str) -> None:
    spec = TOOLS[name]
    assert spec.name == name
    assert spec.description.endswith(".")
    assert "\n" not in spec.description
    assert "key" not in spec.parameters["properties"]
    for schema in spec.parameters["properties"].values():
        assert schema["description"].endswith(".")


def test_the_schema_of_a_tool() -> None:
    assert TOOLS["cancel_pending_order"].parameters == {
        "type": "object",
        "properties": {
            "order_id": {
                "type": "string",
                "description": "The order id with its leading '#', such as '#W7001001'.",
            },
            "reason": {
                "type": "string",
                "enum": ["no longer needed", "ordered by mistake"],
                "description": "Why the customer cancels.",
            },
        },
        "required": ["order_id", "reason"],
        "additionalProperties": False,
    }
    swap = TOOLS["modify_pending_order_items"].parameters["properties"]
    assert (swap["item_ids"]["type"], swap["item_ids"]["items"]) == ("array", {"type": "string"})
    assert TOOLS["issue_refund"].parameters["properties"]["amount"]["type"] == "number"
    assert TOOLS["list_all_product_types"].parameters["required"] == []


def test_a_call_by_name_reads_or_records_the_key(shop: Shop) -> None:
    order = call(shop, "get_order_details", {"order_id": "#W7001002"}, key="unused")
    assert order["status"] == "pending"
    arguments = {"order_id": "#W7001002", "reason": "no longer needed"}
    cancelled = call(shop, "cancel_pending_order", arguments, key="k")
    found = shop.find_effect("k")
    assert found is not None
    assert found.result == cancelled
    assert list(call(shop, "list_all_product_types", {}))[:2] == ["Ceramic Planter", "Coffee Grinder"]


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("delete_everything", {}, "no tool 'delete_everything'"),
        ("copy", {}, "no tool 'copy'"),
        ("get_order_details", {}, "needs order_id"),
        ("get_order_details", {"order_id": "#W7001001", "verbose": True}, "takes no 'verbose'"),
        ("transfer_to_human_agents", {"summary": "x", "key": "k"}, "takes no 'key'"),
        ("get_order_details", {"order_id": 7001001}, "order_id cannot be 7001001"),
        ("get_order_details", {"order_id": None}, "order_id cannot be None"),
        ("cancel_pending_order", {"order_id": "#W7001002", "reason": "bored"}, "reason cannot be 'bored'"),
        (
            "return_delivered_order_items",
            {"order_id": "#W7001001", "item_ids": "2045100102", "payment_method_id": "x"},
            "item_ids cannot be '2045100102'",
        ),
        (
            "return_delivered_order_items",
            {"order_id": "#W7001001", "item_ids": [2045100102], "payment_method_id": "x"},
            r"item_ids cannot be \[2045100102\]",
        ),
        (
            "issue_refund",
            {"order_id": "#W7001001", "amount": True, "payment_method_id": "x", "reason": "y"},
            "amount cannot be True",
        ),
        (
            "issue_refund",
            {"order_id": "#W7001001", "amount": 10**400, "payment_method_id": "x", "reason": "y"},
            "not an amount",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(shop: Shop, name: str, arguments: dict[str, Any], why: str) -> None:
    before = shop.image()
    with pytest.raises(ShopRefusal, match=why):
        call(shop, name, arguments)
    assert shop.image() == before


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("164.28", 164.28),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * -4", -20),
        ("155.33 - 147.05 + 268.77 - 235.13", 41.92),
        (" 10 / 3 ", 3.33),
        ("+.5", 0.5),
        ("-" * 199 + "1", -1),
        ("(" * 90 + "7" + ")" * 90, 7),
        ("1" + "0" * 99 + "/." + "0" * 97 + "1", 1e197),
    ],
)
def test_arithmetic_is_calculated(shop: Shop, expression: str, value: float) -> None:
    assert shop.calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "   ",
        "1 +",
        "()",
        "1(2)",
        "price",
        "__import__('os')",
        "(1).real",
        "1 if 1 else 2",
        "1or 2",
        "0x10",
        "1e400",
        "1j",
        "[1]",
        "1, 2",
        "'a' * 9",
        "2 ** 8",
        "9**9**9**9",
        "7 // 2",
        "7 % 2",
        "1 / 0",
        "1\n+ 1",
        "1\x00",
        "٣ + 1",
        "1 / (2 - 2)",
        "9" * 201,
        "(" * 150 + "1" + ")" * 150,
    ],
)
def test_whatever_else_is_refused(shop: Shop, expression: str) -> None:
    with pytest.raises(ShopRefusal):
        shop.calculate(expression)
