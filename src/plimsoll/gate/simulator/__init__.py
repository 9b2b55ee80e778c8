"""Deterministic virtual time: run a coroutine for hours in microseconds, twice in the same order."""

from plimsoll.gate.simulator.errors import (
    NestedSimulation,
    ProcessRefused,
    RealWorldRefused,
    SimulationDeadlock,
    SimulationError,
    SimulationStuck,
    SocketRefused,
    VirtualTimeExceeded,
)
from plimsoll.gate.simulator.inline import InlineExecutor
from plimsoll.gate.simulator.loop import VirtualLoop
from plimsoll.gate.simulator.run import simulate
from plimsoll.gate.simulator.sandbox import many_simulations

__all__ = [
    "InlineExecutor",
    "NestedSimulation",
    "ProcessRefused",
    "RealWorldRefused",
    "SimulationDeadlock",
    "SimulationError",
    "SimulationStuck",
    "SocketRefused",
    "VirtualLoop",
    "VirtualTimeExceeded",
    "many_simulations",
    "simulate",
]
