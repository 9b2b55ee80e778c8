"""A healthy service in virtual time: an agent that works in many ways, people who answer, and a dispatcher."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from plimsoll.contract.model import (
    AgentSection,
    Approval,
    Contract,
    Fresh,
    Limits,
    Model,
    OutputRule,
    ServiceLevel,
    ServiceLevels,
    Tool,
)
from plimsoll.core.calls import Effect, Usage
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import CallFailed, PlimsollError
from plimsoll.core.events import Finding
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import Rng, seeded_rng
from plimsoll.gate.simulator import simulate
from plimsoll.journal.memory import MemoryStore
from plimsoll.observability.findings import MemorySink
from plimsoll.runtime.dispatch import Dispatcher
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["Served", "serve"]

CONTRACT = Contract(
    agent=AgentSection(name="service"),
    limits=Limits(steps=60),
    models={"primary": Model(usd_per_million_input_tokens=1.25, usd_per_million_output_tokens=10.0)},
    tools={
        "read": Tool(effect=Effect.READ, output=OutputRule(type="object")),
        "page": Tool(effect=Effect.READ, output=OutputRule(type="array")),
        "status": Tool(effect=Effect.READ),
        "find": Tool(effect=Effect.READ, proves_nothing_happened=("NotThere",)),
        "quote": Tool(effect=Effect.READ, output=OutputRule(fresh=Fresh(field="as_of", max_age_s=600.0))),
        "note": Tool(effect=Effect.WRITE, claims=("I have noted",), output=OutputRule(may_be_empty=True)),
        "pay": Tool(effect=Effect.WRITE, approval=Approval(approvers=("ana", "bo")), claims=("I have paid",)),
    },
    service_levels=ServiceLevels(
        runs=ServiceLevel(objective=0.99, within_s=200.0),
        models={"primary": ServiceLevel(objective=0.99, within_s=15.0)},
        tools={"read": ServiceLevel(objective=0.99, within_s=5.0)},
    ),
)
TEXTS = (
    "No.", "Sorry, that is not possible.", "The order failed twice and was then paid.", "Error 404 is what you saw.",
    "I could not find it, and nothing was changed.", "Done, as far as I can see.", "{}", "null and void",
    "Your request was declined by the bank; I have not paid anything.", "Once I have paid, I will tell you.",
)  # fmt: skip


@dataclass
class Served:
    """What the service did, and what was said of it."""

    runs: int = 0
    decisions: int = 0
    events: int = 0
    findings: list[Finding] = field(default_factory=list)


class NotThere(LookupError):
    """What was asked for does not exist."""


class World:
    """What the agent depends on: always well, sometimes slow."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._clock = LoopClock()

    async def _take(self, most_s: float) -> None:
        """Some time, mostly little, and always less than is slow."""
        await self._clock.sleep(most_s * self._rng.random() ** 6)

    def tools(self) -> list[Callable[..., Any]]:
        take, clock = self._take, self._clock

        async def read(id: int) -> dict[str, Any]:
            await take(4.5)
            return {"id": id, "status": "failed" if id % 7 == 0 else "ok", "error": None}

        async def page(number: int, of: int) -> list[int]:
            await take(4.5)
            return list(range(number * 10, number * 10 + 10)) if number < of else []

        async def status(job: int, step: int) -> Any:
            await take(4.5)
            return {"percent": step // 2 * 10} if job % 2 else step // 2

        async def find(name: str) -> dict[str, Any]:
            await take(4.5)
            if not name.startswith("right"):
                raise NotThere(name)
            return {"name": name}

        async def quote(id: int) -> dict[str, Any]:
            return {"price": id, "as_of": clock.now() - 500.0 * self._rng.random()}

        async def note(text: str) -> None:
            await take(4.5)

        async def pay(amount: int) -> dict[str, Any]:
            await take(4.5)
            return {"paid": amount}

        return [read, page, status, find, quote, note, pay]

    async def model(self, prompt: dict[str, Any]) -> ModelReply:
        """Takes as long as models do, and says something else each time, of few words or many."""
        await self._take(14.0)
        if "mail" in prompt:
            return ModelReply(text="spam", usage=Usage(input_tokens=prompt["tokens"], output_tokens=1))
        usage = Usage(input_tokens=prompt["tokens"], output_tokens=20 + int(600 * self._rng.random()))
        return ModelReply(text=f"{TEXTS[prompt['n'] % len(TEXTS)]} ({prompt['n']})", usage=usage)


Way = Callable[[Run, int], Awaitable[Any]]


async def reads(run: Run, n: int, *, first: int = 0) -> None:
    for number in range(first, first + n):
        await run.call("read", {"id": number})


async def reads_twice(run: Run, n: int) -> None:
    for _ in range(2):
        await reads(run, n // 2, first=100)


async def pages(run: Run, n: int) -> None:
    for number in range(n + 1):
        await run.call("page", {"number": number, "of": n})


async def polls(run: Run, n: int) -> None:
    """What it asks for moves with every second look: the arguments stay the same, as far as the agent can tell."""
    for step in range(n):
        await run.call("status", {"job": n, "step": step})


async def polls_slowly(run: Run, n: int) -> None:
    for step in range(min(n, 8)):
        await run.call("status", {"job": n, "step": step})
        await run.sleep(30.0 * (step + 1))


async def searches(run: Run, n: int) -> None:
    for number in range(min(n, 18)):
        try:
            await run.call("find", {"name": f"wrong {number}"})
        except CallFailed:
            continue
    await run.call("find", {"name": "right"})


async def in_parallel(run: Run, n: int) -> None:
    await asyncio.gather(*(run.call("read", {"id": 200 + number}) for number in range(n)))


async def quotes(run: Run, n: int) -> None:
    for number in range(n):
        await run.call("quote", {"id": number})


async def notes(run: Run, n: int) -> None:
    for number in range(n):
        await run.call("note", {"text": f"line {number}"})


async def talks(run: Run, n: int) -> None:
    """A conversation grows by what is said and read, now and then by a long document."""
    tokens = 400
    for number in range(min(n, 16)):
        tokens += 6000 if number == 5 and n % 3 == 0 else 350
        await run.model({"n": number, "tokens": tokens})
        await run.call("read", {"id": 300 + number})


async def sorts(run: Run, n: int) -> None:
    """One mail after the other, and the answer is the same of many."""
    for number in range(n):
        await run.model({"mail": number, "tokens": 200 + 37 * (number * number % 11)})


async def asks(run: Run, n: int) -> None:
    try:
        await run.call("pay", {"amount": n})
    except PlimsollError:
        await run.call("note", {"text": "nobody wanted that"})


WAYS: tuple[Way, ...] = (
    reads, reads_twice, pages, polls, polls_slowly, searches, in_parallel, quotes, notes, talks, sorts, asks,
)  # fmt: skip


async def agent(run: Run, request: dict[str, Any]) -> str:
    """Does one to three kinds of work, and says how it went."""
    for name, n in request["work"]:
        await next(way for way in WAYS if way.__name__ == name)(run, n)
    return (await run.model({"n": request["n"], "tokens": 300 + 50 * request["n"] % 2000})).text


def _request(number: int, rng: Rng) -> dict[str, Any]:
    """One to three kinds of work, of sizes that keep within the limits together."""
    ways = list(WAYS)
    kinds = 1 + int(3 * rng.random() ** 2)
    chosen = [ways.pop(int(len(ways) * rng.random())).__name__ for _ in range(kinds)]
    return {"n": number, "work": [(name, 1 + int(36 // kinds * rng.random())) for name in chosen]}


async def _people(harness: Harness, served: Served, rng: Rng) -> None:
    """Two who look every few minutes, read, and approve 93 %."""
    clock = LoopClock()
    while True:
        await clock.sleep(rng.uniform(60.0, 600.0))
        for request in await harness.operations.requests():
            await clock.sleep(rng.uniform(5.0, 60.0))
            by = "ana" if rng.random() < 0.5 else "bo"
            await harness.operations.decide(request.asked.request_id, approve=rng.random() < 0.93, by=by)
            served.decisions += 1


def serve(runs: int, *, seed: int) -> Served:
    """So many runs, beginning a minute after one another, until all have ended."""
    served, sink = Served(), MemorySink()

    async def main() -> None:
        rng, store, clock = seeded_rng(seed), MemoryStore(), LoopClock()
        world = World(seeded_rng(seed + 1))
        surroundings = Surroundings(
            store=store, owner="one", clock=clock, rng=seeded_rng(seed), ids=SequentialIds(), sinks=(sink,)
        )
        harness = Harness(
            CONTRACT, agent=agent, surroundings=surroundings, tools=world.tools(), models={"primary": world.model}
        )
        begun = set()
        async with Dispatcher(harness, poll_s=2.0, concurrency=100):
            people = asyncio.create_task(_people(harness, served, seeded_rng(seed + 2)))
            for number in range(runs):
                begun.add(asyncio.create_task(harness.run(_request(number, rng), run_id=f"run-{number}")))
                await clock.sleep(60.0 * 2 * rng.random())
            await asyncio.wait(begun)
            await clock.sleep(3600.0)
            people.cancel()
            await asyncio.wait([people])
        await harness.close()
        for head in await store.heads():
            assert head.ending is not None, f"{head.run_id} did not end: {head.reason}"
            assert head.ending == "complete", f"{head.run_id} is no healthy run: {head.ending}, {head.reason}"
            served.events += head.seq
        served.runs = runs

    simulate(main, limit_s=1e8, wall_limit_s=1800.0)
    served.findings = sink.findings
    return served
