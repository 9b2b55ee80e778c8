"""Model requests through the pipeline: one `Exchange` for each, sent to whichever rung of the ladder is tried."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.messages import (
    BaseToolCallPart,
    FilePart,
    ModelMessage,
    ModelResponse,
    ModelResponsePart,
    SpeechPart,
    TextPart,
    ToolCallPart,
)
from pydantic_ai.models import CompletedStreamedResponse, Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings, merge_model_settings

from plimsoll.adapters.pydantic_ai.binding import PRIMARY, Asker, Binding
from plimsoll.adapters.pydantic_ai.messages import decode_response, encode_response
from plimsoll.core.calls import CallKind, Fault, Unknown, Usage
from plimsoll.core.canonical import digest, parse_json
from plimsoll.core.errors import Misuse, OutputRejected
from plimsoll.policies.ladder import Rung
from plimsoll.policies.output_check import OutputProblem, check_text
from plimsoll.runtime.exchange import Inspection

__all__ = ["JournaledModel", "ModelExchange", "inspect_response"]

_SAYS = ("part_kind", "content", "tool_name", "args")
"""What of a response's part says something; the rest are ids and details of the provider."""
_GENERATED_ID = "pyd_ai_"
_SUBSTANCE = (BaseToolCallPart, FilePart, SpeechPart)


class ModelExchange:
    """One request to the ladder of a run's model.

    `asked` is the model that Pydantic AI would have asked: the first rung. `parameters` are those of the request.
    """

    __slots__ = (
        "_asked",
        "_asker",
        "_messages",
        "_ordinal",
        "_settings",
        "args_digest",
        "dependency",
        "input_tokens",
        "parameters",
        "stream",
    )

    kind = CallKind.MODEL
    args = None
    refusals = ()

    def __init__(
        self,
        asker: Asker,
        asked: Model,
        messages: list[ModelMessage],
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
        *,
        stream: bool = False,
        dependency: str = PRIMARY,
    ) -> None:
        self.dependency = dependency
        self.parameters = parameters
        self.stream = stream
        self._asker = asker
        self._asked = asked
        self._messages = messages
        self._settings = settings
        self._ordinal = asker.responses + 1
        self.args_digest, self.input_tokens = asker.digests.request(messages, parameters)

    async def send(self, rung: Rung | None) -> ModelResponse:
        if rung is not None and rung.model.canned is not None:
            return self._stamped(self._canned(rung, rung.model.canned))
        model = self._asked if rung is None or rung.name == PRIMARY else self._asker.model_of(rung.name)
        messages = model.prepare_messages(self._messages, self.parameters)
        settings = self._capped(rung)
        if self.stream:
            async with model.request_stream(messages, settings, self.parameters) as stream:
                async for _ in stream:
                    pass
                return self._stamped(stream.get())
        return self._stamped(await model.request(messages, settings, self.parameters))

    def _capped(self, rung: Rung | None) -> ModelSettings | None:
        """The settings, with the contract's `max_output_tokens` where the agent's own are not lower: the provider
        then holds the worst case that the limits count with."""
        if rung is None:
            return self._settings
        most = rung.model.max_output_tokens
        own = (self._settings or {}).get("max_tokens")
        capped = ModelSettings(max_tokens=most if own is None else min(own, most))
        return merge_model_settings(self._settings, capped)

    def inspect(self, native: ModelResponse) -> Inspection:
        return inspect_response(native, self.parameters)

    def encode(self, native: ModelResponse) -> Any:
        return encode_response(native)

    def decode(self, value: Any) -> ModelResponse:
        return decode_response(value)

    def sameness(self, value: Any) -> str:
        return digest([[part.get(name) for name in _SAYS] for part in value["parts"]])

    async def verify(self, idempotency_key: str) -> Any:
        return Unknown("a model call changes nothing; there is nothing to verify")

    def _canned(self, rung: Rung, text: str) -> ModelResponse:
        structured = not self.parameters.allow_text_output or (
            self.parameters.output_object is not None and not _is_json(text)
        )
        if structured:
            raise OutputRejected(
                rung.name, fault=Fault.WRONG_SHAPE, detail="this agent answers with data, which a canned text is not"
            )
        return ModelResponse(parts=[TextPart(text)], model_name=rung.name, finish_reason="stop")

    def _stamped(self, response: ModelResponse) -> ModelResponse:
        """The response with nothing in it that a replay or another trial of the same run would not have again.

        Ids that Pydantic AI made up become functions of the run; no two calls of a response share one; the date is
        that of the run's clock.
        """
        seen: set[str] = set()
        parts: list[ModelResponsePart] = []
        for index, part in enumerate(response.parts):
            if isinstance(part, ToolCallPart):
                call_id = part.tool_call_id
                if call_id.startswith(_GENERATED_ID) or call_id in seen:
                    part = replace(part, tool_call_id=self._call_id(index))  # noqa: PLW2901
                seen.add(part.tool_call_id)
            parts.append(part)
        return replace(response, parts=parts, timestamp=datetime.fromtimestamp(self._asker.now(), UTC))

    def _call_id(self, index: int) -> str:
        name = f"{self._asker.run_id}\x00{self._ordinal}\x00{index}"
        return _GENERATED_ID + hashlib.sha256(name.encode()).hexdigest()[:32]


