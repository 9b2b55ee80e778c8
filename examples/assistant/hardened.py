"""The assistant under its contract. This is all the code that it takes."""

from __future__ import annotations

import os

from pydantic_ai.models import Model

from examples.assistant.agent import CONTRACT, agent
from examples.assistant.parts import BACKUP_VARIABLE, MODEL_VARIABLE
from examples.assistant.shop import Shop
from examples.assistant.standin import stand_in
from plimsoll import harden
from plimsoll.adapters.pydantic_ai import HardenedAgent
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["build"]


def build(shop: Shop, *, surroundings: Surroundings | None = None) -> HardenedAgent:
    """The hardened assistant, working in `shop`.

    >>> async with build(shop) as assistant:
    ...     result = await assistant.run("Please cancel order #W7001005 …", run_id="ticket-7713")

    With `PLIMSOLL_MODEL` set its models are real ones, and need their providers' packages and keys: that one, and for
    the backup `PLIMSOLL_BACKUP_MODEL`, or else what the contract names. Without it, stand-ins.
    `surroundings` are where it runs; None opens the contract's journal on this machine.
    """
    models: dict[str, Model | str] = {"backup": stand_in("stand-in-backup")}
    if os.environ.get(MODEL_VARIABLE):
        backup = os.environ.get(BACKUP_VARIABLE)
        models = {"backup": backup} if backup else {}
    hardened: HardenedAgent = harden(agent, CONTRACT, deps=shop, models=models, surroundings=surroundings)
    return hardened
