"""Spans: one for each segment of a run, one for each call, and one for each attempt that failed or was slow.

A call's span covers all its attempts, as the conventions have it, so that a healthy call costs one span. An attempt
that failed, or was slow, is told as a child of it with the time that it took, once that is known. Nothing is ever
told of an exception but its class: its message, and the code's own text in a stack trace, may quote what it was given.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from plimsoll.contract.model import Contract
from plimsoll.core.calls import CallKind, Ending, Fault, Outcome, Status
from plimsoll.core.canonical import canonical_json
from plimsoll.core.events import AttemptSettled, DoubtRaised, Event, Finding, RungChanged
from plimsoll.observability.listening import CallBegan, SegmentBegan, SegmentEnded
from plimsoll.observability.telemetry import names
from plimsoll.observability.telemetry.metrics import Metrics

__all__ = ["AgentSpans", "CallSpan", "SegmentSpan", "error_type"]

_CLASS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}")
_FAILED = (Ending.FAILED, Ending.HALTED)
_LEFT = {"RunParked": "parked", "RunHalted": "halted", "CancelledError": "cancelled"}
"""What becomes of a call without an outcome, by what took it off the stack: no fault of the call's."""
_NO_ERROR = {Fault.SLOW: names.SLOW, Fault.OUTRUN: names.OUTRUN, Fault.REFUSED: names.DECLINED}
"""What an attempt may have been without having failed, and the attribute that says so."""
_PROPAGATOR = TraceContextTextMapPropagator()
_CALL_BY_SPAN = frozenset({CallKind.MODEL, CallKind.TOOL, CallKind.HTTP})
"""What has a span of its own. A child has that of its own run."""


def error_type(reason: str) -> str:
    """The class of the error that a run's reason begins with, and nothing else of it."""
    name = reason.partition(":")[0]
    return name if _CLASS_NAME.fullmatch(name) else names.OTHER


class AgentSpans:
    """What the spans of one agent's runs have in common."""

    def __init__(self, tracer: Tracer, metrics: Metrics, contract: Contract, *, records_content: bool) -> None:
        self.tracer = tracer
        self.metrics = metrics
        self.agent = contract.agent.name
        self.records_content = records_content
        self.under_way: dict[str, Context] = {}  # the segments' contexts, by run
        self.models = {name: names.model_names(name, model) for name, model in contract.models.items()}

    def content(self, name: str, value: Any) -> dict[str, str]:
        """The attribute `name` with this content; nothing where no content is to leave."""
        return {name: canonical_json(value).decode()} if self.records_content and value is not None else {}


class SegmentSpan:
    """The span `invoke_agent` of one segment, and those of its calls."""

    reads: frozenset[type[Any]] = frozenset({AttemptSettled, DoubtRaised, RungChanged})

    def __init__(self, common: AgentSpans, began: SegmentBegan) -> None:
        self._common = common
        self._began = began
        self._calls: dict[str, Span] = {}
        self._rungs: dict[str, str] = {}  # the model that a call is asking, by the call's key
        attributes: dict[str, Any] = {
            names.OPERATION: names.INVOKE_AGENT,
            names.AGENT: common.agent,
            names.AGENT_VERSION: began.version[:12],
            names.RUN: began.run_id,
            names.RESUMED: began.resumed,
            **common.content(names.RUN_INPUT, began.input),
        }
        optional = {names.CONVERSATION: began.session, names.PARENT: began.parent, names.CRASHED: began.crashed}
        attributes |= {name: value for name, value in optional.items() if value}
        self.span = common.tracer.start_span(
            f"{names.INVOKE_AGENT} {common.agent}",
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            links=_links(began.came_from),
        )
        self.context = common.under_way[began.run_id] = set_span_in_context(self.span)

    @property
    def trace(self) -> str:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self.context)
        return carrier.get("traceparent", "")

    @contextmanager
    def current(self) -> Iterator[None]:
        token = attach(set_span_in_context(self.span))  # the caller's own context, and its baggage, stay
        try:
            yield
        finally:
            detach(token)

    def call(self, began: CallBegan) -> "CallSpan":
        return CallSpan(self._common, self._calls, self._rungs, self._began.run_id, began)

    def waited(self, seconds: float) -> None:
        self._common.metrics.waited(seconds, agent=self._common.agent)

    def observe(self, event: Event, *, at: float) -> Iterable[Finding]:
        if isinstance(event, AttemptSettled):
            self._attempt(event, at)
        elif isinstance(event, RungChanged):
            self._rungs[event.key] = event.to
        elif isinstance(event, DoubtRaised) and event.key in self._calls:
            self._calls[event.key].set_attribute(names.IN_DOUBT, True)
        return ()

    def restore(self, event: Event) -> None:
        """Nothing: what was told in an earlier segment is not told again."""

    def ended(self, ended: SegmentEnded | BaseException) -> None:
        span = self.span
        self._common.under_way.pop(self._began.run_id, None)
        if isinstance(ended, BaseException):
            _failed(span, type(ended).__name__)
        else:
            span.set_attribute(names.ENDING, ended.ending.value)
            if ended.ending is Ending.PARKED:
                span.set_attribute(names.PARKED_FOR, error_type(ended.reason))
            elif ended.ending in _FAILED:
                _failed(span, error_type(ended.reason) if ended.ending is Ending.FAILED else Ending.HALTED.value)
            span.set_attributes(self._common.content(names.RUN_OUTPUT, ended.output))
            span.set_attributes(self._common.content(names.REASON, ended.reason or None))
        span.end()

    def _attempt(self, event: AttemptSettled, at: float) -> None:
        call = self._calls.get(event.key)
        if call is None:
            return
        attributes: dict[str, Any] = {
            names.ATTEMPT: event.attempt,
            names.RUNG: event.rung,
            names.DEPENDENCY: event.dependency,
            names.RUN: self._began.run_id,
            names.CALL: event.key,
            **self._common.models.get(event.dependency, {}),
        }
        if event.fault in _NO_ERROR:
            attributes[_NO_ERROR[event.fault]] = True
        span = self._common.tracer.start_span(
            f"attempt {event.dependency}",
            context=set_span_in_context(call),
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            start_time=_ns(at - event.duration_s),
        )
        if event.fault not in _NO_ERROR:
            _failed(span, event.fault.value)
            span.set_attributes(self._common.content(names.ERROR_MESSAGE, event.message or None))
        span.end(end_time=_ns(at))


