"""A request as a call of a run.

The agent runs at the client; here its run is advanced by one model call for each request, and parked in between. A run
that is gone on with replays the calls that its journal has, by their digests: what was asked is not in it. One that its
client does not come back to ends by itself.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from plimsoll.contract.model import Contract
from plimsoll.core.calls import Ending, ErrorRecord, Fault, Outcome, Status
from plimsoll.core.errors import CallFailed, Misuse, OperationFailed, ReplayMismatch, RunBusy, RunErased, RunParked
from plimsoll.core.events import CallSettled, Record, RunStarted
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.showing import Restarted
from plimsoll.runtime.streaming import ModelStream
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.services.gateway.exchange import Asked, GatewayExchange, Part, Past
from plimsoll.services.gateway.failures import failure_of, halted
from plimsoll.services.gateway.upstreams import Reply, Sender
from plimsoll.services.http import Failure

__all__ = ["Answer", "Request", "Runs", "Screen"]

FINGERPRINT = "gateway-1"
"""What is replayed are digests: a run goes on under any version of the contract and of this code."""
BUSY_S = 60.0
"""How many seconds a request waits for those before it in its run."""
_NEXT = "the next request"
_OWN = "own"
_BY_CLIENT = (RunStarted, CallSettled)
"""The events of a run that its client has had a part in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks, and of which run it is a call: its own name for it, or none. `key` is its idempotency key."""

    asked: Asked
    run: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered, by which rung, in which run. `replayed`: it was before, and nobody was asked now."""

    reply: Reply
    rung: str
    degraded: bool
    run: str
    replayed: bool = False


class Screen:
    """What leads the parts of an answer to the client that is shown them, which may leave.

    `run` is the answer's, `rungs` are the names of those that may bring it.
    """

    def __init__(self, rungs: Sequence[str] = ()) -> None:
        self._rungs = rungs
        self._parts: asyncio.Queue[Part | None] = asyncio.Queue(1)
        self._stream: ModelStream[Part] | None = None
        self.run = ""
        self.shown = 0
        self.left = False
        self.voided = ""
        """Why the answer began anew when something of it had been shown; empty: it did not."""

    async def follow(self, stream: ModelStream[Part]) -> None:
        """Shows a stream until it ends, or begins anew, or nobody looks any more."""
        self._stream = stream
        async for part in stream:
            if self.left:
                return
            if isinstance(part, Restarted):
                if self.shown:
                    self.voided = part.why
                    return
                continue
            if not part.rung and stream.outcome is not None:  # all of it was there at once
                part = Part(self._rungs[stream.outcome.rung], part.data)  # noqa: PLW2901
            self.shown += 1
            await self._parts.put(part)

    async def next(self) -> Part | None:
        """The next part; None at the end."""
        return await self._parts.get()

    async def end(self) -> None:
        """There is no further part."""
        if not self.left:
            await self._parts.put(None)

    async def leave(self) -> None:
        """Nobody looks any more. The answer is asked for no further."""
        self.left = True
        while not self._parts.empty():
            self._parts.get_nowait()
        if self._stream is not None:
            await self._stream.close()


@dataclass(slots=True, kw_only=True)
class _Asking:
    """A request on its way through its run."""

    request: Request
    exchange: GatewayExchange
    screen: Screen | None
    outcome: Outcome | None = None
    replayed: bool = False
    failure: Failure | None = None


@dataclass(slots=True)
class _Turns:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


_asking: ContextVar[_Asking | None] = ContextVar("plimsoll_gateway_asking", default=None)


