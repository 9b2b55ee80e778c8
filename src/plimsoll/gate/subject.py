"""The subject of a gate: an agent, hardened or as people write it first, as the gate needs it.

Adapters make subjects; the gate knows no framework. Everything here is matched by shape, so an adapter need not import
the gate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from plimsoll.contract.model import Contract
from plimsoll.core.calls import Fault
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["Forger", "Process", "Subject", "SubjectLike"]


class Process(Protocol):
    """One life of the agent's process. A `Harness` is one."""

    async def run(self, input: Any, *, run_id: str | None = None) -> RunResult:
        """Serves a request."""
        ...

    async def wake(self) -> Sequence[RunResult]:
        """Goes on with whatever an earlier life left unfinished, and whatever was decided since."""
        ...

    async def close(self) -> None:
        """Ends this life in good order."""
        ...


class Forger(Protocol):
    """Makes faults as the dependency itself would show them: its real exceptions, its real payloads."""

    def forge(self, fault: Fault, exchange: Exchange, native: Any) -> Any:
        """The native answer that shows `fault`, or raises the exception that does.

        `native` is the true answer (None when none was fetched). Raises `LookupError` when this dependency cannot show
        this fault.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An agent on trial.

    `live` begins one life of its process in the given surroundings, in a scenario's world. `hardened` says whether it
    has a journal and protections of ours. `models` are the stand-ins, by their names in the contract; those of a child
    have its name and a dot before theirs. `family` are the contracts of its children, and of theirs. `local_models`
    says which weights its models of its own have, by rung (SHA-256): a scenario that gives no stand-in for one has the
    model itself asked. `guard_models` says the same of its guards, by their names in a trial; they judge themselves.
    """

    name: str
    fingerprint: str
    contract: Contract
    hardened: bool
    forger: Forger
    live: Callable[[Surroundings, Mapping[str, Any], Any], Process]
    """`live(surroundings, models, world)`."""
    family: tuple[Contract, ...] = ()
    outside: bool = False
    """Whether it is a process of its own, that asks its models through the gateway: it is tried in real time, and what
    its tools do is not seen."""
    local_models: Mapping[str, str] = field(default_factory=dict)
    guard_models: Mapping[str, str] = field(default_factory=dict)


class SubjectLike(Protocol):
    """Whatever has the shape of a `Subject`: what the gate asks for, so that an adapter's own class will do."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def contract(self) -> Contract: ...
    @property
    def hardened(self) -> bool: ...
    @property
    def forger(self) -> Forger: ...
    @property
    def live(self) -> Callable[[Surroundings, Mapping[str, Any], Any], Process]: ...
    @property
    def family(self) -> tuple[Contract, ...]: ...
    @property
    def outside(self) -> bool: ...
    @property
    def local_models(self) -> Mapping[str, str]: ...
    @property
    def guard_models(self) -> Mapping[str, str]: ...
