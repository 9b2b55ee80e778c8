"""The gate: may this agent ship? It injects faults into that very agent and judges what happens by its effects."""

from plimsoll.gate.scenario import EffectRow, Scenario, World

__all__ = ["EffectRow", "Scenario", "World"]
