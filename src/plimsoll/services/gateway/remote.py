"""An agent of any language on trial: a process of its own, that asks its models through a gateway in the gate's hands.

All that couples them is the environment that the process is begun with: a base URL, a key, and a name for its run.
"""

import asyncio
import dataclasses
import hashlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from msgspec.structs import replace

from plimsoll.contract.checking_gateway import gateway_problems
from plimsoll.contract.loading import contract_digest
from plimsoll.contract.model import Contract
from plimsoll.core.calls import CallInfo, Ending
from plimsoll.core.canonical import digest
from plimsoll.core.errors import Misuse
from plimsoll.gate.subject import Subject
from plimsoll.runtime.exchange import Exchange, Interceptor, Send
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.services.gateway.app import create_gateway
from plimsoll.services.gateway.serving import served
from plimsoll.services.gateway.stand_ins import GatewayForger, StandIns
from plimsoll.services.gateway.tenants import KeyFile

__all__ = ["remote_subject"]

_TENANT = "gate"
_KEYS = "keys.json"
_LAST_WORDS = 300
_STDERR = 2
_MAX_ANSWER_BYTES = 1_000_000
_MAX_COMPLAINT_BYTES = 65_536
_LAST_READ_S = 1.0
"""How many seconds are left for what an agent has written to be read, once it has ended and its session was killed."""


def remote_subject(command: Sequence[str], contract: Contract) -> Subject:
    """The agent that `command` runs, as the gate tries it under the gateway's `contract`.

    For each trial it is run once: the scenario's input comes on its standard input (a text as it is, anything else as
    JSON), `OPENAI_BASE_URL`, `OPENAI_API_KEY` and `PLIMSOLL_RUN` are in its environment, and its answer is what it
    writes to its standard output. An exit code that is not 0 says that it failed. A scenario's models are stand-ins:
    functions of a request's JSON. Raises `Misuse` where there is no such command, or the contract makes no gateway.
    """
    if not command or shutil.which(command[0]) is None:
        raise Misuse(f"there is no command {command[0] if command else ''!r} to run the agent by")
    problems = [f"{'.'.join(map(str, path))} {what} → {fix}" for path, what, fix in gateway_problems(contract)]
    if contract.gateway is None or problems:
        raise Misuse(
            "a remote agent is tried through its gateway, and this contract makes none: " + "; ".join(problems)
        )
    ours = replace(contract, gateway=replace(contract.gateway, keys=_KEYS))

    def live(surroundings: Surroundings, models: Mapping[str, Any], world: Any) -> _Life:
        return _Life(command, ours, surroundings, StandIns(ours, models))

    return Subject(
        name=contract.agent.name,
        fingerprint=_fingerprint(command, contract),
        contract=contract,
        hardened=True,
        forger=GatewayForger(),
        live=live,
        outside=True,
    )


def _fingerprint(command: Sequence[str], contract: Contract) -> str:
    """Over the command, the files that it names, and the contract: what else the agent is made of is not known here."""
    files = {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in command if Path(name).is_file()}
    return digest([list(command), files, contract_digest(contract)])


