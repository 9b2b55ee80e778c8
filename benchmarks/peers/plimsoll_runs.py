"""The runs on Plimsoll. Variants: `verified`, and `unverified`, where a write in doubt parks for a person."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playing import Advance, Pay, main
from work import LEDGER, Ledger, answer, order_line, prompt

from plimsoll import (
    Contract,
    Ending,
    Happened,
    Harness,
    ModelReply,
    NotHappenedAndCannot,
    Run,
    Unknown,
    current_call,
    local,
)
from plimsoll.contract.model import AgentSection, Limits, Model, Tool
from plimsoll.core.calls import Effect, Usage

CONTRACT = Contract(
    agent=AgentSection(name="orders"),
    limits=Limits(steps=100),
    models={"primary": Model()},
    tools={"find_order": Tool(effect=Effect.READ), "refund": Tool(effect=Effect.WRITE)},
)


async def find_order(order: str, line: int) -> dict[str, Any]:
    return order_line(order, line)


async def model(prompt: Any) -> ModelReply:
    text = answer(prompt["order"], prompt["step"])
    return ModelReply(text=text, usage=Usage(input_tokens=200, output_tokens=330))


def looks(ledger: Path) -> Any:
    """`verify` by the ledger. Whoever sent the effect is dead, so what is not in there cannot happen any more."""

    def verify(args: Mapping[str, Any], key: str) -> Any:
        paid = any(row["key"] == key for row in Ledger(ledger).rows())
        return Happened({"refunded": args["amount"]}) if paid else NotHappenedAndCannot()

    return verify


@asynccontextmanager
async def opened(variant: str, folder: Path, pay: Pay, steps: tuple[str, ...]) -> AsyncIterator[Advance]:
    async def refund(order: str, amount: int) -> dict[str, Any]:
        call = current_call()
        assert call is not None
        pay(order, call.idempotency_key)
        return {"refunded": amount}

    async def agent(run: Run, order: str) -> str:
        for step, kind in enumerate(steps):
            if kind == "read":
                await run.call("find_order", {"order": order, "line": step})
            elif kind == "model":
                await run.model(prompt(order, step))
            else:
                await run.call("refund", {"order": order, "amount": 20})
        return "Done."

    verify = looks(folder / LEDGER) if variant == "verified" else lambda args, key: Unknown("nobody can tell")
    surroundings = local(CONTRACT, path=folder / "journal.db", sinks=())
    harness = Harness(
        CONTRACT,
        agent=agent,
        surroundings=surroundings,
        tools=[find_order, refund],
        models={"primary": model},
        verifiers={"refund": verify},
        fingerprint="the same in every life",
    )

    async def advance(order: str) -> str:
        result = await harness.run(order, run_id=order)
        assert result.ending in (Ending.COMPLETE, Ending.PARKED), result
        return "parked" if result.ending is Ending.PARKED else "over"

    try:
        yield advance
    finally:
        await harness.close()
        await surroundings.store.close()


if __name__ == "__main__":
    main(opened)
