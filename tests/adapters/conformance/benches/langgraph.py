"""The shop assistant by `langchain.agents.create_agent`."""

from collections.abc import AsyncIterator
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.prebuilt import ToolRuntime

from plimsoll.adapters import langgraph as adapter
from plimsoll.adapters.langgraph import Hardening
from tests.adapters.conformance.desk import Answer, Heard, Script, Shop


class Scripted(BaseChatModel):
    """A chat model that follows a script."""

    script: Any

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self.bind(**options)

    def _generate(self, *args: Any, **options: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        answer = await self.script.answer(heard(messages))
        return ChatResult(generations=[ChatGeneration(message=message_of(answer))])

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **options: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        message = message_of(await self.script.answer(heard(messages)))
        whole = message.model_dump() | {"type": "AIMessageChunk"}
        for word in str(message.text).split(" ")[:-1]:
            yield ChatGenerationChunk(message=AIMessageChunk(f"{word} "))
        last = str(message.text).rpartition(" ")[2]
        yield ChatGenerationChunk(message=AIMessageChunk(**{**whole, "content": last}))


def heard(messages: list[BaseMessage]) -> Heard:
    return Heard(
        asked=next(str(message.text) for message in messages if isinstance(message, HumanMessage)),
        results=[(message.name or "", str(message.text)) for message in messages if isinstance(message, ToolMessage)],
        turn=sum(isinstance(message, AIMessage) for message in messages),
    )


def message_of(answer: Answer) -> AIMessage:
    calls = [{"name": call.tool, "args": dict(call.args), "id": call.id} for call in answer.calls]
    options: dict[str, Any] = {"tool_calls": calls}
    if answer.broken:
        invalid = {"name": calls[0]["name"], "args": '{"order', "id": "x", "error": "broken"}
        options = {"invalid_tool_calls": [{**invalid, "type": "invalid_tool_call"}]}
    if answer.tokens is not None:
        into, out = answer.tokens
        options["usage_metadata"] = {"input_tokens": into, "output_tokens": out, "total_tokens": into + out}
    return AIMessage(answer.text, response_metadata={"finish_reason": answer.finish}, **options)


@tool
async def find_order(order_id: str, runtime: ToolRuntime[Shop]) -> dict[str, Any]:
    """Looks an order up."""
    return await runtime.context.find_order(order_id)


@tool
async def refund(order_id: str, amount: int, runtime: ToolRuntime[Shop]) -> dict[str, Any]:
    """Pays money back."""
    return await runtime.context.refund(order_id, amount)


class LangGraph:
    name = "langgraph"
    adapter = adapter
    cannot = frozenset(
        {
            "take an agent just as it was made",
            "hold conversations",
            "have other agents do a part of the work",
            "show the framework's own events",
            "let the framework itself ask a person",
        }
    )

    def __init__(self) -> None:
        self._agent = self._made(None)

    def _made(self, script: Script | None) -> Any:
        return create_agent(
            Scripted(script=script),
            [find_order, refund],
            system_prompt="Help the customer.",
            middleware=[Hardening()],
            name="desk",
        )

    def model(self, script: Script) -> Any:
        return Scripted(script=script)

    def agent(self, script: Script | None = None) -> Any:
        return self._agent if script is None else self._made(script)

    async def naive(self, request: Any, *, deps: Any) -> Any:
        for _ in range(2):
            try:
                asked = {"messages": [{"role": "user", "content": request}]}
                return str((await self._agent.ainvoke(asked, context=deps))["messages"][-1].text)
            except Exception:
                continue
        return "Sorry."
