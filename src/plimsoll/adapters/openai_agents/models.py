"""Models of the Agents SDK through the pipeline: one `Exchange` for each request, sent to whichever rung is tried."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from agents import FunctionTool, ModelResponse, ModelSettings, Usage
from agents.exceptions import ModelBehaviorError
from agents.models.interface import Model
from openai.types.responses import (
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseIncompleteEvent,
    ResponseOutputMessage,
    ResponseOutputRefusal,
    ResponseOutputText,
    ResponseTextDeltaEvent,
)

from plimsoll.adapters.common import modelcalls
from plimsoll.adapters.common.binding import Bound
from plimsoll.adapters.common.letter import digest_of_all
from plimsoll.adapters.openai_agents.messages import decode_response, digest_of_request, encode_response
from plimsoll.adapters.openai_agents.tools import inside_tool
from plimsoll.core.calls import Fault
from plimsoll.core.calls import Usage as Used
from plimsoll.core.canonical import digest, is_json
from plimsoll.core.errors import Misuse, OutputRejected
from plimsoll.policies.ladder import Rung
from plimsoll.policies.output_check import OutputProblem, check_text
from plimsoll.runtime.exchange import Inspection

__all__ = ["Asked", "JournaledModel", "ModelExchange", "inspect_response"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the Agents SDK asks a model, but for its settings."""

    instructions: str | None
    input: Any
    tools: Sequence[Any]
    output_schema: Any
    handoffs: Sequence[Any]
    tracing: Any
    rest: dict[str, Any]

    def positional(self, settings: ModelSettings) -> tuple[Any, ...]:
        """As a model is called."""
        return (
            self.instructions,
            self.input,
            settings,
            list(self.tools),
            self.output_schema,
            list(self.handoffs),
            self.tracing,
        )

    @property
    def shape(self) -> Any:
        """What of it is fixed, as JSON."""
        schema = self.output_schema
        tools = sorted(str(getattr(tool, "name", type(tool).__name__)) for tool in self.tools)
        return [tools, None if schema is None else schema.name(), sorted(each.tool_name for each in self.handoffs)]

    @property
    def letter(self) -> Any:
        """All of it: what is said to the model, and what it is told of its tools. A conversation that its provider
        keeps is known by its id."""
        schema = self.output_schema
        return [
            self.instructions,
            self.input,
            [_told(tool) for tool in self.tools],
            None if schema is None else [schema.name(), None if schema.is_plain_text() else schema.json_schema()],
            [[each.tool_name, each.tool_description, each.input_json_schema] for each in self.handoffs],
            self.rest,
        ]

    @property
    def wants_data(self) -> bool:
        """Whether a text is no answer."""
        return self.output_schema is not None and not self.output_schema.is_plain_text()


