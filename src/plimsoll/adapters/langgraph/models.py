"""Chat models through the pipeline: one `Exchange` for each request, sent to whichever rung of the ladder is tried."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from plimsoll.adapters.common import modelcalls
from plimsoll.adapters.common.binding import Bound
from plimsoll.adapters.common.letter import digest_of_all
from plimsoll.adapters.common.waiting import PRIMARY
from plimsoll.adapters.langgraph.binding import bound_context, not_in_a_run
from plimsoll.adapters.langgraph.messages import decode_answer, digest_of_request, encode_answer, to_the_letter, whole
from plimsoll.core.calls import Fault, Usage
from plimsoll.core.canonical import digest
from plimsoll.core.errors import Misuse, OutputRejected
from plimsoll.policies.ladder import Rung
from plimsoll.policies.output_check import OutputProblem, check_text
from plimsoll.runtime.exchange import Inspection
from plimsoll.runtime.fingerprint import repr_of

__all__ = ["JournaledChatModel", "ModelExchange", "inspect_answer", "journaled"]

_GENERATED_IDS = ("lc_", "run-")
_FINISH_REASONS = ("finish_reason", "stop_reason", "done_reason")
"""Where the providers' packages put why an answer ended."""
_CAP = "max_tokens"
"""LangChain's standard parameter for the longest answer."""


def journaled(model: BaseChatModel, *, ladder: str = PRIMARY) -> "JournaledChatModel":
    """The model for the nodes of a graph of your own: in a hardened run, asking it is a call through the pipeline.

    `ladder` is the first of its rungs, by its name in the contract. `primary` is the model itself where the contract
    and `harden` name none; any other is the contract's. Outside a run it answers as the model does. Only `ainvoke` and
    `astream` go through the pipeline.
    """
    return JournaledChatModel(asked=model, profile=model.profile, ladder=ladder)


