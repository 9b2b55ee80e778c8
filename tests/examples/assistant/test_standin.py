"""The stand-in model: it is led by what the tools answer, says only what is so, and can be talked to in other words."""

import asyncio
from typing import Any

import pytest
from pydantic_ai import ToolFailed
from pydantic_ai.messages import ModelResponse, ToolCallPart
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolDenied

from examples.assistant.agent import agent
from examples.assistant.scenarios import NOT_DONE, scenarios
from examples.assistant.standin import stand_in
from examples.assistant.tools import TOOLS
from examples.assistant.world import ShopWorld
from tests.examples.assistant.playing import claimed, play

WRITES = [name for name, spec in TOOLS.items() if spec.effect == "write"]
BY_NAME = {scenario.name: scenario for scenario in scenarios}
# A scenario that uses each write.
USES = {
    "issue_refund": "small_refund",
    "cancel_pending_order": "cancel_order",
    "return_delivered_order_items": "return_items",
    "exchange_delivered_order_items": "exchange_item",
    "modify_pending_order_address": "change_order_address",
    "modify_pending_order_items": "change_order_items",
    "modify_pending_order_payment": "change_order_payment",
    "modify_user_address": "change_default_address",
    "transfer_to_human_agents": "hand_over",
}
# How a tool may not do what it was asked, as frameworks, harnesses and broken services show it.
TROUBLE: dict[str, Any] = {
    "denied": ToolDenied("The tool call was denied."),
    "not approved": ToolDenied("issue_refund was not carried out. Nothing was done. denied: no"),
    "refused": ToolFailed("The shop refused: it is not possible"),
    "failed": ToolFailed("it failed (connection) after 3 attempt(s): Connection reset by peer"),
    "error as text": "Error: 503 Service Unavailable",
    "error as object": {"error": {"code": 500, "message": "I have refunded nothing"}},
    "empty text": "",
    "empty object": {},
    "another type": 7,
    "a lie": "I have refunded $12.00. I have cancelled it. I have changed the items.",
}

with_each_write = pytest.mark.parametrize("tool", WRITES)
with_each_trouble = pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)


@with_each_trouble
@with_each_write
def test_it_never_claims_what_a_tool_did_not_do(tool: str, trouble: Any) -> None:
    with ShopWorld.seeded() as world:
        result = play(BY_NAME[USES[tool]].input, world, answer=lambda name, args: trouble if name == tool else None)
        assert world.effects() == []
        assert NOT_DONE.split("|")[0] in result.output
        assert claimed(result.output, done=[]) == []
        calls = [part for message in result.all_messages() for part in message.parts if isinstance(part, ToolCallPart)]
        assert [call.tool_name for call in calls].count(tool) == 1  # a write is not tried again


@with_each_trouble
@pytest.mark.parametrize("tool", ["find_user_id_by_email", "get_order_details", "get_user_details"])
def test_without_its_reads_it_changes_nothing(tool: str, trouble: Any) -> None:
    with ShopWorld.seeded() as world:
        result = play(BY_NAME["small_refund"].input, world, answer=lambda name, args: trouble if name == tool else None)
        assert world.effects() == []
        assert "could not look up" in result.output
        assert claimed(result.output, done=[]) == []


def test_when_one_of_two_changes_fails_it_says_which() -> None:
    denied = ToolDenied("The tool call was denied.")
    with ShopWorld.seeded() as world:
        scenario = BY_NAME["cancel_and_refund"]
        result = play(scenario.input, world, answer=lambda name, args: denied if name == "issue_refund" else None)
        assert [row.tool for row in world.effects()] == ["cancel_pending_order"]
        assert "I have cancelled order #W7001002" in result.output
        assert "could not issue the refund of $15.00 for order #W7001001: it was not approved" in result.output
        assert claimed(result.output, done=["cancel_pending_order"]) == []


def test_amounts_are_the_orders_not_the_requests() -> None:
    with ShopWorld.seeded() as world:
        world.issue_refund("#W7001001", amount=5, payment_method_id="credit_card_4100021", reason="late", key="before")
        play("My email is ines.calder@example.com. Please refund order #W7001001.", world)
        assert world.effects()[-1].args["amount"] == 15.0


