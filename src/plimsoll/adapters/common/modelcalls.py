"""Model requests through the pipeline, as frameworks make them whose models are shown as text."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from plimsoll.adapters.common.binding import Bound
from plimsoll.adapters.common.waiting import PRIMARY
from plimsoll.core.calls import CallKind, Unknown, Usage
from plimsoll.policies.ladder import Rung
from plimsoll.runtime.exchange import Inspection
from plimsoll.runtime.foreign import fail_if_foreign
from plimsoll.runtime.models import estimate_tokens
from plimsoll.runtime.showing import followed

__all__ = ["ModelExchange"]


class ModelExchange(ABC):
    """One request to the ladder of a run's model.

    `asked` is the model that the framework would have asked: the first rung. `args_digest` and `input_tokens` are those
    of what it is asked. An adapter says how one of its models is asked, and what its answer is in JSON.
    """

    kind = CallKind.MODEL
    args = None
    refusals = ()

    def __init__(
        self, bound: Bound, asked: Any, *, args_digest: str, input_tokens: int, dependency: str = PRIMARY
    ) -> None:
        self.dependency = dependency
        self.args_digest = args_digest
        self.input_tokens = input_tokens
        self._bound = bound
        self._asked = asked
        self._ordinal = bound.requests.begun()
        self._whole: Any = None

    async def answered(self) -> Any:
        """The native answer, through the pipeline. What it calls is known by the number of this request."""
        native = await self._bound.ask(self)
        self._bound.requests.answered(self._ordinal, self.call_ids(native))
        return native

    async def send(self, rung: Rung | None) -> Any:
        self._whole = None
        if rung is not None and rung.model.canned is not None:
            return self.canned(rung.name, rung.model.canned)
        model = self._asked if rung is None or rung.name == PRIMARY else self._bound.model_of(rung.name)
        try:
            if self._bound.is_shown:
                return await self._streamed(model, rung)
            return self.stamped(await self.answer(model, rung))
        except BaseException as error:
            fail_if_foreign(error)
            raise

    async def _streamed(self, model: Any, rung: Rung | None) -> Any:
        ends: list[Any] = []
        async with aclosing(followed(self.texts(model, rung, ends))) as texts:
            async for _ in texts:
                pass
        self._whole = self.stamped(ends[0])
        return self._whole

    # -- what an adapter says of its models

    @abstractmethod
    async def answer(self, model: Any, rung: Rung | None) -> Any:
        """Asks `model`. `rung` is None where there is no ladder."""

    @abstractmethod
    def texts(self, model: Any, rung: Rung | None, ends: list[Any]) -> AsyncGenerator[str]:
        """As `answer`, in texts as they come; what `answer` would have returned goes to `ends`."""

    @abstractmethod
    def canned(self, name: str, text: str) -> Any:
        """A canned answer as the framework has it. Raises `OutputRejected` where the agent answers with data."""

    @abstractmethod
    def text_of(self, native: Any) -> str:
        """What an answer says in words."""

    @abstractmethod
    def call_ids(self, native: Any) -> Iterable[str]:
        """The ids of the tool calls that an answer asks for."""

    @abstractmethod
    def inspect(self, native: Any) -> Inspection: ...

    @abstractmethod
    def encode(self, native: Any) -> Any: ...

    @abstractmethod
    def decode(self, value: Any) -> Any: ...

    @abstractmethod
    def cache_key(self) -> str: ...

    @abstractmethod
    def sameness(self, value: Any) -> str: ...

    def stamped(self, native: Any) -> Any:
        """The answer with nothing in it that another trial of the same run would not have again."""
        return native

    # -- as every model call

    async def verify(self, idempotency_key: str) -> Any:
        return Unknown("a model call changes nothing; there is nothing to verify")

    def is_whole(self, shown: Sequence[str], native: Any) -> bool:
        return native is self._whole

    async def parts(self, native: Any) -> AsyncGenerator[str]:
        text = self.text_of(native)
        if text:
            yield text

    async def left(self, shown: Sequence[str]) -> tuple[Any, Usage]:
        tokens = estimate_tokens("".join(shown).encode())
        return {"parts": list(shown)}, Usage(input_tokens=self.input_tokens, output_tokens=tokens)

    async def again(self, left: Any) -> AsyncGenerator[str]:
        for part in left["parts"]:
            yield part
