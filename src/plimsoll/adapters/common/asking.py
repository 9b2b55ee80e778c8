"""Hardened agents that are asked something, answer, and may be watched: all but Pydantic AI's, which has more ways."""

from abc import abstractmethod
from collections.abc import Coroutine
from functools import partial
from typing import Any

from plimsoll.adapters.common.binding import Binding
from plimsoll.adapters.common.hardened import Hardened, Life
from plimsoll.adapters.common.watching import Audience, TextStream
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.showing import Relay

__all__ = ["AskedAgent"]

_INPUT, _OWN_DEPS = "input", "own_deps"


class AskedAgent(Hardened):
    """A hardened agent: `run`, `run_stream` and `resume` for one request at a time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._audience = Audience()

    async def run(self, input: Any, *, run_id: str | None = None, deps: Any = None) -> RunResult:
        """Runs the agent on `input` until it ends or parks. `native` of the result is the framework's own result.

        `run_id` makes it idempotent: asked again with the same id, a run that ended is answered from the journal, and
        one that did not is resumed. `deps` are for this run only, and not kept once this returns; None takes those that
        `harden` was given, and so does whoever goes on with the run later. Raises `JournalUnavailable` when the run
        cannot be recorded: nothing was done then.
        """
        name = self.harness.env.ids.new("run") if run_id is None else run_id
        asked = self._encoded(input)
        if deps is not None:
            asked = {_INPUT: asked, _OWN_DEPS: True}
        with self._deps.during(name, deps):
            return await self.harness.run(asked, run_id=name)

    def run_stream(self, input: Any, *, run_id: str | None = None, deps: Any = None) -> TextStream:
        """As `run`, and shows what the model says, as it says it.

        >>> async with hardened.run_stream("Where is W1?", run_id="ticket-7713") as texts:
        ...     async for text in texts:
        ...         show(text)  # in place of what was shown before
        >>> result = texts.result
        """
        name = self.harness.env.ids.new("run") if run_id is None else run_id
        return TextStream(partial(self._shown, name, lambda: self.run(input, run_id=name, deps=deps)))

    async def resume(self, run_id: str, *, take_over: bool = False, forced_by: str = "", deps: Any = None) -> RunResult:
        """Goes on with a run that parked, or whose process died. Raises `UnknownRun`, `ReplayMismatch`, `RunBusy`.

        `take_over` takes it from an owner that still lives but is known to be stuck; `forced_by` lets it go on although
        its process has died too often; see `Harness.resume`. `deps` are for this run, as in `run`.
        """
        with self._deps.during(run_id, deps):
            return await self.harness.resume(run_id, take_over=take_over, forced_by=forced_by)

    def resume_stream(self, run_id: str, *, deps: Any = None) -> TextStream:
        """As `resume`, and shows what the model says, from the run's beginning."""
        return TextStream(partial(self._shown, run_id, lambda: self.resume(run_id, deps=deps)))

    async def _shown(self, run_id: str, begin: Any, relay: Relay[str]) -> RunResult:
        with self._audience.shown(run_id, relay):
            begun: Coroutine[Any, Any, RunResult] = begin()
            return await begun

    async def _advance(self, life: Life, run: Run, asked: Any) -> Any:
        own = isinstance(asked, dict) and asked.keys() == {_INPUT, _OWN_DEPS}
        deps = await life.deps.of(run, had_own=own)
        binding = Binding(
            run,
            contract=self.contract,
            primary=life.models.first(),
            model_of=life.models.of,
            verifiers=life.verifiers,
            deps=deps,
            audience=self._audience,
        )
        try:
            native = await self._answered(binding, asked[_INPUT] if own else asked)
        except Exception:
            binding.leave()  # a call that waits for a person goes before whatever went wrong beside it
            raise
        binding.leave()  # as where the run ended with the very calls that wait
        return native

    # -- what an adapter says of its framework

    @abstractmethod
    def _encoded(self, input: Any) -> Any:
        """What the agent is asked, as JSON. Raises `Misuse` for what has none."""

    @abstractmethod
    async def _answered(self, binding: Binding, asked: Any) -> Any:
        """The agent on what it was asked, every call of it bound by `binding`: what it returns itself."""