class JournaledChatModel(BaseChatModel):
    """A chat model that belongs to whatever hardened run asks it. Made by `journaled`, or by `Hardening`."""

    asked: BaseChatModel
    tools: tuple[Any, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    ladder: str = PRIMARY

    @property
    def _llm_type(self) -> str:
        return self.asked._llm_type

    @property
    def model_name(self) -> str:
        """What LangChain knows a model's abilities by."""
        found = (getattr(self.asked, name, None) for name in ("model_name", "model", "model_id"))
        return next((name for name in found if isinstance(name, str)), "")

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> "JournaledChatModel":
        return self._with(tools=tuple(tools), options={**self.options, **options})

    def bind(self, **options: Any) -> "JournaledChatModel":  # type: ignore[override]
        return self._with(options={**self.options, **options})

    def made(self, model: BaseChatModel, **options: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """`model` with what was bound to this one: each rung of a ladder binds the tools in its provider's own way."""
        options = {**self.options, **options}
        if self.tools:
            return model.bind_tools(list(self.tools), **options)
        return model.bind(**options) if options else model

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        model = self._with(options={**self.options, **kwargs, **({"stop": stop} if stop else {})})
        bound = bound_context.get()
        if bound is None:
            return await model.made(self.asked).ainvoke(input, config)
        answer: AIMessage = await ModelExchange(bound, model, self._convert_input(input).to_messages()).answered()
        return answer.model_copy()

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        if bound_context.get() is None:
            model = self._with(options={**self.options, **kwargs, **({"stop": stop} if stop else {})})
            async for chunk in model.made(self.asked).astream(input, config):
                yield chunk  # type: ignore[misc]  # a chat model's stream is of chunks
            return
        answer = await self.ainvoke(input, config, stop=stop, **kwargs)
        yield AIMessageChunk(**{**answer.model_dump(), "type": "AIMessageChunk", "chunk_position": "last"})

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        not_in_a_run()
        return ChatResult(generations=[ChatGeneration(message=self.made(self.asked).invoke(messages))])

    def _with(self, **changes: Any) -> "JournaledChatModel":
        return self.model_copy(update=changes)


class ModelExchange(modelcalls.ModelExchange):
    """One request to the ladder of a run's model."""

    def __init__(self, bound: Bound, model: JournaledChatModel, messages: list[BaseMessage]) -> None:
        names = sorted(_name_of(tool) for tool in model.tools)
        shape = [names, {name: repr_of(value) for name, value in sorted(model.options.items())}]
        args_digest, input_tokens = digest_of_request(messages, shape)
        if model.ladder not in bound.contract.models:
            raise Misuse(f"the contract has no models.{model.ladder}, which is the model that is asked here")
        super().__init__(
            bound,
            bound.primary or model.asked,
            args_digest=args_digest,
            input_tokens=input_tokens,
            dependency=model.ladder,
        )
        self._model = model
        self._messages = messages

    @property
    def wants_data(self) -> bool:
        """Whether a text is no answer to this request."""
        options = self._model.options
        return "response_format" in options or options.get("tool_choice") in ("any", "required")

    @property
    def tool_names(self) -> list[str]:
        """The tools that the model may call."""
        return [_name_of(tool) for tool in self._model.tools]

    async def answer(self, model: BaseChatModel, rung: Rung | None) -> AIMessage:
        return whole(await self._made(model, rung).ainvoke(self._messages))

    async def texts(self, model: BaseChatModel, rung: Rung | None, ends: list[Any]) -> AsyncGenerator[str]:
        summed: Any = None
        async with aclosing(self._made(model, rung).astream(self._messages)) as chunks:
            async for chunk in chunks:
                summed = chunk if summed is None else summed + chunk
                text = str(chunk.text)
                if text:
                    yield text
        ends.append(whole(summed) if summed is not None else AIMessage(""))

    def canned(self, name: str, text: str) -> AIMessage:
        if self.wants_data:
            what = "this agent answers with data, which a canned text is not"
            raise OutputRejected(name, fault=Fault.WRONG_SHAPE, detail=what)
        return self.stamped(AIMessage(text, response_metadata={"finish_reason": "stop", "model_name": name}))

    def text_of(self, native: AIMessage) -> str:
        return str(native.text)

    def call_ids(self, native: AIMessage) -> list[str]:
        return [call["id"] or call["name"] for call in native.tool_calls]

    def inspect(self, native: AIMessage) -> Inspection:
        return inspect_answer(native)

    def encode(self, native: AIMessage) -> Any:
        return encode_answer(native)

    def decode(self, value: Any) -> AIMessage:
        return decode_answer(value)

    def cache_key(self) -> str:
        tools = [each if isinstance(each, dict) else convert_to_openai_tool(each) for each in self._model.tools]
        return digest_of_all([to_the_letter(self._messages), tools, self._model.options])

    def sameness(self, value: Any) -> str:
        calls = [[call.get("name"), call.get("args")] for call in value.get("tool_calls", ())]
        return digest([value.get("content"), calls])

    def stamped(self, native: AIMessage) -> AIMessage:
        """Ids that LangChain made up become functions of the run, and no two calls of an answer share one."""
        changes: dict[str, Any] = {}
        if native.id is None or native.id.startswith(_GENERATED_IDS):
            changes["id"] = f"{self._bound.run_id}-{self._ordinal}"
        seen: set[str] = set()
        calls = []
        for index, call in enumerate(native.tool_calls):
            call_id = call["id"]
            if not call_id or call_id in seen:
                call_id = self._call_id(index)
            seen.add(call_id)
            calls.append({**call, "id": call_id})
        if calls:
            changes["tool_calls"] = calls
        return native.model_copy(update=changes) if changes else native

    def _call_id(self, index: int) -> str:
        name = f"{self._bound.run_id}\x00{self._ordinal}\x00{index}"
        return f"call_{hashlib.sha256(name.encode()).hexdigest()[:24]}"

    def _made(self, model: BaseChatModel, rung: Rung | None) -> Any:
        """The model as this attempt asks it: with the contract's `max_output_tokens`, where the model can be told, so
        that its provider holds the worst case that the limits count with."""
        fields = type(model).model_fields
        cap = next((name for name, field in fields.items() if _CAP in (name, field.alias)), None)
        if rung is None or cap is None:
            return self._model.made(model)
        own = self._model.options.get(_CAP, getattr(model, cap))
        most = rung.model.max_output_tokens
        return self._model.made(model, **{_CAP: most if own is None else min(own, most)})


def inspect_answer(message: AIMessage) -> Inspection:
    """Usage and output check of a model's answer. A provider that reports no usage is charged by an estimate."""
    reported = message.usage_metadata
    usage = None
    if reported is not None and (reported["input_tokens"] or reported["output_tokens"]):
        usage = Usage(input_tokens=reported["input_tokens"], output_tokens=reported["output_tokens"])
    return Inspection(usage=usage, problem=_problem(message))


def _problem(message: AIMessage) -> OutputProblem | None:
    found = (message.response_metadata.get(name) for name in _FINISH_REASONS)
    reason = next((each for each in found if isinstance(each, str)), None)
    substance = bool(message.tool_calls or message.invalid_tool_calls) or _says_more(message.content)
    problem = check_text(str(message.text), finish_reason=reason, has_tool_calls=substance)
    if problem is not None:
        return problem
    if message.invalid_tool_calls:
        name = message.invalid_tool_calls[0].get("name") or "a tool"
        return OutputProblem(Fault.MALFORMED, f"the arguments for {name} are no JSON object")
    if any(not call["name"] for call in message.tool_calls):
        return OutputProblem(Fault.MALFORMED, "a tool call names no tool")
    return None


def _says_more(content: Any) -> bool:
    """Whether there is an image, a sound or a file in it."""
    if not isinstance(content, list):
        return False
    kinds = {block.get("type") for block in content if isinstance(block, dict)}
    return bool(kinds & {"image", "image_url", "audio", "video", "file"})


def _name_of(tool: Any) -> str:
    if isinstance(tool, dict):
        return str(tool.get("name") or tool.get("function", {}).get("name") or tool.get("type", ""))
    return str(getattr(tool, "name", None) or getattr(tool, "__name__", type(tool).__name__))
