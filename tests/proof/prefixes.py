"""Replays every prefix of recorded journals in another process: with another hash seed, and under other clocks.

A prefix is what a crash leaves. The world is what it was then: every effect that the prefix has the outcome of, and of
those that were about to be sent, each combination. A replay agrees when it asks for the same calls in the same order,
sends only what has no outcome, and comes to the same end and the same ledger.

    PYTHONHASHSEED=1 python -m tests.proof.prefixes record SOURCE FILE
    PYTHONHASHSEED=2 python -m tests.proof.prefixes replay SOURCE FILE
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.retail import CONTRACT, by_the_book, image_of, ledger_of, tools_of
from examples.assistant.agent import CONTRACT as ASSISTANT
from examples.assistant.agent import agent as assistant
from examples.assistant.scenarios import scenarios
from examples.assistant.shop import Shop, ShopRefusal
from examples.assistant.tools import TOOLS
from examples.assistant.tools import call as call_shop
from plimsoll import harden
from plimsoll.adapters.pydantic_ai import hardened_subject
from plimsoll.core.calls import CallInfo, Effect, Ending, Happened, NotHappenedAndCannot
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import PlimsollError
from plimsoll.core.events import CallIntended, CallSettled, Event, Record
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.gate.simulator import many_simulations, simulate
from plimsoll.gate.subject import Process
from plimsoll.journal import MemoryStore
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings

RECORDED_AT_S = 1_767_225_600.0
SKEWS_S = (-86_400.0, 1_800.0)
"""The clocks that prefixes are replayed under: one was set back by a day, one is half an hour on."""

Ledger = Counter[tuple[str, str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An agent with one request, in a shop. `approve` is how people decide."""

    name: str
    input: Any
    shop: Callable[[], Shop]
    live: Callable[[Surroundings, Shop], Process]
    approve: Callable[[str, Mapping[str, Any]], bool] = lambda tool, args: True


class Recorded(msgspec.Struct, frozen=True):
    """A journal, and what the run had come to when it ended."""

    name: str
    records: list[Record]
    ending: str
    output: Any
    ledger: list[tuple[str, str, str]]

    @property
    def events(self) -> list[Event]:
        return [record.event for record in self.records]


