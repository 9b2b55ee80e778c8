"""The shop as the gate looks at it: a world that is judged by its ledger."""

from __future__ import annotations

from examples.assistant.shop import Shop
from plimsoll.gate.scenario import EffectRow

__all__ = ["ShopWorld"]


class ShopWorld(Shop):
    """A shop that can show what was really done in it. It is also the assistant's `deps`, as any shop is."""

    def effects(self) -> list[EffectRow]:
        """Every row of the ledger, oldest first."""
        return [EffectRow(entry.tool, entry.args, entry.idempotency_key) for entry in self.ledger()]
