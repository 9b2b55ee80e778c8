"""A user's whole program, run by tests as a process of its own: nothing in it speaks of telemetry."""

import asyncio
import sys
from typing import Any

from plimsoll import Harness, ModelReply, Run, local
from plimsoll.contract.model import AgentSection, Contract, Model, Tool
from plimsoll.core.calls import Effect, Ending

CONTRACT = Contract(
    agent=AgentSection(name="desk"),
    models={"primary": Model(fallback=("backup",)), "backup": Model()},
    tools={"look": Tool(effect=Effect.READ)},
)


async def look(order: str) -> dict[str, Any]:
    return {"order": order, "card": "s3cr3t-result"}


async def fails(prompt: Any) -> ModelReply:
    raise ConnectionError("s3cr3t-error")


async def answers(prompt: Any) -> ModelReply:
    return ModelReply(text="Sure: s3cr3t-answer")


async def agent(run: Run, request: dict[str, Any]) -> str:
    await run.call("look", {"order": request["order"]})
    return (await run.model({"ask": "s3cr3t-prompt"})).text


async def main(directory: str) -> None:
    surroundings = local(CONTRACT, directory=directory, sinks=())
    models = {"primary": fails, "backup": answers}
    async with Harness(CONTRACT, agent=agent, surroundings=surroundings, tools=[look], models=models) as harness:
        result = await harness.run({"order": "s3cr3t-input"}, run_id="r")
        assert result.ending is Ending.DEGRADED, result
    await surroundings.store.close()
    print("telemetry" if surroundings.telemetry else "none", "opentelemetry.sdk.trace" in sys.modules)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
