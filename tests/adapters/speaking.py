"""A process that streams: it pays, then speaks, word by word, and can be killed at any of them.

    python -m tests.adapters.speaking FOLDER core|pydantic_ai [WORDS]

Its model falls silent after so many words, if that is said. Prints what it is shown, one word a line, then how its run
stands, as JSON. Its payments are lines of a file.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from plimsoll import Harness, Restarted, RunResult, current_call, harden, local
from plimsoll.contract.model import AgentSection, Contract, Tool
from plimsoll.core.calls import Effect, Happened, NotHappenedAndCannot
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run

WORDS = ("Your ", "money ", "is ", "on ", "its ", "way.")
CONTRACT = Contract(agent=AgentSection(name="speaker"), tools={"pay": Tool(effect=Effect.WRITE)})


class Bank:
    """Payments as lines of a file, which survives whoever writes it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "payments"
        self._file.touch()

    async def pay(self, amount: float) -> float:
        info = current_call()
        assert info is not None
        with self._file.open("a") as file:
            file.write(f"{info.idempotency_key} {amount}\n")
        return amount

    def verify(self, args: Mapping[str, Any], key: str) -> Any:
        paid = [line.split() for line in self._file.read_text().splitlines()]
        return next((Happened(float(amount)) for known, amount in paid if known == key), NotHappenedAndCannot())


async def spoken(until: int) -> AsyncIterator[str]:
    """The first so many words; where those are not all, nothing more ever comes."""
    for word in WORDS[:until]:
        yield word
    if until < len(WORDS):
        await asyncio.Event().wait()


def show(word: str) -> None:
    print(word, flush=True)


async def core(folder: Path, until: int) -> RunResult:
    bank = Bank(folder)

    async def model(prompt: Any) -> AsyncGenerator[str | ModelReply]:
        async for word in spoken(until):
            yield word
        yield ModelReply()

    async def agent(run: Run, request: Any) -> str:
        await run.call("pay", {"amount": 20.0})
        async with run.stream("what now?") as words:
            async for word in words:
                show(f"<{word.why}>" if isinstance(word, Restarted) else word)
        reply: ModelReply = words.reply
        return reply.text

    surroundings = local(CONTRACT, directory=folder)
    async with Harness(
        CONTRACT,
        agent=agent,
        surroundings=surroundings,
        tools=[bank.pay],
        models={"primary": model},
        verifiers={"pay": bank.verify},
        fingerprint="v1",
    ) as harness:
        result = await harness.run("pay", run_id="r")
    await surroundings.store.close()
    return result


async def pydantic_ai(folder: Path, until: int) -> RunResult:
    bank = Bank(folder)

    async def model(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        if not any(isinstance(message, ModelResponse) for message in messages):
            yield {0: DeltaToolCall("pay", '{"amount": 20}')}
            return
        async for word in spoken(until):
            yield word

    agent = Agent(FunctionModel(stream_function=model), tools=[bank.pay], name="speaker")
    surroundings = local(CONTRACT, directory=folder)
    hardened = harden(agent, CONTRACT, verifiers={"pay": bank.verify}, surroundings=surroundings, fingerprint="v1")
    async with hardened, hardened.run_stream("pay", run_id="r") as stream:
        async for text in stream.stream_text():
            show(text)
    await surroundings.store.close()
    result: RunResult = stream.result
    return result


def main() -> None:
    speak = {"core": core, "pydantic_ai": pydantic_ai}[sys.argv[2]]
    until = int(sys.argv[3]) if sys.argv[3:] else len(WORDS)
    result = asyncio.run(speak(Path(sys.argv[1]), until))
    print(json.dumps({"ending": result.ending, "output": result.output, "reason": result.reason}), flush=True)


if __name__ == "__main__":
    main()
