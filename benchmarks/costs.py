"""What single things cost: compressing and encrypting an event, a checkpoint, a part of a streamed answer.

CPU time, but for the checkpoint, which waits for the disk: there it is what the journal's other writers wait for.

    python -m benchmarks.costs [--quick] [--json] [--save]
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmarks.common import cpu_s, cpu_s_once, finish, parser, table
from benchmarks.peers.work import ANSWERS, answer, order_line
from plimsoll import Contract, Ending, Harness, ModelReply, Run
from plimsoll.contract.model import AgentSection, Limits, Model
from plimsoll.core.calls import CallKind, Effect, Outcome, Status
from plimsoll.core.clock import SystemClock
from plimsoll.core.events import CallSettled, Event, encode_event
from plimsoll.journal import Journal, MemoryStore, SQLiteStore
from plimsoll.journal.checkpoints import checkpoint_after
from plimsoll.journal.codec import COMPRESSED_FROM_BYTES, encode, encoder, opened
from plimsoll.journal.encryption import Cipher
from plimsoll.journal.signing import SigningKey, new_signing_key
from plimsoll.runtime.surroundings import Surroundings

CONTRACT = Contract(
    agent=AgentSection(name="talker"), limits=Limits(seconds=600.0), models={"primary": Model(timeout_s=600.0)}
)
EVENTS, RUNS = 1000, 50
"""What a checkpoint covers: so many events, in so many runs."""
PARTS, QUICK_PARTS = 5000, 1000


# -------------------------------------------------------------------------------------------------------------- events


def settled(value: Any, *, dependency: str, kind: CallKind) -> Event:
    """The record of a call that went well."""
    return CallSettled(
        key=f"7:{dependency}",
        dependency=dependency,
        kind=kind,
        effect=Effect.READ,
        args_digest="0" * 64,
        outcome=Outcome(status=Status.OK, value=value),
        duration_s=0.25,
    )


READ = settled(order_line("W00000042", 7), dependency="find_order", kind=CallKind.TOOL)
ANSWER = settled({"text": answer("W00000042", 1)}, dependency="primary", kind=CallKind.MODEL)


def long_answer() -> Event:
    """A model's answer that is just long enough to be compressed."""
    around = len(encode_event(settled({"text": ""}, dependency="primary", kind=CallKind.MODEL)))
    text = " ".join(ANSWERS)[: COMPRESSED_FROM_BYTES - around]
    return settled({"text": text}, dependency="primary", kind=CallKind.MODEL)


def compression(times: int) -> dict[str, Any]:
    """What compressing costs, and what share of the event it leaves."""
    event = long_answer()
    json = encode_event(event)
    body, _ = encode(event)
    assert len(body) < len(json) == COMPRESSED_FROM_BYTES
    spent_s = cpu_s(lambda: encode(event), times=times) - cpu_s(lambda: encode_event(event), times=times)
    return {"bytes": len(json), "us": round(1e6 * spent_s, 1), "left": round(len(body) / len(json), 3)}


def encryption(event: Event, times: int) -> dict[str, Any]:
    """What sealing an event costs beyond writing it as it is, and what opening it costs."""
    key = Cipher(bytes(32))
    sealing = encoder(key)
    body, json = sealing(event)
    assert opened(body, key) == json == encode_event(event)
    seal_s = cpu_s(lambda: sealing(event), times=times) - cpu_s(lambda: encode(event), times=times)
    open_s = cpu_s(lambda: opened(body, key), times=times)
    return {"bytes": len(encode_event(event)), "seal_us": round(1e6 * seal_s, 1), "open_us": round(1e6 * open_s, 1)}


# ---------------------------------------------------------------------------------------------------------- checkpoints


async def checkpoint_ms(path: Path, rounds: int) -> float:
    """The median time of a checkpoint over `EVENTS` new events."""
    store, clock = SQLiteStore.open(path, owner="bench"), SystemClock()
    journal = Journal(store, clock=clock, max_queue=2 * EVENTS)
    signer = SigningKey(new_signing_key()[0], source="here")
    logs = [journal.open(await store.claim(f"run-{n}", owner="bench", at=clock.now(), expected=0)) for n in range(RUNS)]
    times = []
    for _ in range(rounds):
        for number in range(EVENTS):
            logs[number % RUNS].append(READ)
        await asyncio.gather(*(log.durable() for log in logs))
        began = perf_counter()
        made = await store.checkpoint(checkpoint_after(signer, at=clock.now()))
        times.append(1e3 * (perf_counter() - began))
        assert made is not None and made.runs == RUNS
    await journal.close()
    await store.close()
    return median(times)


# -------------------------------------------------------------------------------------------------------------- streams


async def listens(run: Run, parts: int) -> int:
    """An agent that is shown an answer in so many parts."""
    seen = 0
    async with run.stream(parts) as stream:
        async for _ in stream:
            seen += 1
    return seen


async def talks(parts: int) -> AsyncIterator[str | ModelReply]:
    for number in range(parts):
        yield f"word{number} "
    yield ModelReply()


def streaming_us(parts: int) -> float:
    """CPU time for one part of an answer, by an answer of that many and one of a single part."""
    harness = Harness(
        CONTRACT,
        agent=listens,
        surroundings=Surroundings(store=MemoryStore(), owner="bench", sinks=()),
        models={"primary": talks},
        fingerprint="v1",
    )

    async def listened(many: int) -> None:
        result = await harness.run(many)
        assert (result.ending, result.output) == (Ending.COMPLETE, many), result

    with asyncio.Runner() as runner:
        spent_s = [
            cpu_s_once(lambda: runner.run(listened(parts)), 1) - cpu_s_once(lambda: runner.run(listened(1)), 1)
            for _ in range(5)
        ]
        runner.run(harness.close())
    return 1e6 * median(spent_s) / (parts - 1)


def main() -> int:
    args = parser(__doc__ or "").parse_args()
    times = 500 if args.quick else 5000
    with TemporaryDirectory() as folder:
        checkpoint = asyncio.run(checkpoint_ms(Path(folder) / "journal.db", rounds=3 if args.quick else 15))
    result = {
        "compression": compression(times),
        "encryption": {"read": encryption(READ, times), "answer": encryption(ANSWER, times)},
        "checkpoint": {"events": EVENTS, "runs": RUNS, "ms": round(checkpoint, 2)},
        "streaming": {"us_per_part": round(streaming_us(QUICK_PARTS if args.quick else PARTS), 1)},
    }
    squeezed, sealed = result["compression"], result["encryption"]
    rows = [
        (f"compressing an event of {squeezed['bytes']:,} bytes", f"{squeezed['us']} µs, {squeezed['left']:.0%} left"),
        *(
            (f"encrypting one of {one['bytes']:,} bytes, and opening it", f"{one['seal_us']} µs, {one['open_us']} µs")
            for one in sealed.values()
        ),
        (f"a checkpoint over {EVENTS:,} events of {RUNS} runs", f"{result['checkpoint']['ms']} ms"),
        ("a part of a streamed answer", f"{result['streaming']['us_per_part']} µs"),
    ]
    table("What single things cost", [("what", "cost"), *rows])
    finish("costs", args, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
