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
    "simulate",
]