class JournaledModel(WrapperModel):
    """The model of a hardened run: every request goes through the pipeline."""

    def __init__(self, wrapped: Model, binding: Binding) -> None:
        super().__init__(wrapped)
        self._binding = binding

    def prepare_messages(
        self, messages: list[ModelMessage], model_request_parameters: ModelRequestParameters | None = None
    ) -> list[ModelMessage]:
        return messages  # each rung prepares them for itself

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        return await self._settled(messages, model_settings, model_request_parameters, stream=False)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        response = await self._settled(messages, model_settings, model_request_parameters, stream=True)
        yield CompletedStreamedResponse(response, model_request_parameters=model_request_parameters, replay_events=True)

    async def _settled(
        self,
        messages: list[ModelMessage],
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
        *,
        stream: bool,
    ) -> ModelResponse:
        binding = self._binding
        exchange = ModelExchange(binding, self.wrapped, messages, settings, parameters, stream=stream)
        response: ModelResponse = (await binding.run.exchange(exchange)).unwrap()
        binding.responses += 1
        return response


def inspect_response(response: ModelResponse, parameters: ModelRequestParameters) -> Inspection:
    """Usage and output check of a model's response."""
    reported = response.usage.has_values()  # a provider that says nothing is charged by an estimate
    used = Usage(input_tokens=response.usage.input_tokens, output_tokens=response.usage.output_tokens)
    usage = used if reported else None
    return Inspection(usage=usage, problem=_problem(response, parameters))


def _problem(response: ModelResponse, parameters: ModelRequestParameters) -> OutputProblem | None:
    if response.state == "suspended":  # the provider works on; the answer comes with a later request
        return None
    if response.state == "interrupted":
        return OutputProblem(Fault.TRUNCATED, "the answer broke off")
    texts = [part.content for part in response.parts if isinstance(part, TextPart)]
    calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
    substance = any(isinstance(part, _SUBSTANCE) for part in response.parts)
    text = "".join(texts)
    problem = check_text(text, finish_reason=response.finish_reason, has_tool_calls=substance)
    if problem is not None:
        return problem
    for call in calls:
        if not call.tool_name:
            return OutputProblem(Fault.MALFORMED, "a tool call names no tool")
        if isinstance(call.args, str) and call.args and not _is_json_object(call.args):
            return OutputProblem(Fault.MALFORMED, f"the arguments for {call.tool_name} are no JSON object")
    if parameters.output_mode == "native" and not substance and not _is_json(text):
        return OutputProblem(Fault.MALFORMED, "the answer should be JSON and is not")
    return None


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except Misuse:
        return False
    return True


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(parse_json(text), dict)
    except Misuse:
        return False
