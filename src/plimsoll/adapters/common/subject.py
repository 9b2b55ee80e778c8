"""Subjects of the gate: an agent of any framework as the gate tries it. The gate is matched by shape, not imported."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from plimsoll.adapters.common.hardened import Hardened
from plimsoll.adapters.common.models import stand_ins
from plimsoll.contract.model import Contract
from plimsoll.core.calls import Fault
from plimsoll.learning.local import LocalModel
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["AgentSubject", "Connections", "Forger", "Framework", "Live", "Process"]


class Process(Protocol):
    """One life of the agent's process."""

    async def run(self, input: Any, *, run_id: str | None = None) -> RunResult: ...
    async def wake(self) -> Sequence[RunResult]: ...
    async def close(self) -> None: ...


class Forger(Protocol):
    """Makes faults as the framework's dependencies would show them."""

    def forge(self, fault: Fault, exchange: Exchange, native: Any) -> Any: ...


Live = Callable[[Surroundings, Mapping[str, Any], Any], Process]
"""`live(surroundings, models, world)`: one life."""
Connections = Callable[[Any], Mapping[str, Database]]
"""Makes the databases of transaction tools in a scenario's world, by the names of their connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSubject:
    """An agent on trial, in the shape of `plimsoll.gate.subject.Subject`."""

    name: str
    fingerprint: str
    contract: Contract
    hardened: bool
    live: Live
    forger: Forger
    family: tuple[Contract, ...] = ()
    outside: bool = False
    local_models: Mapping[str, str] = field(default_factory=dict)
    guard_models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """What the gate has to know of a framework: the kind of its models, how one is made of a model of one's own, and
    what one is called; how its faults look; how to make JSON of what its agents return; and the process of a harness,
    where it needs more around it."""

    model: Any
    own: Callable[[LocalModel, str], Any]
    called: str
    forger: Forger
    output_of: Callable[[Any], Any]
    lived: Callable[[Any], Process] = lambda harness: harness

    def stand_ins(self, contract: Contract, given: Mapping[str, Any]) -> dict[str, Any]:
        """The stand-ins for the contract's models, by their names. Raises `Misuse` where one is missing or is none."""
        return stand_ins(contract, given, kind=self.model, own=self.own, what=self.called)

    def hardened_subject(
        self, hardened: Hardened, *, name: str | None = None, connections: Connections = lambda world: {}
    ) -> AgentSubject:
        """The hardened agent as the gate tries it: stand-ins for its models, the world as its dependencies.

        `connections` makes the databases of its transaction tools in a scenario's world, by the names of their
        connections. Models of its own that a scenario gives no stand-in for are tried as they are.
        """

        def live(surroundings: Surroundings, models: Mapping[str, Any], world: Any) -> Process:
            return self.lived(
                hardened.process(
                    surroundings,
                    models=self.stand_ins(hardened.contract, models),
                    deps=world,
                    connections=connections(world),
                )
            )

        return AgentSubject(
            name=name or hardened.contract.agent.name,
            fingerprint=hardened.fingerprint,
            contract=hardened.contract,
            hardened=True,
            live=live,
            forger=self.forger,
            family=hardened.family,
            local_models=hardened.local_models,
            guard_models=hardened.guard_models,
        )
