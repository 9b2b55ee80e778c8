"""The assistant under its contract. This is all the code that it takes."""

from __future__ import annotations

import os

from examples.assistant.agent import CONTRACT, agent
from examples.assistant.parts import MODEL_VARIABLE
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

    With `PLIMSOLL_MODEL` set its models are real ones, and need their providers' keys; without it, stand-ins.
    `surroundings` are where it runs; None opens the contract's journal on this machine.
    """
    models = {} if os.environ.get(MODEL_VARIABLE) else {"backup": stand_in("stand-in-backup")}
    hardened: HardenedAgent = harden(agent, CONTRACT, deps=shop, models=models, surroundings=surroundings)
    return hardened
