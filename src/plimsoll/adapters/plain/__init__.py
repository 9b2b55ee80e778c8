"""No framework: `harden(agent, contract)` puts an async function of your own under its contract.

The function takes its models and tools as plain async callables, and knows nothing of Plimsoll. One that wants more of
it, such as timers, signals, children or recorded values, is a function of its `Run` and goes into a `Harness`.
"""

from plimsoll.adapters.plain.agent import PlainAgent
from plimsoll.adapters.plain.describe import describe, survey
from plimsoll.adapters.plain.hardened import HardenedFunction, harden
from plimsoll.adapters.plain.local import own_function
from plimsoll.adapters.plain.subject import PlainForger, bare_subject, hardened_subject

__all__ = [
    "HardenedFunction",
    "PlainAgent",
    "PlainForger",
    "bare_subject",
    "describe",
    "harden",
    "hardened_subject",
    "own_function",
    "survey",
]
