"""Subjects without a framework: an agent that is an async function, with its tools and models as functions."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from plimsoll.contract.model import Contract
from plimsoll.core.calls import CallKind, Fault, Unknown, Usage
from plimsoll.core.errors import Misuse
from plimsoll.core.guards import Guard
from plimsoll.gate.family import of_child
from plimsoll.gate.subject import Process, Subject
from plimsoll.runtime.compiled import compiled
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.databases.opening import stand_ins
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.fingerprint import default_fingerprint
from plimsoll.runtime.guards import bound_guards, guarded
from plimsoll.runtime.harness import AgentFunction, Harness
from plimsoll.runtime.models import ModelFunction, ModelReply
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.tools import ToolSpec, Verifier

__all__ = ["DependencyError", "PlainForger", "WorldConnections", "WorldTools", "WorldVerifiers", "plain_subject"]

WorldTools = Callable[[Any], Sequence[Callable[..., Any] | ToolSpec]]
"""Makes the tools that act upon a scenario's world."""
WorldConnections = Callable[[Any], Mapping[str, Database]]
"""Makes the databases of transaction tools, by the names of their connections, in a scenario's world."""
WorldVerifiers = Callable[[Any], Mapping[str, Verifier]]
"""Makes the verifiers that look into a scenario's world, by tool."""


class DependencyError(Exception):
    """What a plain tool or model raises when the service behind it answers with an HTTP error."""

    def __init__(self, status_code: int, message: str, *, retry_after: float | None = None) -> None:
        self.status_code = status_code
        self.retry_after = retry_after
        super().__init__(f"{status_code} {message}")


class PlainForger:
    """Faults as plain functions show them: built-in exceptions, HTTP errors, and values."""

    def forge(self, fault: Fault, exchange: Exchange, native: Any) -> Any:
        """See `plimsoll.gate.subject.Forger`."""
        match fault:
            case Fault.RATE_LIMITED:
                raise DependencyError(429, "Too Many Requests", retry_after=2.0)
            case Fault.SERVER_ERROR:
                raise DependencyError(503, "Service Unavailable")
            case Fault.CONNECTION:
                raise ConnectionResetError(104, "Connection reset by peer")
        return self._reply(fault, native) if exchange.kind is CallKind.MODEL else self._value(fault, native)

    def _reply(self, fault: Fault, native: Any) -> Any:
        usage = native.usage if isinstance(native, ModelReply) else Usage(input_tokens=1, output_tokens=1)
        match fault:
            case Fault.EMPTY:
                return ModelReply(usage=usage)
            case Fault.TRUNCATED:
                text = native.text if isinstance(native, ModelReply) else ""
                return ModelReply(text=text[: len(text) // 2] or "The", finish_reason="length", usage=usage)
            case Fault.ERROR_IN_SUCCESS:
                return ModelReply(text='{"error": {"message": "The server is overloaded", "code": 503}}', usage=usage)
            case Fault.MALFORMED:
                return "<html>502</html>"
        raise LookupError(f"a plain model cannot show {fault}")

    def _value(self, fault: Fault, native: Any) -> Any:
        match fault:
            case Fault.ERROR_IN_SUCCESS:
                return {"error": "Internal Server Error", "status": 500}
            case Fault.MALFORMED:
                return '{"status": "ok", "ite'
            case Fault.EXCEPTION:
                raise RuntimeError("the tool broke down")
            case Fault.EMPTY if native not in (None, "", [], {}):
                return None
        raise LookupError(f"a plain tool cannot show {fault}")


def plain_subject(
    agent: AgentFunction,
    contract: Contract,
    *,
    tools: WorldTools,
    verifiers: WorldVerifiers = lambda world: {},
    connections: WorldConnections = lambda world: {},
    guards: Mapping[str, Guard] | None = None,
    children: Mapping[str, Subject] | None = None,
    name: str = "",
    fingerprint: str = "",
) -> Subject:
    """A hardened agent that is an async function of its run and its input.

    `tools` and `verifiers` make, for each trial, the functions that act upon that trial's world; the scenario brings
    the models; `connections` makes the databases of transaction tools, never those of the contract's URLs. `guards`
    judge for the contract's guards. Only the tools whose contract names a `verify` get their verifier, and never the
    contract's own. `children` are plain subjects, too; the scenario brings their models by the child's name, a dot and
    theirs (`billing.primary`). `fingerprint` identifies the agent's code and contract; empty takes one over the
    contract, the code of the agent, `tools` and `verifiers`, and what is installed.
    """
    ready = compiled(contract)
    makers = {"tools": tools, "verifiers": verifiers}
    kin = children or {}
    marks = {child: subject.fingerprint for child, subject in kin.items()}
    judging = guards or {}
    bound_guards(contract, judging)
    mark = fingerprint or guarded(
        default_fingerprint(agent, tools=makers, models={}, children=marks, contract=ready), judging
    )

    def live(surroundings: Surroundings, models: Mapping[str, ModelFunction], world: Any) -> Process:
        given = verifiers(world)
        verifying = {name: given.get(name, _not_in_the_world) for name, tool in contract.tools.items() if tool.verify}
        return Harness(
            ready,
            agent=agent,
            surroundings=surroundings,
            tools=tools(world),
            models=models,
            verifiers=verifying,
            connections=stand_ins(contract, connections(world)),
            guards=judging,
            children={
                child: partial(_child, name=child, subject=subject, models=models, world=world)
                for child, subject in kin.items()
            },
            fingerprint=mark,
        )

    return Subject(
        name=name or contract.agent.name,
        fingerprint=mark,
        contract=contract,
        hardened=True,
        forger=PlainForger(),
        live=live,
        family=tuple(found for child in kin.values() for found in (child.contract, *child.family)),
        guard_models=_guard_models(judging, kin),
    )


def _guard_models(guards: Mapping[str, Guard], kin: Mapping[str, Subject]) -> dict[str, str]:
    models = {name: guard.digest for name, guard in guards.items()}
    for child, subject in kin.items():
        models |= {of_child(child, name): weights for name, weights in subject.guard_models.items()}
    return models


def _not_in_the_world(args: Mapping[str, Any], key: str) -> Unknown:
    """In place of a `verify` that the contract names and the world does not bring: the real one would ask the real
    thing."""
    return Unknown("the scenario's world brings no `verify` for this tool", final=True)


def _child(
    surroundings: Surroundings, *, name: str, subject: Subject, models: Mapping[str, ModelFunction], world: Any
) -> Harness:
    """One life of a child, in its parent's process. Raises `Misuse` where it is no plain subject."""
    prefix = f"{name}."
    own = {each.removeprefix(prefix): model for each, model in models.items() if each.startswith(prefix)}
    living = subject.live(surroundings, own, world)
    if not isinstance(living, Harness):
        raise Misuse(f"the child {name!r} is no subject made by plain_subject")
    return living
