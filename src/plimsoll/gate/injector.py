"""The injector: stands between the agent and its dependencies, notes every call, and makes planned faults happen."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from plimsoll.contract.model import Fresh, Mode
from plimsoll.core.calls import CallInfo, CallKind, Fault
from plimsoll.gate.fault_kinds import How
from plimsoll.gate.planting import plantings
from plimsoll.gate.scene import CallMade, Life, Planned, Scene
from plimsoll.gate.sites import tool_of
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.showing import cut_context

__all__ = ["Injector"]

_OPERATOR = "gate-operator"
_LATENCY_SHARE = 0.2


class Injector:
    """The interceptor of one life of the process."""

    __slots__ = ("_life", "_scene")

    def __init__(self, scene: Scene, life: Life) -> None:
        self._scene = scene
        self._life = life

    async def __call__(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        life, scene = self._life, self._scene
        life.check()
        call = scene.begin(site, info, exchange)
        site = call.name
        if len(scene.calls) > scene.stage.max_calls:
            scene.overrun = True
            raise life.end("the gate gave up on it")
        planned = scene.strike(call.site, site)
        call.struck = planned is not None
        cutting = cut_context.set(self._cut(call, planned)) if call.is_model else None
        try:
            if scene.latency:
                await self._delay(_LATENCY_SHARE * scene.rng.random() * scene.stage.slow_s(tool_of(site)))
            if planned is None:
                native = await send()
                call.done = True
            else:
                native = await self._struck(planned, site, exchange, _noting(call, send))
            call.native = native
        except BaseException as error:
            call.error = type(error).__name__
            raise
        finally:
            call.ended_s = scene.clock.monotonic()
            if cutting is not None:
                cut_context.reset(cutting)
            if scene.steps is not None:
                _told(scene, call)
        life.check()
        return native

    def _cut(self, call: CallMade, planned: Planned | None) -> Callable[[int], None]:
        """Notes that a model's answer comes in parts, and breaks it off after the first where that is the fault."""

        def cut(count: int) -> None:
            call.streamed = True
            if planned is not None and planned.kind.how is How.BREAK:
                fault = planned.kind.fault or Fault.CONNECTION
                self._scene.stage.subject.forger.forge(fault, call.exchange, None)

        return cut

    async def _struck(self, planned: Planned, site: str, exchange: Exchange, send: Send) -> Any:
        """The attempt as the fault has it."""
        match planned.kind.how:
            case How.DELAY:
                await self._delay(planned.kind.seconds * self._scene.stage.timeout_s(tool_of(site)))
                return await send()
            case How.HANG:
                await self._delay(self._scene.stage.hang_s)
                raise ConnectionError("the dependency never answered")
            case How.SILENCE:
                with suppress(Exception):  # also a refusal may be an answer that never comes
                    await send()
                await self._delay(self._scene.stage.hang_s)
                raise ConnectionError("the answer never came")
            case How.HOLLOW | How.AGE | How.TAINT:
                return await self._changed(planned, exchange, send)
            case How.RAISE:
                return await self._forged(planned, exchange, send, sent=False)
            case How.BREAK:
                native = await send()  # it was whole before it could break off: this answer does not come in parts
                planned.inapplicable, planned.fired_s = True, None
                return native
            case How.LOSE | How.FORGE:
                return await self._forged(planned, exchange, send, sent=True)
            case How.FORGE_INSTEAD:
                return await self._forged(planned, exchange, send, sent=False)
            case How.CRASH_BEFORE:
                raise self._crash()
            case How.CRASH_AFTER:
                await send()
                raise self._crash()
            case How.KILL:
                return await self._killed(send)
            case _:
                raise AssertionError(f"{planned.kind.name} strikes no call")

    async def _forged(self, planned: Planned, exchange: Exchange, send: Send, *, sent: bool) -> Any:
        """The fault as the dependency itself would show it. One that it cannot show does not strike at all."""
        if exchange.kind is CallKind.GUARD:  # which has no framework whose errors it would show
            raise RuntimeError("the guard broke down")
        native = None
        if sent:
            try:
                native = await send()
            except Exception:  # the dependency itself refused: that answer can be lost, but not garbled
                if planned.kind.how is How.FORGE:
                    planned.inapplicable = True
                    planned.fired_s = None
                    raise
        try:
            return self._scene.stage.subject.forger.forge(planned.kind.fault or Fault.EXCEPTION, exchange, native)
        except LookupError:
            planned.inapplicable = True
            planned.fired_s = None
            return native if sent else await send()

    async def _changed(self, planned: Planned, exchange: Exchange, send: Send) -> Any:
        """The answer, changed. One that cannot be changed so (None) is not struck at all."""
        try:
            native = await send()
        except Exception:  # there is no answer
            planned.inapplicable, planned.fired_s = True, None
            raise
        if planned.kind.how is How.HOLLOW:
            changed = _emptied(native)
        elif planned.kind.how is How.TAINT:
            changed = self._tainted(planned, exchange, native)
        else:
            fresh = self._scene.stage.contract.tool(planned.dependency).output.fresh
            changed = _aged(native, fresh, now=self._scene.clock.now())
        if changed is not None:
            return changed
        planned.inapplicable, planned.fired_s = True, None
        return native

    def _tainted(self, planned: Planned, exchange: Exchange, native: Any) -> Any:
        """The answer with the hostile text in it; None where the output check refuses it, however it is written there:
        an agent with that check is not brought the text, and need not stop it."""
        checked = self._scene.stage.contract.protections.output_check is Mode.ENFORCE
        ways = _ways(exchange, native, self._scene.hostile(planned))
        return next((way for way in ways if not checked or exchange.inspect(way).problem is None), None)

    async def _killed(self, send: Send) -> Any:
        scene = self._scene
        await engage_everything(scene)
        return await send()

    def _crash(self) -> BaseException:
        return self._life.end("the process was killed")

    async def _delay(self, seconds: float) -> None:
        if seconds > 0:
            await self._scene.clock.sleep(seconds)


