"""What differs from endpoint to endpoint: what may be asked there, what an answer is, and how one comes in parts."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from plimsoll.contract.model import Upstream
from plimsoll.core.calls import Fault, Usage
from plimsoll.core.canonical import is_json
from plimsoll.policies.output_check import OutputProblem
from plimsoll.services.http import Failure

__all__ = [
    "Endpoint",
    "Json",
    "Streamed",
    "cap_refusal",
    "check_function",
    "invalid",
    "is_count",
    "named",
    "usage_of",
]

Json = Mapping[str, Any]


class Endpoint(ABC):
    """An endpoint. `path` follows the base URL of an upstream; `climbs` is whether another model may answer."""

    path: ClassVar[str]
    climbs: ClassVar[bool] = True

    @abstractmethod
    def refusal(self, body: Json) -> Failure | None:
        """Why this cannot be asked, of anybody; None where it can."""

    def is_at(self, upstream: Upstream) -> bool:
        """Whether this upstream has the endpoint."""
        return True

    def sent(self, body: Json, most: int, *, cap: str) -> dict[str, Any]:
        """The request as it is sent: with no more output tokens than the contract counts with. `cap` is what the
        upstream calls them."""
        return dict(body)

    @abstractmethod
    def check(self, asked: Json, body: Json, most: int) -> OutputProblem | None:
        """What is wrong with an answer, or None. One that was cut where its client wanted it cut is whole."""

    @abstractmethod
    def usage(self, body: Json) -> Usage | None:
        """The tokens that an answer says it used; None where it does not."""

    def said(self, asked: Json, text: str, *, id: str, model: str) -> dict[str, Any] | None:
        """An answer that says a text; None where nothing here is answered by one."""
        return None

    def wants_data(self, asked: Json) -> bool:
        """Whether what is asked for is data, which no fixed text is."""
        return True


class Streamed(Endpoint):
    """An endpoint whose answers can come in parts, each a server-sent event."""

    @abstractmethod
    def says(self, part: Json) -> bool:
        """Whether a part says anything yet: that an answer begins, or ends, is nothing. Raises for what is no part."""

    @abstractmethod
    def is_shown(self, part: Json, asked: Json) -> bool:
        """Whether the client is shown this part when it comes."""

    @abstractmethod
    def assembled(self, parts: Iterable[Json]) -> dict[str, Any]:
        """The answer that these parts make, as far as they go."""

    @abstractmethod
    def is_ended(self, body: Json) -> bool:
        """Whether the parts that made this answer came to its own end."""

    @abstractmethod
    def unfolded(self, body: Json) -> Iterator[dict[str, Any]]:
        """A whole answer as the parts of a stream."""

    @abstractmethod
    def event(self, part: Json, *, model: str, number: int) -> bytes:
        """A part as an event, under the name of the model that was asked for; `number` counts from 0."""

    @abstractmethod
    def last(self, body: Json, *, model: str, number: int) -> bytes:
        """The event that an answer which is whole ends with. Without it a client knows that it is none."""

    @abstractmethod
    def broken(self, failure: Failure, *, number: int) -> bytes:
        """The event that says that what was shown is void."""


def named(body: Json, model: str) -> Json:
    """An answer under the name of the model that was asked for."""
    return {**body, "model": model} if "model" in body else body


def invalid(what: str) -> Failure:
    """Of a request that no upstream could answer."""
    return Failure(400, "invalid_request", what)


def is_count(value: Any) -> bool:
    """Whether this is a whole number that is not negative."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def cap_refusal(body: Json, *names: str) -> Failure | None:
    """Why the client's own cap on output tokens is none; None where it is one, or there is none."""
    for name in names:
        if body.get(name) is not None and not (is_count(body[name]) and body[name] > 0):
            return invalid(f"`{name}` is a whole number above 0")
    return None


def usage_of(body: Json, *, asked: str, answered: str) -> Usage | None:
    """The tokens in an answer's `usage`, which has them by these names."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    took, gave = usage.get(asked, -1), usage.get(answered, 0)
    return Usage(input_tokens=took, output_tokens=gave) if is_count(took) and is_count(gave) else None


def check_function(name: Any, arguments: Any) -> OutputProblem | None:
    """What is wrong with a call of a function that a model wants made, or None."""
    if not name:
        return OutputProblem(Fault.MALFORMED, "a tool call names no tool")
    if arguments and not is_json(arguments, kind=dict):
        return OutputProblem(Fault.MALFORMED, "the arguments of a tool call are no JSON object")
    return None