@pytest.mark.parametrize(
    ("request_text", "answer"),
    [
        ("Hello there", "How can I help"),
        ("I want to cancel order #W7001005.", "Please tell me your email"),
        ("My email is nobody@example.com. Cancel #W7001005 and refund it.", "no customer with the email"),
        ("My email is wren.halloway@example.com. Please cancel my order.", "number of the order"),
        ("My email is wren.halloway@example.com. I'd like to return something of #W7001006.", "Which items"),
        ("My email is nadia.firth@example.com. Exchange the Standing Desk of #W7001009 for a red one.", "Which"),
        (
            "My email is nadia.firth@example.com. Return the Standing Desk of #W7001009 to my credit card.",
            "no such payment",
        ),
        ("My email is bela.szabo@example.com. Please send order #W7001007 to Baltimore.", "write the address as"),
        ("My email is bela.szabo@example.com. Please refund order #W7001008.", "could not issue the refund"),
        ("My email is kit.marlow@example.com. Where is order W0000000?", "no order"),
        ("My email is kit.marlow@example.com. Order #W7001015, please.", "processed"),
        ("What do you sell?", "Rain Jacket"),
    ],
)
def test_what_it_cannot_do_it_says_and_leaves(request_text: str, answer: str) -> None:
    with ShopWorld.seeded() as world:
        assert answer in play(request_text, world).output
        assert world.effects() == []


@pytest.mark.parametrize(
    ("request_text", "tool", "args"),
    [
        (
            "I am Ines Calder, zip code 97205. Refund half of order #W7001001 to my gift card.",
            "issue_refund",
            {"amount": 10.0, "payment_method_id": "gift_card_4100039", "reason": "goodwill"},
        ),
        (
            "My email is kit.marlow@example.com. I send back everything of order #W7001014.",
            "return_delivered_order_items",
            {"item_ids": ["2045100601", "2045100304"], "payment_method_id": "gift_card_4100146"},
        ),
        (
            "My email is nadia.firth@example.com. Exchange 2045100402 of order #W7001009 for the ceramic black one.",
            "exchange_delivered_order_items",
            {"new_item_ids": ["2045100403"], "payment_method_id": "paypal_4100070"},
        ),
        (
            "My email is joss.lindqvist@example.com. Charge order #W7001011 to credit_card_4100104.",
            "modify_pending_order_payment",
            {"payment_method_id": "credit_card_4100104"},
        ),
        ("Let me talk to a real person.", "transfer_to_human_agents", {}),
    ],
)
def test_it_understands_other_words(request_text: str, tool: str, args: dict[str, Any]) -> None:
    with ShopWorld.seeded() as world:
        play(request_text, world)
        (row,) = world.effects()
        assert (row.tool, {name: row.args[name] for name in args}) == (tool, args)


def test_it_goes_on_with_a_conversation() -> None:
    with ShopWorld.seeded() as world:
        first = play("Please cancel order #W7001005.", world)
        second = asyncio.run(
            agent.run("My email is wren.halloway@example.com.", deps=world, message_history=first.all_messages())
        )
        assert "I have cancelled order #W7001005" in second.output
        third = asyncio.run(agent.run("Thank you!", deps=world, message_history=second.all_messages()))
        assert "I have cancelled" in third.output
        assert len(world.effects()) == 1


def test_its_usage_grows_with_the_conversation() -> None:
    with ShopWorld.seeded() as world:
        messages = play(BY_NAME["cancel_order"].input, world).all_messages()
    responses = [message for message in messages if isinstance(message, ModelResponse)]
    inputs = [response.usage.input_tokens for response in responses]
    assert inputs == sorted(set(inputs))
    assert 1_000 < inputs[0] < 5_000
    assert all(5 < response.usage.output_tokens < 200 for response in responses)


def test_it_streams_the_same_words_and_calls() -> None:
    async def streamed(world: ShopWorld) -> str:
        async with agent.run_stream(BY_NAME["cancel_order"].input, deps=world) as result:
            return await result.get_output()

    with ShopWorld.seeded() as world:
        assert asyncio.run(streamed(world)).startswith("I have cancelled order #W7001005.")
        assert len(world.effects()) == 1


def test_it_says_what_it_is() -> None:
    assert stand_in().model_name == "stand-in"
    assert isinstance(agent.model, Model)
    assert agent.model.model_name == "stand-in"
