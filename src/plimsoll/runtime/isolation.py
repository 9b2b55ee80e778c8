"""Isolation: an operator forces the circuit of a dependency open, in every process at once, until it is restored.

It stands among the kill switches, by a scope of its own.
"""

from collections.abc import Mapping

from plimsoll.journal.store import Halt
from plimsoll.policies.admission import Admission

__all__ = ["CIRCUIT", "Isolation", "circuit_scope"]

CIRCUIT = "circuit:"
"""What such a scope begins with, and no run's id does."""


def circuit_scope(agent: str, dependency: str) -> str:
    """The scope by which a dependency of an agent is isolated."""
    return f"{CIRCUIT}{agent}:{dependency}"


class Isolation:
    """Holds the circuits of one agent's dependencies to what operators want of them."""

    __slots__ = ("_admissions", "_agent", "_isolated")

    def __init__(self, admissions: Mapping[str, Admission], *, agent: str) -> None:
        self._admissions = admissions
        self._agent = agent
        self._isolated: set[str] = set()

    def heed(self, halts: Mapping[str, Halt]) -> None:
        """Isolates what is to be isolated, and restores what was isolated here and is to be no more."""
        for name, admission in self._admissions.items():
            halt = halts.get(circuit_scope(self._agent, name))
            if admission.circuit is None or (halt is not None) == (name in self._isolated):
                continue
            if halt is not None:
                self._isolated.add(name)
                admission.circuit.isolate(f"{halt.by} isolated it: {halt.reason}")
            else:
                self._isolated.discard(name)
                admission.circuit.restore("it is isolated no more")
