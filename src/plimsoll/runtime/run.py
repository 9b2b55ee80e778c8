"""A run: one life of an agent's code, from the request to its ending, across crashes and waits."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from inspect import isawaitable
from typing import Any, NoReturn, TypeVar

from plimsoll.core.calls import Effect
from plimsoll.core.canonical import as_recorded
from plimsoll.core.errors import Misuse, RunContinued, RunParked, SignalTimeout, Unwind
from plimsoll.core.events import SignalReceived, TimerFired, ValueRecorded
from plimsoll.core.guards import is_screening
from plimsoll.runtime.children import taken_over
from plimsoll.runtime.current import run_context
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.lineage import link_of, turn_of
from plimsoll.runtime.mailbox import check_signal_name
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.pipeline import Settled, call, effect_of
from plimsoll.runtime.replay import place_of
from plimsoll.runtime.screening import screen_result
from plimsoll.runtime.sessions import Turn, turns_before
from plimsoll.runtime.state import RunState
from plimsoll.runtime.streaming import ModelStream, StreamedExchange
from plimsoll.runtime.waiting import checked, others_first, wait

__all__ = ["Run", "current_run"]

P = TypeVar("P")


class Run:
    """What an agent's code holds while it runs: the way out into the world.

    Made by the harness alone. Everything that it does goes through the call pipeline and into the journal.
    """

    __slots__ = ("state",)

    def __init__(self, state: RunState) -> None:
        self.state = state

    @property
    def id(self) -> str:
        """The run's id, the same for its whole life."""
        return self.state.id

    @property
    def session(self) -> str:
        """The session that this run is a turn of; empty where it is none."""
        return self.state.started.session

    async def history(self) -> tuple[Turn, ...]:
        """The earlier turns of this run's session, the oldest first, as they are recorded.

        A replay gets the same, but for what has been erased since.
        """
        number = turn_of(self.session, link_of(self.id)[0]) if self.session else 1
        return await turns_before(self.state.env.store, self.session, number)

    async def call(self, name: str, args: Mapping[str, Any] | None = None, *, key: str | None = None) -> Any:
        """Calls the tool `name` with `args` and returns its JSON result.

        `key` names the call where its place in the order of calls is not stable; None derives it from that order.
        Raises `Rejected` when a policy or a person said no, `CallFailed` when the dependency failed, and
        `UnknownDependency` when no such tool is registered.
        """
        try:
            named = dict(args or {})
        except (TypeError, ValueError) as error:
            what = f"{name} was called with a {type(args).__name__}: its arguments are a mapping of names to values"
            raise Misuse(f"{what}. Nothing was sent") from error
        exchange = self.state.env.tool_exchange(name, named)
        return (await self.exchange(exchange, key=None if key is None else own(key))).unwrap()

    async def model(self, prompt: Any, *, name: str = "primary", key: str | None = None) -> ModelReply:
        """Asks the model `name`, or what its ladder falls back to, and returns its `ModelReply`."""
        reply: ModelReply = (await self.exchange(self.state.env.model_exchange(name, prompt), key=own(key))).unwrap()
        return reply

    async def child(self, name: str, input: Any, *, key: str | None = None) -> Any:
        """Has another agent do a part of the work, in a run of its own, and returns its output.

        `name` is one of the harness's `children`, `input` is JSON. After a crash the same child is gone on with. This
        run parks while the child waits. Where the child was degraded, so is this run. Raises `CallFailed` when it was
        halted or failed, and `UnknownDependency` when there is no such child.
        """
        return (await self.exchange(self.state.env.child_exchange(name, input), key=own(key))).unwrap()

    async def handoff(self, name: str, input: Any, *, key: str | None = None) -> NoReturn:
        """Hands over to another agent for good: however the child ends, this run ends so too. Never returns."""
        settled = await self.exchange(self.state.env.child_exchange(name, input), key=own(key))
        if settled.outcome.value is None:
            settled.unwrap()  # refused: there was no child
        raise self._leaving(taken_over(settled.outcome))

    async def continue_as_new(self, input: Any) -> NoReturn:
        """Ends this run and goes on as a new one with `input` (JSON), whose journal begins empty. Never returns.

        Whoever asks for this run gets the latest one's result. Limits count anew in each, except `seconds`.
        """
        raise self._leaving(RunContinued(as_recorded(input, what="the input of the next run")))

    def _leaving(self, signal: Unwind) -> Unwind:
        self.state.streams.check(asyncio.current_task(self.state.loop))
        self.state.guard()
        self.state.unwind(signal)
        return signal

    def stream(self, prompt: Any, *, name: str = "primary", key: str | None = None) -> ModelStream[str]:
        """Asks the model `name`, or what its ladder falls back to, and shows its answer as it comes.

        What is shown is provisional until the call is settled, at the end; `reply` is the `ModelReply` then. A
        `Restarted` among the texts says that those before it are void. A receiver that leaves the `async with` early
        ends the call. The task that is shown the texts makes no call in between: it would be gone after a crash.

        >>> async with run.stream({"say": "hello"}) as parts:
        ...     async for part in parts:
        ...         text = "" if isinstance(part, Restarted) else text + part
        >>> reply = parts.reply
        """
        return self.streaming(self.state.env.model_exchange(name, prompt), key=own(key))

    def streaming(self, exchange: StreamedExchange[P], *, key: str | None = None) -> ModelStream[P]:
        """Takes one model call through the pipeline, and shows its answer as it comes."""
        key = key or self.state.next_key(exchange.dependency)
        return ModelStream(self.state, exchange, key, lambda: self.exchange(exchange, key=key))

    async def sleep(self, seconds: float, *, key: str | None = None) -> None:
        """Returns after `seconds` (0 or more), even if the process dies meanwhile: a run that goes on waits the rest.

        Up to a second it waits in memory. For longer the run parks once it does nothing but wait.
        """
        length_s = checked(seconds, what="the time to sleep")
        await self._wait("sleep", key, until=lambda now: now + length_s)

    async def sleep_until(self, wall_s: float, *, key: str | None = None) -> None:
        """Returns once the wall clock of whoever runs it says `wall_s` (seconds since the epoch), as `sleep` does."""
        at = checked(wall_s, what="the time to wake")
        await self._wait("sleep", key, until=lambda now: at)

    async def wait_for_signal(self, name: str, *, timeout_s: float | None = None, key: str | None = None) -> Any:
        """Waits until somebody sends the signal `name`, and returns its JSON payload.

        A signal may come before it is waited for. Each ends one wait, the oldest first. Raises `SignalTimeout` when
        none has come within `timeout_s` seconds; None waits for as long as it takes, parked.
        """
        check_signal_name(name)
        within_s = math.inf if timeout_s is None else checked(timeout_s, what="timeout_s")
        until = None if timeout_s is None else lambda now: now + within_s
        ended = await self._wait("signal", key, until=until, signal=name)
        if isinstance(ended, SignalReceived):
            return ended.payload
        raise SignalTimeout(name, timeout_s=within_s)

    async def _wait(
        self, what: str, key: str | None, *, until: Callable[[float], float] | None, signal: str | None = None
    ) -> TimerFired | SignalReceived:
        state = self.state
        state.streams.check(asyncio.current_task(state.loop))
        state.settle_left()
        key = own(key) or state.next_key(what)
        state.claim(key)
        return await wait(state, key, until=until, signal=signal)

    async def now(self) -> float:
        """Wall-clock seconds since the epoch, recorded: a replay gets the same."""
        return float(await self._value("now", self.state.env.clock.now))

    async def random(self) -> float:
        """A float in [0, 1), recorded: a replay gets the same."""
        return float(await self._value("random", self.state.env.rng.random))

    async def new_id(self, kind: str = "id") -> str:
        """A fresh identifier, recorded: a replay gets the same."""
        return str(await self._value("id", lambda: self.state.env.ids.new(kind)))

    async def value(self, name: str, make: Callable[[], Awaitable[Any]], *, key: str | None = None) -> Any:
        """What `make` brings (JSON), recorded: a replay gets the same, and makes nothing.

        For what differs on replay and changes nothing outside; after a crash before it was recorded it is made again.
        `key` names it where its place in the order of what the run asks for is not stable.
        """

        async def made() -> Any:
            return as_recorded(await make(), what=f"the value {name!r}")

        return await self._value(name, made, key=key)

    async def exchange(self, exchange: Exchange, *, key: str | None = None, defers: bool = False) -> Settled:
        """Takes one call through the pipeline and returns what came of it, whatever that is.

        `defers` leaves parallel calls alone when this one has to wait for a person: whoever says so takes the run off
        the stack itself. Otherwise every later call of this run is refused from then on.
        """
        state = self.state
        key = key or state.next_key(exchange.dependency)
        state.claim(key)
        if state.streams.busy:
            state.streams.check(asyncio.current_task(state.loop))
            state.settle_left()
        effect = effect_of(state, exchange)
        called = self._called(exchange, key, effect, defers)
        return await (called if effect is Effect.READ else self._sheltered(called))

    async def _sheltered(self, called: Coroutine[Any, Any, Settled]) -> Settled:
        """A call with an effect, in a task of its own: when its run leaves the stack, it may settle all the same.

        A task group cancels whatever runs beside a call that parks the run. This one is let go on then, for as long as
        whoever takes the run off the stack waits for it. Cancelled for any other reason, it is, and is awaited.
        """
        state = self.state
        task = asyncio.create_task(called)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if state.leaving:
                task.add_done_callback(_seen)
                raise
            task.cancel()
            await asyncio.wait([task])
            _seen(task)
            raise

    async def _called(self, exchange: Exchange, key: str, effect: Effect, defers: bool) -> Settled:
        state = self.state
        task = asyncio.current_task(state.loop)
        begins = task is not None and task not in state.inflight
        if task is not None:
            state.inflight.add(task)
        try:
            settled = await call(state, exchange, key, effect)
            return settled if state.env.guards is None else await screen_result(state, settled, key, effect)
        except Unwind as signal:
            waits = isinstance(signal, RunParked) and signal.reason in ("approval", "doubt", "child")
            if waits and not defers:
                await others_first(state)
            if not (waits and defers):
                state.unwind(signal)
            raise
        finally:
            if begins and task is not None:
                state.inflight.discard(task)

    async def _value(self, name: str, make: Callable[[], Any], *, key: str | None = None) -> Any:
        state = self.state
        state.streams.check(asyncio.current_task(state.loop))
        state.settle_left()
        key = own(key) or state.next_key(name)
        state.claim(key)
        recorded = await state.replay.value(key)
        if recorded is not None:
            return recorded.value
        state.guard()
        try:
            value = make()
            if isawaitable(value):
                value = await value
        except BaseException:
            state.keys.discard(key)  # nothing was recorded under it, so it may be tried again
            raise
        state.guard()
        state.record(ValueRecorded(key=key, value=value, beside=state.replay.beside()))
        return value


def _seen(task: asyncio.Task[Any]) -> None:
    """Nobody is left to look at what came of it."""
    if not task.cancelled():
        task.exception()


def own(key: object) -> str | None:
    """A key that the code gives, or none. Raises `Misuse` for one that could be that of another call."""
    if key is None:
        return None
    if not isinstance(key, str) or not key or place_of(key) or is_screening(key):
        rule = "that is a text, not empty, and does not begin with a number and a colon, or with guard:"
        raise Misuse(f"{key!r} is no key of your own: {rule}")
    return key


def current_run() -> Run:
    """The run that this code is part of. Raises `Misuse` outside one."""
    run = run_context.get()
    if not isinstance(run, Run):
        raise Misuse("not inside a run: this code was called by something other than a harness")
    return run
