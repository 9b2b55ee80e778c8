"""Concessions: what an agent may do without, as far as its contract says so in `[gate] accepts`.

The gate holds every agent to the same. So it takes a word in the contract to lower a protection, which every verdict
shows; silence lowers nothing.
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["CONCESSIONS", "HEADROOM", "LATEST_FINDING_S", "LEAST_CONFIDENCE", "LEAST_STORM_TARGET", "REPEATED", "SPIKE"]

CONCESSIONS: Mapping[str, str] = MappingProxyType(
    {
        "canned_answers": "while a model is out, a request may end in an honest answer short of its goal",
        "unanswered_requests": "when every model is out, a run may fail, and who asked gets no answer",
        "unretried_faults": "one passing fault of a model, or of a tool that may be called again, may cost the goal",
        "parked_writes": "a write of which nobody knows whether it happened may wait for a person",
        "unchecked_answers": "a tool may answer with broken-off text or an error, and nobody notices",
        "unnamed_claims": "an effect may be claimed that was not done, and nobody notices",
        "loose_limits": "a limit or a timeout may be so far above what healthy runs use that it bounds nothing",
        "untried_tools": "a tool that no scenario calls may be anything but what it is declared to be",
        "unpriced_models": "what a model costs is not counted, so that limits.usd does not bound it",
        "unpinned_runs": "a run may be begun by one version of the agent and finished by another, which nobody tried",
        "fewer_claims": "the claims that [gate] claims leaves out need not be shown",
        "low_confidence": "fewer storms may be survived, that may be shown less surely, and findings may come late",
    }
)
"""Every concession by name, and what is done without."""

HEADROOM = 10
"""How many times what a healthy run uses a limit may be, and still bind."""

REPEATED = 2
"""How many times as often as any healthy run a model that misbehaves may do one and the same thing to the world."""

LEAST_STORM_TARGET = 0.9
LEAST_CONFIDENCE = 0.9
LATEST_FINDING_S = 600.0
"""What `[gate]` may ask at least: of storms, of being sure of it, and how soon after a fault its finding is there."""

SPIKE = 0.8
"""A slow answer, as a share of its timeout: one that takes so long is to be reported."""
