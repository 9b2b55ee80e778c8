"""A model of one's own as LangChain has chat models."""

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool

from plimsoll.adapters.common.local import answered, marked
from plimsoll.core.calls import Fault
from plimsoll.core.canonical import is_json
from plimsoll.core.errors import OutputRejected
from plimsoll.learning.local import LocalModel

__all__ = ["OwnChatModel", "own_model"]


def own_model(own: LocalModel, rung: str) -> BaseChatModel:
    """The model `own` at the rung of that name."""
    return OwnChatModel(own=own, rung=rung)


class OwnChatModel(BaseChatModel):
    """The model `own` at the rung `rung`. It is asked for the whole answer: where that is shown, it comes at once."""

    own: Any
    rung: str

    @property
    def _llm_type(self) -> str:
        return "local"

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **options)

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        tools = [tool for tool in options.get("tools") or () if "function" in tool]  # no provider's own
        reply = await answered(self.own, convert_to_openai_messages(messages), tools, rung=self.rung)
        if not reply.calls and _wants_data(options) and not is_json(reply.text):
            what = "this agent answers with data, and it said something in words"
            raise OutputRejected(self.rung, fault=Fault.WRONG_SHAPE, detail=what)
        answer = AIMessage(
            reply.text,
            tool_calls=[{"name": call.tool, "args": call.arguments, "id": None} for call in reply.calls],
            response_metadata={"finish_reason": "stop", "model_name": marked(self.own, self.rung)},
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        raise NotImplementedError("a model of one's own is asked by `await`")


def _wants_data(options: dict[str, Any]) -> bool:
    return "response_format" in options or options.get("tool_choice") in ("any", "required")
