"""The seams of a call: how it talks to its dependency, and where somebody may step in between.

An adapter makes one `Exchange` per call; the pipeline asks nothing else of a framework.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from plimsoll.core.calls import CallInfo, CallKind, Usage
from plimsoll.policies.ladder import Rung
from plimsoll.policies.output_check import OutputProblem

__all__ = ["Exchange", "Inspection", "Interceptor", "NoInterceptor", "Send"]

Send = Callable[[], Coroutine[Any, Any, Any]]
"""Sends one attempt to the dependency and returns its native answer, or raises what the dependency raises."""


class Inspection(msgspec.Struct, frozen=True, gc=False):
    """What an answer is worth: what it consumed, and what is wrong with it, if anything."""

    usage: Usage | None = None
    problem: OutputProblem | None = None


class Exchange(Protocol):
    """One call, as the pipeline sees it.

    `native` values are the framework's own (a model's response object, a tool's return value); `value` is JSON.
    """

    @property
    def kind(self) -> CallKind: ...

    @property
    def dependency(self) -> str:
        """The tool's name, or the name of the ladder's first model in the contract."""
        ...

    @property
    def args(self) -> Any:
        """The arguments as JSON, for the journal. None for a model call, whose prompt is a function of the journal."""
        ...

    @property
    def args_digest(self) -> str:
        """Digest of the arguments, without what varies between replays (timestamps, message ids)."""
        ...

    @property
    def input_tokens(self) -> int:
        """A cautious estimate of the prompt's tokens, for the limits; 0 for anything but a model."""
        ...

    @property
    def refusals(self) -> tuple[str, ...]:
        """Exception classes by which a tool says that nothing happened, besides those that the contract names."""
        ...

    async def send(self, rung: Rung | None) -> Any:
        """One attempt at `rung` of the ladder (None where there is no ladder): the native answer."""
        ...

    def inspect(self, native: Any) -> Inspection:
        """Usage and output check of a native answer."""
        ...

    def encode(self, native: Any) -> Any:
        """The native answer as JSON, for the journal."""
        ...

    def decode(self, value: Any) -> Any:
        """The native answer again, from its JSON."""
        ...

    def cache_key(self) -> str:
        """A digest of all that is asked, to the letter, with what `args_digest` leaves out: whoever asks with the same
        key may be given the same answer."""
        ...

    def sameness(self, value: Any) -> str:
        """A digest that is the same for two results (as JSON) which say the same, whatever their ids and dates."""
        ...

    async def verify(self, idempotency_key: str) -> Any:
        """Asks whether the write happened: `Happened`, `NotHappenedAndCannot` or `Unknown`."""
        ...


class Interceptor(Protocol):
    """Steps in between the pipeline and a dependency: the gate injects faults and keeps its ledger here.

    `site` is the call's dependency, or `dependency.verify` when its effect is being verified.
    """

    async def __call__(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any: ...


class NoInterceptor:
    """Sends straight to the dependency."""

    __slots__ = ()

    async def __call__(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        return await send()
