"""The trail: what people did to a journal as a whole, and to runs that they do not own.

An erasure, a kill switch or a change of keys belongs to no run's own record. Each is an *act*. The acts of a journal
form a chain, as a run's events do, and the messages in its inbox form another.
"""

from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec

from plimsoll.core.canonical import canonical_json
from plimsoll.core.events import GENESIS

__all__ = ["Act", "ActKind", "Mark", "act_after", "linked", "wrong_act"]


class ActKind(StrEnum):
    """What somebody did."""

    ERASED = "erased"
    """Destroyed a run's key, and with it what its personal fields said."""
    ENGAGED = "kill_switch_engaged"
    RELEASED = "kill_switch_released"
    REKEYED = "keys_rewrapped"
    """Put the runs' keys under another master key."""


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One act. `subject` is the run, or the kill switch's scope; `seq` counts from 1; `at` is wall-clock seconds."""

    seq: int
    at: float
    act: ActKind
    subject: str
    by: str
    reason: str
    digest: bytes


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """How far a chain has come: how many links it has, and the digest of the last."""

    count: int = 0
    digest: bytes = GENESIS


def linked(previous: bytes, *fields: Any) -> bytes:
    """SHA-256 over the digest of the link before and the canonical JSON of this one's fields."""
    return sha256(previous + canonical_json(fields)).digest()


def act_after(mark: Mark, act: ActKind, subject: str, *, by: str, reason: str, at: float) -> Act:
    """The act that comes next in its chain."""
    digest = linked(mark.digest, "act", mark.count + 1, at, act, subject, by, reason)
    return Act(seq=mark.count + 1, at=at, act=act, subject=subject, by=by, reason=reason, digest=digest)


def wrong_act(acts: Sequence[Act]) -> int | None:
    """The number of the first act that was altered, dropped, added or moved; None when the chain verifies."""
    mark = Mark()
    for act in acts:
        if act != act_after(mark, act.act, act.subject, by=act.by, reason=act.reason, at=act.at):
            return mark.count + 1
        mark = Mark(count=act.seq, digest=act.digest)
    return None
