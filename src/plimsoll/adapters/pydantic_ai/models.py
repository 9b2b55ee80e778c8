"""Model requests through the pipeline: one `Exchange` for each, sent to whichever rung of the ladder is tried."""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.messages import (
    BaseToolCallPart,
    FilePart,
    FinalResultEvent,
    ModelMessage,
    ModelResponse,
    ModelResponsePart,
    ModelResponseState,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    SpeechPart,
    TextPart,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import CompletedStreamedResponse, Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings, merge_model_settings

from plimsoll.adapters.common.letter import digest_of_all
from plimsoll.adapters.pydantic_ai.binding import PRIMARY, Asker, Binding
from plimsoll.adapters.pydantic_ai.messages import (
    decode_events,
    decode_response,
    encode_events,
    encode_response,
    to_the_letter,
)
from plimsoll.adapters.pydantic_ai.streaming import JournaledStream
from plimsoll.core.calls import CallKind, Fault, Unknown, Usage
from plimsoll.core.canonical import canonical_json, digest, is_json
from plimsoll.core.errors import OutputRejected
from plimsoll.policies.ladder import Rung
from plimsoll.policies.output_check import OutputProblem, check_text
from plimsoll.runtime.exchange import Inspection
from plimsoll.runtime.foreign import fail_if_foreign
from plimsoll.runtime.models import estimate_tokens
from plimsoll.runtime.showing import followed

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
        "_live",
        "_messages",
        "_ordinal",
        "_settings",
        "_whole",
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
        self._live: StreamedResponse | None = None
        self._whole: ModelResponse | None = None
        self.args_digest, self.input_tokens = asker.digests.request(messages, parameters)

    async def send(self, rung: Rung | None) -> ModelResponse:
        self._live = self._whole = None
        if rung is not None and rung.model.canned is not None:
            return self._stamped(self._canned(rung, rung.model.canned))
        model = self._asked if rung is None or rung.name == PRIMARY else self._asker.model_of(rung.name)
        messages = model.prepare_messages(self._messages, self.parameters)
        settings = self._capped(rung)
        try:
            if self.stream:
                with suppress(NotImplementedError):  # a model may not be able to stream: then it is asked for the whole
                    return await self._streamed(model, messages, settings)
            return self._stamped(await model.request(messages, settings, self.parameters))
        except BaseException as error:
            fail_if_foreign(error)
            raise

    async def _streamed(
        self, model: Model, messages: list[ModelMessage], settings: ModelSettings | None
    ) -> ModelResponse:
        async with aclosing(followed(self._events(model, messages, settings))) as events:
            async for _ in events:
                pass
        assert self._live is not None
        self._whole = self._stamped(self._live.get())
        return self._whole

    async def _events(
        self, model: Model, messages: list[ModelMessage], settings: ModelSettings | None
    ) -> AsyncGenerator[ModelResponseStreamEvent]:
        """What the model says, as it does. The request is made by the first step: it, too, may take its time."""
        ids: dict[str, str] = {}
        async with model.request_stream(messages, settings, self.parameters) as stream:
            self._live = stream
            async for event in stream:
                yield self._stamped_event(event, ids)

    def is_whole(self, shown: Sequence[ModelResponseStreamEvent], native: ModelResponse) -> bool:
        return native is self._whole

    async def parts(self, native: ModelResponse) -> AsyncGenerator[ModelResponseStreamEvent]:
        completed = CompletedStreamedResponse(native, model_request_parameters=self.parameters, replay_events=True)
        self._live = completed
        async for event in completed:
            yield event

    async def left(self, shown: Sequence[ModelResponseStreamEvent]) -> tuple[Any, Usage]:
        events = list(shown)
        response = self.so_far("interrupted")
        seen = CompletedStreamedResponse(response, model_request_parameters=self.parameters, replay_events=events)
        async for _ in seen:
            pass
        response = replace(response, parts=seen.get().parts)
        value = {"response": encode_response(response), "events": encode_events(events)}
        used = inspect_response(response, self.parameters).usage
        estimate = Usage(input_tokens=self.input_tokens, output_tokens=estimate_tokens(canonical_json(value["events"])))
        return value, used or estimate

    async def again(self, left: Any) -> AsyncGenerator[ModelResponseStreamEvent]:
        response = decode_response(left["response"])
        self._live = CompletedStreamedResponse(response, model_request_parameters=self.parameters)
        for event in decode_events(left["events"]):
            yield event

    def so_far(self, state: ModelResponseState) -> ModelResponse:
        """The response as far as it has come."""
        response = ModelResponse(parts=[]) if self._live is None else self._live.get()
        return replace(self._stamped(response), state=state)

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

    def cache_key(self) -> str:
        return digest_of_all([to_the_letter(self._messages), self.parameters, self._settings])

    def sameness(self, value: Any) -> str:
        return digest([[part.get(name) for name in _SAYS] for part in value["parts"]])

    async def verify(self, idempotency_key: str) -> Any:
        return Unknown("a model call changes nothing; there is nothing to verify")

    def _canned(self, rung: Rung, text: str) -> ModelResponse:
        structured = not self.parameters.allow_text_output or (
            self.parameters.output_object is not None and not is_json(text)
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

    def _stamped_event(self, event: ModelResponseStreamEvent, ids: dict[str, str]) -> ModelResponseStreamEvent:
        """The event with the ids that the response will have. `ids` keeps them, by those that Pydantic AI made up."""
        if isinstance(event, (PartStartEvent, PartEndEvent)) and isinstance(event.part, ToolCallPart):
            call_id = event.part.tool_call_id
            if call_id.startswith(_GENERATED_ID):
                stamped = ids.setdefault(call_id, self._call_id(event.index))
                return replace(event, part=replace(event.part, tool_call_id=stamped))
        elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, ToolCallPartDelta):
            known = ids.get(event.delta.tool_call_id or "")
            return event if known is None else replace(event, delta=replace(event.delta, tool_call_id=known))
        elif isinstance(event, FinalResultEvent) and event.tool_call_id in ids:
            return replace(event, tool_call_id=ids[event.tool_call_id])
        return event

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
        binding = self._binding
        exchange = ModelExchange(binding, self.wrapped, messages, model_settings, model_request_parameters)
        response: ModelResponse = (await binding.run.exchange(exchange)).unwrap()
        binding.responses += 1
        return response

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        binding, parameters = self._binding, model_request_parameters
        exchange = ModelExchange(binding, self.wrapped, messages, model_settings, parameters, stream=True)
        now = datetime.fromtimestamp(binding.now(), UTC)
        try:
            async with binding.run.streaming(exchange) as parts:
                yield JournaledStream(parts, so_far=exchange.so_far, parameters=parameters, now=now)
        finally:
            binding.responses += 1


def inspect_response(response: ModelResponse, parameters: ModelRequestParameters) -> Inspection:
    """Usage and output check of a model's response."""
    reported = response.usage.has_values()  # a provider that says nothing is charged by an estimate
    used = Usage(input_tokens=response.usage.input_tokens, output_tokens=response.usage.output_tokens)
    usage = used if reported else None
    return Inspection(usage=usage, problem=_problem(response, parameters))


def _problem(response: ModelResponse, parameters: ModelRequestParameters) -> OutputProblem | None:
    if response.state == "suspended":  # the provider works on; the answer comes with a later request
        return None
    if response.state in ("interrupted", "incomplete"):
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
        if isinstance(call.args, str) and call.args and not is_json(call.args, kind=dict):
            return OutputProblem(Fault.MALFORMED, f"the arguments for {call.tool_name} are no JSON object")
    if parameters.output_mode == "native" and not substance and not is_json(text):
        return OutputProblem(Fault.MALFORMED, "the answer should be JSON and is not")
    return None