class _Life:
    """One life of the agent, and of the gateway before it."""

    def __init__(
        self, command: Sequence[str], contract: Contract, surroundings: Surroundings, models: StandIns
    ) -> None:
        self._command = command
        self._contract = contract
        self._models = models
        self._surroundings = surroundings

    async def run(self, input: Any, *, run_id: str | None = None) -> RunResult:
        """Has the agent serve a request."""
        run = run_id or self._surroundings.ids.new("run")
        watched = _Watched(self._surroundings.interceptor, run)
        with TemporaryDirectory(prefix="plimsoll-gate-") as folder:
            key = KeyFile(Path(folder) / _KEYS).add(_TENANT, at=self._surroundings.clock.now())
            around = dataclasses.replace(self._surroundings, interceptor=watched)
            app = create_gateway(self._contract, surroundings=around, directory=folder, upstreams=self._models)
            async with served(app) as url:
                told = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": key, "PLIMSOLL_RUN": run}
                talking = asyncio.create_task(_talk(self._command, input, told))
                waited: set[asyncio.Future[Any]] = {talking, watched.given_up}
                try:
                    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not talking.done():
                        talking.cancel()
                        await asyncio.wait([talking])
        if watched.given_up.done():
            raise watched.given_up.result()
        code, said, complained = talking.result()
        return await self._result(run, code, said, complained, degraded=watched.degraded)

    async def wake(self) -> Sequence[RunResult]:
        """Nobody here can wake it."""
        return ()

    async def close(self) -> None:
        """It ended with its request."""

    async def _result(self, run: str, code: int, said: str, complained: str, *, degraded: bool) -> RunResult:
        if code == 0:
            return RunResult(run_id=run, ending=Ending.DEGRADED if degraded else Ending.COMPLETE, output=said)
        heads = await self._surroundings.store.heads()
        ending = Ending.HALTED if any(head.ending is Ending.HALTED for head in heads) else Ending.FAILED
        last = complained.rstrip().rpartition("\n")[2][-_LAST_WORDS:]
        return RunResult(run_id=run, ending=ending, reason=f"exit code {code}{': ' + last if last else ''}")


class _Watched:
    """The gate's interceptor, told of the agent's calls by their numbers: an agent that names no run has one for each.

    `degraded` is whether a rung below the first answered; `given_up` has what the gate ended the trial with.
    """

    def __init__(self, inner: Interceptor, run: str) -> None:
        self._inner = inner
        self._run = run
        self._numbers: dict[tuple[str, str], int] = {}
        self.degraded = False
        self.given_up: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def __call__(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        number = self._numbers.setdefault((info.run_id, info.key), len(self._numbers) + 1)
        try:
            native = await self._inner(site, replace(info, run_id=self._run, key=str(number)), exchange, send)
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as end:
            if not self.given_up.done():
                self.given_up.set_result(end)
            raise
        self.degraded = self.degraded or info.rung > 0
        return native


async def _talk(command: Sequence[str], input: Any, told: Mapping[str, str]) -> tuple[int, str, str]:
    """Runs the agent on a request: its exit code, its answer, and what it complained of. Cancelled, it is killed."""
    text = input if isinstance(input, str) else msgspec.json.encode(input).decode()
    loop = asyncio.get_running_loop()
    transport, talk = await loop.subprocess_exec(
        _Talk,
        *command,
        env={**os.environ, **{name: _with_us(os.environ.get(name)) for name in ("NO_PROXY", "no_proxy")}, **told},
        start_new_session=True,
    )
    pid = transport.get_pid()
    try:
        stdin: Any = transport.get_pipe_transport(0)
        stdin.write(text.encode())
        stdin.close()
        await asyncio.wait([talk.exited, talk.flooded], return_when=asyncio.FIRST_COMPLETED)
        _kill(pid)  # what it has left running
        await talk.exited
        await asyncio.wait([talk.closed], timeout=_LAST_READ_S)  # who has left its session may hold the pipes open
    finally:
        if not talk.exited.done():
            _kill(pid)
        transport.close()
        await talk.closed
    complained = f"it wrote more than {_MAX_ANSWER_BYTES} bytes" if talk.flooded.done() else talk.complained
    return transport.get_returncode() or 0, talk.said, complained


class _Talk(asyncio.SubprocessProtocol):
    """What an agent writes: all of its answer, unless that is too long, and the last of what it complains of."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.flooded: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._out = bytearray()
        self._err = bytearray()

    @property
    def said(self) -> str:
        return self._out.decode(errors="replace").strip()

    @property
    def complained(self) -> str:
        return self._err.decode(errors="replace")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDERR:
            self._err += data
            del self._err[:-_MAX_COMPLAINT_BYTES]
        elif len(self._out) + len(data) <= _MAX_ANSWER_BYTES:
            self._out += data
        elif not self.flooded.done():
            self.flooded.set_result(None)

    def process_exited(self) -> None:
        self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _with_us(directly: str | None) -> str:
    """What is asked without a proxy, and the gateway."""
    return f"{directly},127.0.0.1" if directly else "127.0.0.1"
