"""An agent without a framework, with a child, as its service and the command line make it."""

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

from plimsoll import Harness, Surroundings
from plimsoll.contract.model import AgentSection, Approval, Contract, Tool
from plimsoll.core.calls import Effect
from plimsoll.runtime.run import Run

FRONT = Contract(agent=AgentSection(name="shop"))
BILLING = Contract(
    agent=AgentSection(name="billing"),
    tools={
        "pay": Tool(
            effect=Effect.IDEMPOTENT,
            approval=Approval(approvers=("ana",), when="amount > 50"),
            compensate="shop.plain:take_back",
        ),
        "pay.compensate": Tool(effect=Effect.IDEMPOTENT),
    },
)


def note(amount: float) -> dict[str, float]:
    with Path("ledger.jsonl").open("a") as ledger:
        ledger.write(json.dumps({"amount": amount}) + "\n")
    return {"paid": amount}


async def pay(amount: float) -> dict[str, float]:
    done = note(amount)
    if os.environ.get("SHOP_STOPS"):
        os.kill(os.getpid(), signal.SIGSTOP)
    return done


def take_back(args: dict[str, Any], result: dict[str, Any]) -> dict[str, float]:
    return note(-result["paid"])


async def billing(run: Run, amount: float) -> Any:
    return await run.call("pay", {"amount": amount})


async def front(run: Run, amount: float) -> str:
    done = await run.child("billing", amount)
    if amount == 13:
        raise RuntimeError("the customer is gone")
    return f"{done['paid']:g} paid"


def make(surroundings: Surroundings) -> Harness:
    """What `[agent] harness` names."""
    children = {"billing": partial(Harness, BILLING, agent=billing, tools=[pay])}
    return Harness(FRONT, agent=front, surroundings=surroundings, children=children)


async def make_slowly(surroundings: Surroundings) -> Harness:
    return make(surroundings)


def make_nothing(surroundings: Surroundings) -> None:
    pass


def make_another(surroundings: Surroundings) -> Harness:
    return Harness(BILLING, agent=billing, surroundings=surroundings, tools=[pay])


nothing = None