class Wire:
    """Sees which calls are sent."""

    def __init__(self) -> None:
        self.sent: set[str] = set()

    async def __call__(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        if not site.endswith(".verify"):
            self.sent.add(info.key)
        return await send()


# ------------------------------------------------------------------------------------------------------------ sources


def retail() -> Iterator[Case]:
    """The tasks of the real shop data, each by its right sequence of calls."""
    folder = Path(os.environ["PLIMSOLL_REALDATA"])
    folder = folder if (folder / "tasks.json").is_file() else folder / "retail"
    image = image_of(folder)
    for task in json.loads((folder / "tasks.json").read_text()):
        yield by_hand(task["id"], by_the_book, task["actions"], lambda: Shop.from_image(image))


def assistants() -> Iterator[Case]:
    """The example's own scenarios: Pydantic AI under the contract, with its stand-in models and its people."""
    subject = hardened_subject(harden(assistant, ASSISTANT))
    for scenario in scenarios:

        def live(surroundings: Surroundings, shop: Any, scenario: Any = scenario) -> Process:
            return subject.live(surroundings, scenario.models(shop), shop)

        yield Case(name=scenario.name, input=scenario.input, shop=scenario.world, live=live, approve=scenario.approve)


def few_assistants() -> Iterator[Case]:
    """Some of them: reads side by side, a write, one that a person approves, and two in one conversation."""
    names = {"parallel_reads", "cancel_order", "large_refund", "cancel_and_refund"}
    return (case for case in assistants() if case.name in names)


def mutants() -> Iterator[Case]:
    """Agents whose code does not repeat itself: by the order of a set, and by a clock that the run does not know of."""
    orders = [f"#W700100{number}" for number in range(1, 8)]

    async def by_set(run: Run, asked: list[str]) -> str:
        for order in set(asked):
            await run.call("get_order_details", {"order_id": order})
        return "done"

    async def by_clock(run: Run, asked: list[str]) -> str:
        await run.call("think", {"thought": f"it is {run.state.env.clock.now():.0f} now"})
        await run.call("think", {"thought": "so be it"})
        return "done"

    yield by_hand("by_set", by_set, orders, Shop.seeded)
    yield by_hand("by_clock", by_clock, orders, Shop.seeded)


def by_hand(name: str, agent: Callable[..., Any], asked: Any, shop: Callable[[], Shop]) -> Case:
    """A case of an agent without a framework."""

    def live(surroundings: Surroundings, shop: Shop) -> Harness:
        def verify(args: Mapping[str, Any], key: str) -> Any:
            entry = shop.find_effect(key)
            return NotHappenedAndCannot() if entry is None else Happened(entry.result)

        verifiers = dict.fromkeys(TOOLS, verify)
        return Harness(CONTRACT, agent=agent, surroundings=surroundings, tools=tools_of(shop), verifiers=verifiers)

    return Case(name=name, input=asked, shop=shop, live=live)


SOURCES = {"retail": retail, "assistant": assistants, "few": few_assistants, "mutants": mutants}

# ------------------------------------------------------------------------------------------------- recording, replaying


async def served(case: Case, store: MemoryStore, shop: Shop, *, wire: Wire, skew_s: float = 0.0) -> RunResult:
    """The request, served until it ends, over whatever the journal has of it already. People decide when asked."""
    clock = LoopClock(epoch_s=RECORDED_AT_S, skew_s=skew_s)
    surroundings = Surroundings(
        store=store, owner="me", clock=clock, rng=seeded_rng(0), ids=SequentialIds(), sinks=(), interceptor=wire
    )
    process = case.live(surroundings, shop)
    people = Operations(store, clock=clock)
    result = await process.run(case.input, run_id=case.name)
    while result.ending is Ending.PARKED and result.waiting_for:
        for request in result.waiting_for:
            approve = case.approve(request.dependency, request.args)
            await people.decide(request.request_id, approve=approve, by=request.approvers[0])
        (result,) = await process.wake()
    await process.close()
    return result


def record(case: Case) -> Recorded:
    """Plays a case without any fault."""

    async def play() -> Recorded:
        store = MemoryStore()
        with case.shop() as shop:
            result = await served(case, store, shop, wire=Wire())
            ledger = sorted(ledger_of(shop).elements())
        return Recorded(case.name, await store.read(case.name), result.ending, result.output, ledger)

    return simulate(play)


def worlds(events: Sequence[Event]) -> Iterator[list[CallIntended]]:
    """Each world that a prefix may have left: the writes that had happened by then, in order."""
    intents = {event.key: event for event in events if isinstance(event, CallIntended)}
    settled = {event.key: event for event in events if isinstance(event, CallSettled)}
    done = [intents[key] for key, event in settled.items() if event.effect is Effect.WRITE and event.outcome.ok]
    about = [intent for key, intent in intents.items() if key not in settled]
    for happened in product((False, True), repeat=len(about)):
        yield done + [intent for intent, did in zip(about, happened, strict=True) if did]


async def filled(records: Sequence[Record]) -> MemoryStore:
    """A journal that ends after these records, whose owner died."""
    store = MemoryStore()
    epoch = 0
    for each in records:
        while epoch < each.epoch:
            epoch = (await store.claim(each.run_id, owner="gone", at=each.at)).epoch
        assert not await store.append([each])
    store.kill_owner("gone")
    return store


def asked(events: Sequence[Event]) -> dict[str, tuple[str, ...]]:
    """The calls that were asked for and what came of them, by key, which has their order in it."""
    settled = [event for event in events if isinstance(event, CallSettled)]
    return {
        event.key: (event.dependency, event.args_digest, event.outcome.status, event.result_digest) for event in settled
    }


async def disagreement(case: Case, whole: Recorded, length: int, happened: list[CallIntended], skew_s: float) -> str:
    """Replays the first `length` records in a world where these writes had happened. What does not agree, if anything.

    A world in which the shop refuses one of them cannot be.
    """
    store = await filled(whole.records[:length])
    wire = Wire()
    with case.shop() as shop:
        try:
            for intent in happened:
                call_shop(shop, intent.dependency, intent.args, key=intent.idempotency_key)
        except ShopRefusal:
            return ""
        try:
            result = await served(case, store, shop, wire=wire, skew_s=skew_s)
        except PlimsollError as error:
            return f"{type(error).__name__}: {error}"
        ledger = sorted(ledger_of(shop).elements())
    calls = asked([each.event for each in await store.read(case.name)])
    if calls != asked(whole.events):
        first = next(key for key in asked(whole.events) | calls if calls.get(key) != asked(whole.events).get(key))
        return f"{first} is {calls.get(first)}, and was {asked(whole.events).get(first)}"
    twice = wire.sent & asked(whole.events[:length]).keys()
    if twice:
        return f"it sent {sorted(twice)} again"
    if (result.ending, result.output) != (whole.ending, whole.output):
        return f"it ended as {result.ending}: {result.reason or result.output}"
    return "" if ledger == whole.ledger else f"the ledger has {ledger}"


def replay(case: Case, whole: Recorded) -> tuple[int, list[str]]:
    """Replays every prefix of a journal. How many replays that were, and those that do not agree."""
    count, wrong = 0, []
    for length in range(1, len(whole.records) + 1):
        for happened, skew_s in product(worlds(whole.events[:length]), SKEWS_S):
            count += 1
            why = simulate(lambda: disagreement(case, whole, length, happened, skew_s))  # noqa: B023 -- called at once
            if why:
                did = ", ".join(intent.key for intent in happened)
                wrong.append(f"{case.name}[:{length}] after ({did}), clock {skew_s:+g} s: {why}")
    return count, wrong


def main() -> None:
    what, source, file = sys.argv[1:]
    cases = {case.name: case for case in SOURCES[source]()}
    with many_simulations():
        if what == "record":
            Path(file).write_bytes(msgspec.json.encode([record(case) for case in cases.values()]))
            return
        journals = msgspec.json.decode(Path(file).read_bytes(), type=list[Recorded])
        replayed = [(journal, *replay(cases[journal.name], journal)) for journal in journals]
    report = {
        "journals": len(journals),
        "prefixes": sum(len(journal.records) for journal in journals),
        "replays": sum(count for _, count, _ in replayed),
        "disagree": [why for _, _, wrong in replayed for why in wrong],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