class JournaledModel(Model):
    """The model of one run: every request goes through the pipeline. Inside a tool, the model itself is asked.

    `asked` looks that up, when it is needed: making it may take a key.
    """

    def __init__(self, bound: Bound, asked: Callable[[], Model]) -> None:
        self._bound = bound
        self._asked = asked

    async def get_response(  # noqa: PLR0917 -- as the SDK calls it
        self,
        system_instructions: str | None,
        input: Any,
        model_settings: ModelSettings,
        tools: list[Any],
        output_schema: Any,
        handoffs: list[Any],
        tracing: Any,
        **rest: Any,
    ) -> ModelResponse:
        request = Asked(
            instructions=system_instructions,
            input=input,
            tools=tools,
            output_schema=output_schema,
            handoffs=handoffs,
            tracing=tracing,
            rest=rest,
        )
        if inside_tool.get():
            return await self._asked().get_response(*request.positional(model_settings), **rest)
        exchange = ModelExchange(self._bound, self._asked(), request, settings=model_settings)
        response: ModelResponse = await exchange.answered()
        return response

    def stream_response(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        if inside_tool.get():
            return self._asked().stream_response(*args, **options)
        raise Misuse("a hardened agent is watched by `run_stream`, and not by the Agents SDK's own streaming")

    async def close(self) -> None:
        """The model asked belongs to whoever made it."""


class ModelExchange(modelcalls.ModelExchange):
    """One request to the ladder of a run's model."""

    def __init__(self, bound: Bound, asked: Model, request: Asked, *, settings: ModelSettings) -> None:
        args_digest, input_tokens = digest_of_request(request.instructions, request.input, request.shape)
        super().__init__(bound, asked, args_digest=args_digest, input_tokens=input_tokens)
        self.request = request
        self._settings = settings

    async def answer(self, model: Model, rung: Rung | None) -> ModelResponse:
        return await model.get_response(*self.request.positional(self._capped(rung)), **self.request.rest)

    async def texts(self, model: Model, rung: Rung | None, ends: list[Any]) -> AsyncGenerator[str]:
        stream: Any = model.stream_response(*self.request.positional(self._capped(rung)), **self.request.rest)
        async with aclosing(stream) as events:
            async for event in events:
                if isinstance(event, ResponseTextDeltaEvent):
                    yield event.delta
                elif isinstance(event, (ResponseCompletedEvent, ResponseIncompleteEvent)):
                    ends.append(_response_of(event))
        if not ends:
            raise ModelBehaviorError("the stream of the model's response ended before it was complete")

    def canned(self, name: str, text: str) -> ModelResponse:
        if self.request.wants_data and not is_json(text):
            what = "this agent answers with data, which a canned text is not"
            raise OutputRejected(name, fault=Fault.WRONG_SHAPE, detail=what)
        return self.stamped(ModelResponse(output=[message(text)], usage=Usage(), response_id=None))

    def text_of(self, native: ModelResponse) -> str:
        return text_of(native)

    def call_ids(self, native: ModelResponse) -> list[str]:
        return [item.call_id for item in native.output if isinstance(item, ResponseFunctionToolCall)]

    def inspect(self, native: ModelResponse) -> Inspection:
        return inspect_response(native, wants_data=self.request.wants_data)

    def encode(self, native: ModelResponse) -> Any:
        return encode_response(native)

    def decode(self, value: Any) -> ModelResponse:
        return decode_response(value)

    def cache_key(self) -> str:
        return digest_of_all([self.request.letter, self._settings])

    def sameness(self, value: Any) -> str:
        says = ("type", "name", "arguments", "action", "operation")
        items = [[item.get(name) for name in says] for item in value["output"]]
        texts = [
            part.get("text", part.get("refusal"))
            for item in value["output"]
            for part in item.get("content") or ()
            if isinstance(part, dict)
        ]
        return digest([items, texts])

    def stamped(self, native: ModelResponse) -> ModelResponse:
        """No two tool calls of a response share an id, and none is without one."""
        seen: set[str] = set()
        output: list[Any] = []
        for index, item in enumerate(native.output):
            if isinstance(item, ResponseFunctionToolCall):
                if not item.call_id or item.call_id in seen:
                    item = item.model_copy(update={"call_id": self._call_id(index)})  # noqa: PLW2901
                seen.add(item.call_id)
            output.append(item)
        return replace(native, output=output)

    def _call_id(self, index: int) -> str:
        name = f"{self._bound.run_id}\x00{self._ordinal}\x00{index}"
        return f"call_{hashlib.sha256(name.encode()).hexdigest()[:24]}"

    def _capped(self, rung: Rung | None) -> ModelSettings:
        """The settings, with the contract's `max_output_tokens` where the agent's own are not lower: the provider then
        holds the worst case that the limits count with."""
        if rung is None:
            return self._settings
        most, own = rung.model.max_output_tokens, self._settings.max_tokens
        return replace(self._settings, max_tokens=most if own is None else min(own, most))


def _told(tool: Any) -> Any:
    """What a model is told of a tool. One of the provider's own is all that was set of it."""
    if isinstance(tool, FunctionTool):
        return [tool.name, tool.description, tool.params_json_schema, tool.strict_json_schema]
    return [type(tool).__name__, tool]


def message(text: str, *, status: Any = "completed") -> ResponseOutputMessage:
    """A message of a model."""
    content = [ResponseOutputText(text=text, type="output_text", annotations=[])] if text else []
    return ResponseOutputMessage(id="message", type="message", role="assistant", status=status, content=list(content))


def text_of(response: ModelResponse) -> str:
    """What a response says in words."""
    parts = [part for item in response.output if isinstance(item, ResponseOutputMessage) for part in item.content]
    return "".join(part.text for part in parts if isinstance(part, ResponseOutputText))


def inspect_response(response: ModelResponse, *, wants_data: bool = False) -> Inspection:
    """Usage and output check of a model's response. A model that reports no usage is charged by an estimate."""
    reported = response.usage
    usage = None
    if reported.input_tokens or reported.output_tokens:
        usage = Used(input_tokens=reported.input_tokens, output_tokens=reported.output_tokens)
    return Inspection(usage=usage, problem=_problem(response, wants_data=wants_data))


def _problem(response: ModelResponse, *, wants_data: bool) -> OutputProblem | None:
    calls = [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]
    messages = [item for item in response.output if isinstance(item, ResponseOutputMessage)]
    others = [item for item in response.output if getattr(item, "type", "") not in ("message", "reasoning")]
    text = text_of(response)
    refused = any(isinstance(part, ResponseOutputRefusal) for item in messages for part in item.content)
    cut = any(getattr(item, "status", None) == "incomplete" for item in response.output)
    reason = "length" if cut else "refusal" if refused and not text else None
    problem = check_text(text, finish_reason=reason, has_tool_calls=bool(others))
    if problem is not None:
        return problem
    for call in calls:
        if not call.name:
            return OutputProblem(Fault.MALFORMED, "a tool call names no tool")
        if call.arguments and not is_json(call.arguments, kind=dict):
            return OutputProblem(Fault.MALFORMED, f"the arguments for {call.name} are no JSON object")
    if wants_data and not others and not is_json(text):
        return OutputProblem(Fault.MALFORMED, "the answer should be JSON and is not")
    return None


def _response_of(event: Any) -> ModelResponse:
    """The whole response, at the end of its stream."""
    response = event.response
    usage, reported = Usage(), response.usage
    if reported is not None:
        usage = Usage(
            requests=1,
            input_tokens=reported.input_tokens,
            output_tokens=reported.output_tokens,
            total_tokens=reported.total_tokens,
        )
    output = list(response.output)
    if isinstance(event, ResponseIncompleteEvent):
        output = [
            item.model_copy(update={"status": "incomplete"}) if isinstance(item, ResponseOutputMessage) else item
            for item in output
        ] or [message("", status="incomplete")]
    return ModelResponse(output=output, usage=usage, response_id=response.id)
