"""Plimsoll keeps AI agents stable in production, and refuses to let one ship until that is proven.

    from plimsoll import harden

    hardened = harden(agent, "plimsoll.toml", deps=open_shop)
    result = await hardened.run("Please refund order W1", run_id="ticket-7713")

Start with the README; `docs/` has a page for each part.
"""

from plimsoll.adapters import harden
from plimsoll.contract.loading import load_contract
from plimsoll.contract.model import Contract
from plimsoll.core.calls import CallInfo, Ending, Happened, NotHappenedAndCannot, Unknown
from plimsoll.core.criticality import Criticality, criticality
from plimsoll.core.errors import PlimsollError, SignalTimeout
from plimsoll.core.events import Finding
from plimsoll.runtime.current import current_call, current_connection
from plimsoll.runtime.dispatch import Dispatcher
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.local import local
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run, current_run
from plimsoll.runtime.sessions import Session, Turn
from plimsoll.runtime.showing import Restarted
from plimsoll.runtime.streaming import ModelStream
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.tools import tool

__all__ = [
    "CallInfo",
    "Contract",
    "Criticality",
    "Dispatcher",
    "Ending",
    "Finding",
    "Happened",
    "Harness",
    "ModelReply",
    "ModelStream",
    "NotHappenedAndCannot",
    "PlimsollError",
    "Restarted",
    "Run",
    "RunResult",
    "Session",
    "SignalTimeout",
    "Surroundings",
    "Turn",
    "Unknown",
    "criticality",
    "current_call",
    "current_connection",
    "current_run",
    "harden",
    "load_contract",
    "local",
    "tool",
]

__version__ = "0.1.0"
