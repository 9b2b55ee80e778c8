"""The same agent as people write it first: no journal, no protections, every call straight to the dependency."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from plimsoll.contract.model import Contract
from plimsoll.core.calls import CallInfo, Ending
from plimsoll.gate.plain import PlainForger
from plimsoll.gate.subject import Subject
from plimsoll.runtime.compiled import compiled
from plimsoll.runtime.environment import Environment
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.tools import tool_spec
from tests.gate.sample import Shop, agent, contract, shop_tools


class BareRun:
    """What the agent calls, in the shape of a `Run`: every call is sent once and believed."""

    def __init__(self, env: Environment, run_id: str) -> None:
        self._env = env
        self._run_id = run_id
        self._count = 0

    async def call(self, name: str, args: dict[str, Any]) -> Any:
        exchange = self._env.tool_exchange(name, args)
        return await self._send(name, exchange, lambda: exchange.send(None))

    async def model(self, prompt: Any) -> ModelReply:
        exchange = self._env.model_exchange("primary", prompt)
        reply: ModelReply = await self._send("primary", exchange, lambda: exchange.send(None))
        return reply

    @asynccontextmanager
    async def stream(self, prompt: Any) -> AsyncGenerator["Said"]:
        yield Said(await self.model(prompt))

    async def _send(self, name: str, exchange: Any, send: Callable[[], Awaitable[Any]]) -> Any:
        self._count += 1
        key = f"{self._count}:{name}"
        info = CallInfo(
            run_id=self._run_id,
            key=key,
            dependency=name,
            kind=exchange.kind,
            effect=self._env.tool(name).effect,
            attempt=1,
            rung=0,
            deadline_s=0.0,
        )
        return await self._env.interceptor(name, info, exchange, send)


class Said:
    """An answer that is whole before anybody is shown it."""

    def __init__(self, reply: ModelReply) -> None:
        self.reply = reply

    async def __aiter__(self) -> AsyncIterator[str]:
        yield self.reply.text


class BareProcess:
    """One life of a process that remembers nothing."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    async def run(self, input: Any, *, run_id: str | None = None) -> RunResult:
        name = run_id or "run"
        run: Any = BareRun(self._env, name)
        return RunResult(run_id=name, ending=Ending.COMPLETE, output=await agent(run, input))

    async def wake(self) -> Sequence[RunResult]:
        return []

    async def close(self) -> None:
        pass


def bare(promised: Contract | None = None) -> Subject:
    expected = promised or contract()

    def live(surroundings: Surroundings, models: Mapping[str, Any], world: Shop) -> BareProcess:
        specs = map(tool_spec, shop_tools(world))
        return BareProcess(
            Environment(
                compiled=compiled(expected),
                fingerprint="bare",
                surroundings=surroundings,
                tools={spec.name: spec for spec in specs},
                models=models,
                verifiers={},
            )
        )

    return Subject(name="bare", fingerprint="bare", contract=expected, hardened=False, forger=PlainForger(), live=live)
