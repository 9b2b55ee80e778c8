"""What a model of one's own is told of conversations that hold more than texts, in each framework's own words."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, ModelRetry
from pydantic_ai.messages import ModelResponse, ThinkingPart, ToolCallPart
from pydantic_ai.messages import TextPart as Text
from pydantic_ai.models import ModelRequestParameters

from plimsoll.adapters.common.local import LocalModels, answered, texts_alone
from plimsoll.adapters.langgraph.local import OwnChatModel
from plimsoll.adapters.openai_agents.local import OwnModel as OfAgents
from plimsoll.adapters.plain import own_function
from plimsoll.adapters.pydantic_ai.local import OwnModel
from plimsoll.contract.model import AgentSection, Contract, Model
from plimsoll.core.errors import OutputRejected
from plimsoll.learning.errors import NotSure
from plimsoll.learning.local import LocalCall, LocalReply


class Own:
    """Says the next of its replies, and keeps what it was told."""

    digest = "ab" * 32

    def __init__(self, *replies: LocalReply) -> None:
        self._replies = list(replies)
        self.told: list[list[dict[str, Any]]] = []
        self.tools: list[str] = []

    async def reply(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> LocalReply:
        self.told.append([dict(message) for message in messages])
        self.tools = [tool["function"]["name"] for tool in tools]
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]


SAID = LocalReply(text="Yes.")


class Order(BaseModel):
    """What an agent answers with."""

    order_id: str


# ---------------------------------------------------------------------------------------------------- pydantic ai


def test_pydantic_data_is_a_call_of_the_output_tool() -> None:
    own = Own(LocalReply(calls=(LocalCall("final_result", {"order_id": "W1"}),)))
    agent = Agent(OwnModel(own, "own"), output_type=Order, instructions="Find it.")
    assert asyncio.run(agent.run("Which?")).output == Order(order_id="W1")
    assert own.tools == ["final_result"]
    assert own.told[0] == [{"role": "system", "content": "Find it."}, {"role": "user", "content": "Which?"}]


def test_pydantic_words_are_no_data() -> None:
    agent = Agent(OwnModel(Own(SAID), "own"), output_type=Order)
    with pytest.raises(OutputRejected, match="answers with data"):
        asyncio.run(agent.run("Which?"))


def test_pydantic_a_tool_that_wants_another_try_is_told() -> None:
    own = Own(LocalReply(calls=(LocalCall("look", {"order": "W9"}),)), SAID)
    agent = Agent(OwnModel(own, "own"))

    @agent.tool_plain
    def look(order: str) -> str:
        """Looks."""
        raise ModelRetry(f"there is no {order}")

    assert asyncio.run(agent.run("Where is W9?")).output == "Yes."
    *_, asked, told = own.told[-1]
    assert told["role"] == "tool" and told["tool_call_id"] == asked["tool_calls"][0]["id"]
    assert "there is no W9" in told["content"]


def test_pydantic_what_another_model_thought_is_left_out() -> None:
    own = Own(SAID)
    call = ToolCallPart("look", {"order": "W1"}, "c1")
    history = [
        *asyncio.run(Agent(OwnModel(Own(SAID), "own")).run("First")).all_messages()[:1],
        ModelResponse(parts=[ThinkingPart("hm"), Text("Let me see."), call]),
    ]
    model = OwnModel(own, "own")
    parameters = ModelRequestParameters()
    asyncio.run(model.request(model.prepare_messages(history, parameters), None, parameters))
    assert own.told[0][-1]["content"] == "Let me see."
    assert own.told[0][-1]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"order":"W1"}'}


def test_pydantic_it_declines_an_image() -> None:
    agent = Agent(OwnModel(Own(SAID), "own"))
    with pytest.raises(NotSure, match="it reads texts alone, and this is a BinaryContent"):
        asyncio.run(agent.run(["What is this?", BinaryContent(b"png", media_type="image/png")]))
    assert asyncio.run(agent.run(["One.", "Two."])).output == "Yes."


# ------------------------------------------------------------------------------------------------------ langchain


def ask(own: Own, *messages: Any, **bound: Any) -> AIMessage:
    model: Any = OwnChatModel(own=own, rung="own")
    return asyncio.run((model.bind(**bound) if bound else model).ainvoke(list(messages)))  # type: ignore[no-any-return]


def test_langchain_blocks_of_text_are_text_and_thoughts_are_left_out() -> None:
    own = Own(SAID)
    thought = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "Let me see."}]
    call = {"name": "look", "args": {"order": "W1"}, "id": "c1"}
    answer = ask(
        own,
        SystemMessage("Help."),
        HumanMessage([{"type": "text", "text": "One."}, "Two."]),
        AIMessage(thought, tool_calls=[call]),
        ToolMessage("on its way", tool_call_id="c1"),
    )
    assert answer.text == "Yes." and answer.response_metadata["model_name"] == "own@abababababab"
    assert [message["content"] for message in own.told[0]] == ["Help.", "One.\nTwo.", "Let me see.", "on its way"]
    assert own.told[0][2]["tool_calls"][0]["id"] == own.told[0][3]["tool_call_id"] == "c1"


def test_langchain_it_declines_an_image() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    with pytest.raises(NotSure, match="texts alone"):
        ask(Own(SAID), HumanMessage([{"type": "text", "text": "What is this?"}, image]))


def test_langchain_words_are_no_data() -> None:
    with pytest.raises(OutputRejected, match="answers with data"):
        ask(Own(SAID), HumanMessage("Which?"), tool_choice="any", tools=[])
    assert ask(Own(LocalReply(text="{}")), HumanMessage("Which?"), response_format={"type": "json_object"}).text == "{}"


def test_langchain_tools_of_a_provider_are_not_offered() -> None:
    own = Own(SAID)
    look = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    ask(own, HumanMessage("Where?"), tools=[look, {"type": "web_search"}])
    assert own.tools == ["look"]


# --------------------------------------------------------------------------------------------------- agents SDK


def test_agents_items_are_messages_and_a_hand_over_is_a_tool() -> None:
    from agents import Agent as SdkAgent
    from agents import WebSearchTool, function_tool, handoff

    @function_tool
    def look(order: str) -> str:
        """Looks."""
        return order

    own = Own(SAID)
    items = [
        {"role": "user", "content": "Where is W1?"},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"order": "W1"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "on its way"},
    ]
    tools, handoffs = [look, WebSearchTool()], [handoff(SdkAgent(name="billing"))]
    asked = OfAgents(own, "own").get_response("Help.", items, None, tools, None, handoffs, None)
    assert asyncio.run(asked).response_id == "own@abababababab"
    assert [message["role"] for message in own.told[0]] == ["system", "user", "assistant", "tool"]
    assert own.tools == ["look", "transfer_to_billing"]


# --------------------------------------------------------------------------------------------------------- plain


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("Where?", [{"role": "user", "content": "Where?"}]),
        ({"say": "where"}, [{"role": "user", "content": '{"say":"where"}'}]),
        ([], [{"role": "user", "content": "[]"}]),
        ([{"role": "user", "content": "Where?"}], [{"role": "user", "content": "Where?"}]),
        ({"messages": [{"role": "user", "content": "Where?"}]}, [{"role": "user", "content": "Where?"}]),
    ],
)
def test_plain_a_prompt_is_a_conversation_or_what_a_user_says(prompt: Any, told: Any) -> None:
    own = Own(SAID)
    ask_it: Any = own_function(own)
    assert asyncio.run(ask_it(prompt)).text == "Yes."
    assert (own.told, own.tools) == ([told], [])


def test_plain_calls_of_one_answer_have_ids_of_their_own() -> None:
    look = {"type": "function", "function": {"name": "look", "parameters": {}}}
    twice = LocalReply(calls=(LocalCall("look", {"order": "W1"}), LocalCall("look", {"order": "W1"})))
    ask_it: Any = own_function(Own(twice))
    prompt = {"messages": [{"role": "user", "content": "Where?"}], "tools": [look]}
    first, again = (asyncio.run(ask_it(prompt)).tool_calls for _ in range(2))
    assert first == again and first[0]["id"] != first[1]["id"]
    assert first[0]["function"] == {"name": "look", "arguments": '{"order":"W1"}'}


# -------------------------------------------------------------------------------------------------------- common


def test_those_behind_an_address_are_not_here() -> None:
    models = {
        "primary": Model(fallback=("own", "far")),
        "own": Model(local="models/a"),
        "far": Model(local="http://127.0.0.1:8000/v1"),
    }
    contract = Contract(agent=AgentSection(name="desk"), models=models)
    given = {"own": Own(SAID), "far": Own(SAID), "primary": "openai:gpt-5"}
    local = LocalModels(contract, given, directory=None)  # type: ignore[arg-type]
    assert local.digests() == {"own": "ab" * 32} and local.get("far") is given["far"]
    assert local.get("primary") is None


def test_thoughts_of_others_are_no_reason_to_decline_and_what_users_send_is() -> None:
    async def main(role: str) -> LocalReply:
        return await answered(Own(SAID), [{"role": role, "content": [{"type": "audio"}]}], [], rung="own")

    assert asyncio.run(main("assistant")) == SAID
    with pytest.raises(NotSure, match="audio"):
        asyncio.run(main("user"))
    assert texts_alone("x").probability is None