def _ways(exchange: Exchange, native: Any, text: str) -> Iterator[Any]:
    """The answer with the text in it. An object whose JSON is its fields comes as that JSON, as a replay brings it."""
    yield from plantings(native, text)
    if native is None or isinstance(native, (str, bool, int, float, dict, list)):
        return
    value = exchange.encode(native)
    if isinstance(value, dict) and value and all(hasattr(native, field) for field in value):
        yield from plantings(value, text)


def _emptied(native: Any) -> Any:
    """The answer without what was in it."""
    return type(native)() if isinstance(native, (dict, list)) and native else None


def _aged(native: Any, fresh: Fresh | None, *, now: float) -> Any:
    """The answer with a date that is too old, written as its own is."""
    if fresh is None:
        return None
    path, old = fresh.field.split("."), now - 2 * fresh.max_age_s
    aged = place = deepcopy(native)
    for key in path[:-1]:
        place = place.get(key) if isinstance(place, dict) else None
    date = place.get(path[-1]) if isinstance(place, dict) else None
    if date is None:
        return None
    place[path[-1]] = datetime.fromtimestamp(old, UTC).isoformat() if isinstance(date, str) else old
    return aged


def _noting(call: CallMade, send: Send) -> Send:
    """Notes when the dependency has done what it was asked to."""

    async def noted() -> Any:
        native = await send()
        call.done = True
        return native

    return noted


async def engage_everything(scene: Scene) -> None:
    """Throws the kill switch on everything, and notes what was done, and what was under way, at that moment."""
    await Operations(scene.store, clock=scene.clock).kill(by=_OPERATOR, reason="a drill")
    scene.killed_at = len(scene.calls)
    scene.rows_at_kill = len(scene.world.effects())
    scene.under_way_at_kill = Counter(call.dependency for call in scene.calls if call.ended_s is None)
    scene.tell("person", f"{_OPERATOR} engages the kill switch on everything")


def _told(scene: Scene, call: CallMade) -> None:
    """The story's lines for a call that is over: the call, and what the world's ledger has since."""
    ended_s = call.ended_s if call.ended_s is not None else scene.clock.monotonic()
    outcome = f"failed with {call.error}" if call.error else "answered"
    attempt = f", attempt {call.info.attempt}" if call.info.attempt > 1 else ""
    scene.tell("run", f"{call.site}{attempt}: {outcome}", at_s=call.started_s, duration_s=ended_s - call.started_s)
    told = sum(1 for step in scene.steps or () if step.who == "world")
    for row in list(scene.world.effects())[told:]:
        scene.tell("world", f"the ledger has {row.tool} {dict(row.args)}")
