"""What became of a write whose answer was lost? The contract names this; the shop's ledger knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from examples.assistant.ledger import args_digest
from examples.assistant.shop import Shop
from plimsoll.core.calls import Happened, NotHappenedAndCannot, Unknown, Verification

__all__ = ["in_ledger"]


def in_ledger(args: Mapping[str, Any], idempotency_key: str, deps: Shop) -> Verification:
    """Whether the shop has the effect that was sent under this key, and what it answered then.

    The shop is synchronous, and the assistant's tools call it without giving way: an attempt has committed its effect
    and its row before anything can give it up, and a dead process's transaction is rolled back. Nothing can be under
    way any more, so no row means that it did not happen and cannot. A shop behind a network, or a tool in a thread,
    could not say so: there, the effect may still come after we asked, and the right answer would be `Unknown`.
    """
    entry = deps.find_effect(idempotency_key)
    if entry is None:
        return NotHappenedAndCannot()
    if entry.args_digest != args_digest(args):
        return Unknown(f"the key was used for a call of {entry.tool} with other arguments")
    return Happened(entry.result)