class Runs:
    """The runs of all clients, under one contract, over one journal."""

    def __init__(self, contract: Contract, *, surroundings: Surroundings, upstreams: Sender) -> None:
        assert contract.gateway is not None  # whoever made the upstreams has looked for it
        self._idle_s = contract.gateway.run_idle_s
        self._upstreams = upstreams
        self._clock = surroundings.clock
        self._ids = surroundings.ids
        self._turns: dict[str, _Turns] = {}
        self.harness = Harness(contract, agent=self._agent, surroundings=surroundings, fingerprint=FINGERPRINT)

    async def ask(self, request: Request, *, screen: Screen | None = None) -> Answer:
        """Takes a request through its run. Raises `Failure`.

        `screen` is shown the answer as it comes; the request is durable, as is its answer, when this returns.
        """
        asked = request.asked
        own = not request.run and not request.key
        name = request.run or (f"key-{_digest(request.key)}" if request.key else self._ids.new("run"))
        run_id = f"{asked.tenant}/{name}"
        if screen is not None:
            screen.run = name
        asking = _Asking(request=request, exchange=GatewayExchange(asked, self._upstreams), screen=screen)
        began = self.harness.beginning({"tenant": asked.tenant, _OWN: own})
        async with self._turn(run_id):
            token = _asking.set(asking)
            try:
                result = await self.harness.lead(run_id, began)
            except (ReplayMismatch, RunErased):
                raise
            except Misuse:
                raise Failure(409, "run_not_here", f"run {name} is not one of this gateway; begin another") from None
            finally:
                _asking.reset(token)
            if asking.outcome is None and asking.failure is None and request.key:
                await self._look(asking, run_id)
        return self._answer(asking, result, name, own=own)

    @asynccontextmanager
    async def _turn(self, run_id: str) -> Any:
        """One request of a run after the other. Raises `Failure` for one that waits too long."""
        turns = self._turns.setdefault(run_id, _Turns())
        turns.waiting += 1
        try:
            try:
                async with asyncio.timeout(BUSY_S):
                    await turns.lock.acquire()
            except TimeoutError:
                raise RunBusy(run_id, owner="an earlier request") from None
            try:
                yield
            finally:
                turns.lock.release()
        finally:
            turns.waiting -= 1
            if not turns.waiting:
                del self._turns[run_id]

    async def _agent(self, run: Run, input: Mapping[str, Any]) -> str | None:
        """The client's agent, as far as it is seen here: the calls that it has made, and the one that it makes now."""
        asking = _asking.get()
        records = await self.harness.store.read(run.id) if run.state.replay.resumed else ()
        settled = _settled(records)
        for event in settled:
            await run.exchange(Past(event), key=event.key)
        if asking is None:
            return self._unasked(run, records, own=input[_OWN])
        key = _find(asking, settled)
        if key:
            await self._call(run, asking, key)
        if not _is_over(asking, own=input[_OWN]):
            self._park(run, until=self._clock.now() + self._idle_s)
        if asking.outcome is not None and not asking.outcome.ok and asking.outcome.status is not Status.ABANDONED:
            error = asking.outcome.error
            raise OperationFailed("no model answered" if error is None else f"no model answered ({error.fault})")
        return None

    def _unasked(self, run: Run, records: Sequence[Record], *, own: bool) -> str:
        """A run that nobody asks for now: a process that died has left it, somebody has cancelled it, or its client has
        not come back for as long as is waited. Then it ends, as its last request did."""
        if own:
            raise OperationFailed("the gateway's process died while it was asked")
        until = max(record.at for record in records if isinstance(record.event, _BY_CLIENT)) + self._idle_s
        if self._clock.now() < until:
            self._park(run, until=until)
        left = f"its client has not come back for {self._idle_s:g} s"
        if not all(event.outcome.ok for event in _settled(records)[-1:]):
            raise OperationFailed(f"its last request brought no answer, and {left}")
        return left

    async def _call(self, run: Run, asking: _Asking, key: str) -> None:
        exchange = asking.exchange
        if asking.screen is None:
            asking.outcome = (await run.exchange(exchange, key=key)).outcome
            return
        if asking.screen.left:  # while it waited for its turn
            asking.outcome = _ABANDONED
            return
        stream = run.streaming(exchange, key=key)
        async with stream:
            with suppress(CallFailed):  # the outcome tells it
                await asking.screen.follow(stream)
        asking.outcome = stream.outcome or _ABANDONED

    def _park(self, run: Run, *, until: float) -> None:
        signal = RunParked("signal", detail=_NEXT, until=until)
        run.state.guard()
        run.state.unwind(signal)
        raise signal

    async def _look(self, asking: _Asking, run_id: str) -> None:
        """Whether a run that had ended has answered this very request."""
        _find(asking, _settled(await self.harness.store.read(run_id)))

    def _answer(self, asking: _Asking, result: RunResult, name: str, *, own: bool) -> Answer:
        """What the client is told, once all of it is durable. Raises `Failure`."""
        model, outcome = asking.request.asked.model, asking.outcome
        if asking.failure is not None:
            raise asking.failure
        if result.ending is Ending.PARKED and _NEXT not in result.reason:
            raise Failure(503, "run_waits", f"run {name} cannot go on now ({result.reason.partition(':')[0]})")
        if outcome is None or (result.ending is Ending.HALTED and not asking.replayed):
            limit = next((each.fault for each in reversed(result.findings) if each.kind == "limit"), "")
            if result.ending is Ending.HALTED:
                raise halted(limit or "", f"run {name} was halted: {result.reason}", whole=own)
            raise Failure(409, "run_over", f"run {name} has ended ({result.ending}); begin another")
        if not outcome.ok:
            raise failure_of(model, outcome.error or _LEFT, attempts=outcome.attempts)
        ladder = self.harness.env.ladders[model]
        return Answer(
            reply=asking.exchange.decode(outcome.value),
            rung=ladder.rungs[min(outcome.rung, len(ladder.rungs) - 1)].name,
            degraded=outcome.rung > 0,
            run=name,
            replayed=asking.replayed,
        )


_LEFT = ErrorRecord(type="Abandoned", message="its client left before the end", fault=Fault.REFUSED)
_ABANDONED = Outcome(status=Status.ABANDONED, error=_LEFT)


def _settled(records: Sequence[Record]) -> list[CallSettled]:
    return [event for record in records if isinstance(event := record.event, CallSettled)]


def _find(asking: _Asking, settled: Sequence[CallSettled]) -> str:
    """The key of the call that is to be made; empty where there is none, since its answer is known, or wrongly asked.

    With an idempotency key an answer is given again, and what brought none is asked anew.
    """
    if not asking.request.key:
        return f"request-{len(settled) + 1}"
    key = f"idempotent-{_digest(asking.request.key)}"
    same = [event for event in settled if event.key.partition("~")[0] == key]
    exchange = asking.exchange
    if any((event.dependency, event.args_digest) != (exchange.dependency, exchange.args_digest) for event in same):
        what = "this Idempotency-Key was used in this run for another request; give each request a key of its own"
        asking.failure = Failure(422, "idempotency_key_reused", what)
        return ""
    answered = next((event.outcome for event in same if event.outcome.ok), None)
    if answered is not None:
        asking.outcome, asking.replayed = answered, True
        return ""
    return f"{key}~{len(same) + 1}"


def _is_over(asking: _Asking, *, own: bool) -> bool:
    """Whether the run has no further request: its client has named none, and was answered or may not ask again."""
    if asking.request.run:
        return False
    return own or (asking.outcome is not None and asking.outcome.ok)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]