class CallSpan:
    """The span `chat` or `execute_tool` of one call, current while it is made. A child's call has none."""

    __slots__ = ("_began", "_calls", "_common", "_outcome", "_run_id", "_rungs", "_span", "_token")

    def __init__(
        self, common: AgentSpans, calls: dict[str, Span], rungs: dict[str, str], run_id: str, began: CallBegan
    ) -> None:
        self._common = common
        self._calls = calls
        self._rungs = rungs
        self._run_id = run_id
        self._began = began
        self._outcome: Outcome | None = None

    def __enter__(self) -> "CallSpan":
        began = self._began
        if began.kind not in _CALL_BY_SPAN:
            return self
        is_model = began.kind is CallKind.MODEL
        model = self._common.models.get(began.dependency, {}) if is_model else {}
        span = self._common.tracer.start_span(
            f"{names.CHAT} {model[names.REQUEST_MODEL]}" if is_model else f"{names.EXECUTE_TOOL} {began.dependency}",
            kind=SpanKind.CLIENT if is_model else SpanKind.INTERNAL,
            attributes=self._attributes(model),
        )
        self._span = self._calls[began.key] = span
        self._token = attach(set_span_in_context(span))
        return self

    def settled(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._began.kind not in _CALL_BY_SPAN:
            return
        detach(self._token)
        del self._calls[self._began.key]
        span, outcome = self._span, self._outcome
        if outcome is not None:
            span.set_attributes(self._told(outcome))
            if outcome.error is not None:
                span.set_status(StatusCode.ERROR)
        elif error is not None:
            left = type(error).__name__
            span.set_attribute(names.STATUS, _LEFT.get(left, Status.FAILED.value))
            if left not in _LEFT:
                _failed(span, left)
        span.end()

    def _attributes(self, model: Mapping[str, str]) -> dict[str, Any]:
        began = self._began
        if began.kind is CallKind.MODEL:
            return {names.OPERATION: names.CHAT, names.RUN: self._run_id, names.CALL: began.key, **model}
        return {
            names.OPERATION: names.EXECUTE_TOOL,
            names.RUN: self._run_id,
            names.CALL: began.key,
            names.TOOL: began.dependency,
            names.TOOL_TYPE: "function",
            names.EFFECT: began.effect.value,
            **self._common.content(names.TOOL_ARGUMENTS, began.args),
        }

    def _told(self, outcome: Outcome) -> dict[str, Any]:
        is_model = self._began.kind is CallKind.MODEL
        told: dict[str, Any] = {names.STATUS: outcome.status.value, names.ATTEMPTS: outcome.attempts}
        if self._common.records_content:
            told |= self._common.content(names.ANSWER if is_model else names.TOOL_RESULT, outcome.value)
        answered = self._rungs.pop(self._began.key, self._began.dependency)
        if is_model:
            told[names.RUNG] = outcome.rung
            if outcome.status is Status.OK:
                told[names.RESPONSE_MODEL] = self._common.models.get(answered, {}).get(names.REQUEST_MODEL, answered)
        if outcome.usage is not None:
            told[names.INPUT_TOKENS] = outcome.usage.input_tokens
            told[names.OUTPUT_TOKENS] = outcome.usage.output_tokens
            if outcome.usage.usd:
                told[names.COST] = outcome.usage.usd
        if outcome.error is not None:
            told[names.ERROR_TYPE] = outcome.error.fault.value
            told |= self._common.content(names.ERROR_MESSAGE, outcome.error.message)
        return told


def _links(came_from: str) -> list[Link]:
    """A link to the segment before. One that makes no sense is none."""
    if not came_from:
        return []
    before = get_current_span(_PROPAGATOR.extract({"traceparent": came_from}, Context())).get_span_context()
    return [Link(before)] if before.is_valid else []


def _failed(span: Span, kind: str) -> None:
    span.set_attribute(names.ERROR_TYPE, kind)
    span.set_status(StatusCode.ERROR)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
