"""Scenarios: what the gate asks an agent to do, in a world that the gate can look into."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["EffectRow", "Scenario", "World"]


@dataclass(frozen=True, slots=True)
class EffectRow:
    """One effect as the world's own ledger has it: which tool, with which arguments, under which idempotency key."""

    tool: str
    args: Mapping[str, Any]
    idempotency_key: str | None = None


class World(Protocol):
    """The outside world of one trial. It survives the crashes of the agent's process."""

    def effects(self) -> Sequence[EffectRow]:
        """Everything that was really done, in order. The gate judges by this alone, never by what the agent says."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One request, the world it is made in, and how to tell that it was served.

    `input` is what the agent is asked (JSON). `world` makes a fresh world, the same each time. `models` are stand-ins
    for the contract's models by name (a callable makes them fresh for each process; framework's own kind), used in
    simulation. `goal` looks at the world and the answer, and returns what is missing, or None when the goal is reached.
    `adversaries` make the models of the trials in which the model itself misbehaves, by fault kind: for `loop` it does
    the same over and over, or whatever else an attacker would have it do; for `token_flood` it answers without end,
    each time something else; for `false_claim` it says that something was done, and did nothing. `may_also` names
    tools that may be used when things go wrong, such as handing over to a person: their effects are not held against
    the healthy run. `approve` is how people decide, given tool and arguments. `asks` names tools whose effects need a
    person's word here whatever the contract says, so that a rule that is gone, or asks too late, is missed. `hostile`
    are texts that must never reach the agent: each is planted in its request, and in what its tools bring, as far as
    the contract's guards judge that; where it has none for what comes in, everywhere.
    """

    name: str
    input: Any
    world: Callable[[], World]
    models: Callable[[World], Mapping[str, Any]]
    goal: Callable[[World, Any], str | None]
    adversaries: Mapping[str, Callable[[World], Mapping[str, Any]]] = field(default_factory=dict)
    may_also: frozenset[str] = frozenset()
    approve: Callable[[str, Mapping[str, Any]], bool] = field(default=lambda tool, args: True)
    asks: frozenset[str] = frozenset()
    hostile: tuple[str, ...] = ()
    about: str = ""
