"""What a hardened agent is, whatever its framework: a harness that is opened when it is needed, and closed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from plimsoll.adapters.common.dependencies import Dependencies, with_deps
from plimsoll.adapters.common.guards import guards_of
from plimsoll.adapters.common.models import StandIns
from plimsoll.contract.loading import load_contract
from plimsoll.contract.model import Contract
from plimsoll.core.guards import Guard
from plimsoll.runtime.compensation import Undoing, UndoingOf
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.databases.opening import stand_ins
from plimsoll.runtime.guards import bound_guards, guarded
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.imports import functions_of
from plimsoll.runtime.leading import nothing
from plimsoll.runtime.local import local
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["NOT_GIVEN", "Hardened", "Life", "loaded"]

NOT_GIVEN: Any = object()


def loaded(contract: Contract | str | Path) -> tuple[Contract, Path]:
    """The contract, and the directory in which its relative paths start. Raises `ContractError`."""
    if isinstance(contract, Contract):
        return contract, Path()
    return load_contract(contract), Path(contract).parent


class Hardened(ABC):
    """An agent whose every model request and tool call goes through the pipeline. Each adapter makes one by `harden`.

    `models` say what is asked, as `plimsoll.adapters.common.models.Models`.
    """

    def __init__(
        self,
        contract: Contract,
        *,
        deps: Any,
        models: Any,
        verifiers: Mapping[str, Callable[..., Any]],
        compensators: Mapping[str, Callable[..., Any]],
        connections: Mapping[str, Database | str],
        guards: Mapping[str, Guard],
        surroundings: Surroundings | None,
        fingerprint: str,
        directory: Path,
    ) -> None:
        self.contract = contract
        self._guards = guards_of(contract, guards, directory=directory)
        bound_guards(contract, self._guards)  # which tells now what does not fit, before any request is taken
        self.fingerprint = guarded(fingerprint, self._guards)
        self._deps = Dependencies(deps)
        self._models = models
        self._verifiers = verifiers
        self._compensators = compensators
        self._connections = connections
        self._surroundings = surroundings
        self._opened: Surroundings | None = None
        self._directory = directory
        self._harness: Harness | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._needed()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Writes what is queued, and closes the journal if it was opened here."""
        if self._harness is not None:
            await self._harness.close()
            self._harness = None
        if self._opened is not None:
            await self._opened.store.close()
            self._opened = None
        await self._stack.aclose()

    async def wake(self) -> list[RunResult]:
        """Goes on with every run that can: decided, expired, or left behind by a process that died."""
        return await self.harness.wake()

    async def compensate(self, run_id: str, *, by: str, keys: Sequence[str] | None = None) -> RunResult:
        """Takes back what a run that has ended has done; see `Harness.compensate`. `by` is who wants it."""
        return await self.harness.compensate(run_id, by=by, keys=keys)

    @property
    def operations(self) -> Operations:
        """What people may do to runs: decide approvals, settle doubts, throw the kill switch."""
        return self.harness.operations

    @property
    def approvals(self) -> Operations:
        """The same: `approvals.requests()` lists what waits for a person, `approvals.decide(...)` decides it."""
        return self.harness.operations

    @property
    def harness(self) -> Harness:
        """The harness that runs it, made when it is first needed."""
        if self._harness is None:
            surroundings = self._surroundings
            if surroundings is None:
                surroundings = self._opened = local(self.contract, directory=self._directory)
            self._harness = self.process(surroundings)
        return self._harness

    def process(
        self,
        surroundings: Surroundings,
        *,
        models: Mapping[str, Any] | None = None,
        deps: Any = NOT_GIVEN,
        connections: Mapping[str, Database] | None = None,
    ) -> Harness:
        """One life of a process that runs this agent, in any surroundings: what the gate tries.

        `models` replace all models, by their names in the contract, and those of its children, by the child's name, a
        dot and theirs (`billing.primary`); `deps` replace the dependencies, its children's among them. `connections`
        replace the databases of transaction tools, theirs too: the contracts' own are not touched then.
        """
        life = Life(self, models=models, deps=self._deps if deps is NOT_GIVEN else Dependencies(deps, made=True))
        return Harness(
            self.contract,
            agent=life.advance,
            surroundings=surroundings,
            verifiers=life.verifiers,
            compensators=UndoingOf(tools=frozenset(self._compensators), make=life.undoing),
            children=self._children(models=models, deps=deps, connections=connections),
            connections=self._connections if connections is None else stand_ins(self.contract, connections),
            directory=self._directory,
            guards=self._guards,
            fingerprint=self.fingerprint,
            output_of=self._output_of,
            carried_of=self._carried_of,
        )

    @property
    def family(self) -> tuple[Contract, ...]:
        """The contracts of its children, and of theirs."""
        return ()

    @property
    def local_models(self) -> Mapping[str, str]:
        """Which weights its own models have that answer in this process, by rung; its children's by the child's name, a
        dot and theirs."""
        digests: Mapping[str, str] = self._models.local.digests()
        return digests

    @property
    def guard_models(self) -> Mapping[str, str]:
        """Which weights its guards have, by guard; its children's by the child's name, a dot and theirs."""
        return {name: guard.digest for name, guard in self._guards.items()}

    # -- what an adapter says of its framework

    @abstractmethod
    async def _advance(self, life: "Life", run: Run, asked: Any) -> Any:
        """The agent on what it was asked, as JSON, until it ends: what it returns itself."""

    @abstractmethod
    def _output_of(self, native: Any) -> Any:
        """What the agent returned, as JSON."""

    def _carried_of(self, native: Any) -> Any:
        """What the next turn of a session is handed."""
        return nothing(native)

    def _children(
        self, *, models: Mapping[str, Any] | None, deps: Any, connections: Mapping[str, Database] | None
    ) -> dict[str, Callable[..., Harness]]:
        """What makes the harnesses of its children, in given surroundings."""
        return {}

    def _needed(self) -> None:
        """Called before a life with the agent's own models begins: what has to be there from the start is made."""
        self._models.made()


class Life:
    """What one process needs to advance runs: the models and verifiers, found once."""

    def __init__(self, hardened: Hardened, *, models: Mapping[str, Any] | None, deps: Dependencies) -> None:
        self._hardened = hardened
        if models is None:
            hardened._needed()
        self.models = hardened._models if models is None else StandIns(models, own=hardened._models.own())
        self.deps = deps
        self.verifiers = functions_of(
            hardened.contract, "verify", given=hardened._verifiers, directory=hardened._directory
        )

    async def advance(self, run: Run, asked: Any) -> Any:
        """The agent, as a harness wants it."""
        return await self._hardened._advance(self, run, asked)

    async def undoing(self, run: Run) -> Undoing:
        """What takes calls back in `run`, and what finds out whether it did, with its dependencies."""
        deps = await self.deps.of(run)
        hardened = self._hardened
        compensators = functions_of(
            hardened.contract, "compensate", given=hardened._compensators, directory=hardened._directory
        )
        return Undoing(compensators=with_deps(compensators, deps), verifiers=with_deps(self.verifiers, deps))
