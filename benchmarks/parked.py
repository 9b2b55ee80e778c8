"""What 100,000 parked runs cost: the memory of a process that opens them, and the time to wake one of them.

Every run waits for a person's approval of a refund of its own. One is parked by the harness; the others' journals are
that one's under their own ids, written through a journal like any run's. A fresh process then opens the file, one run
after another is approved, and `Harness.wake()` goes on with it to its end. Beside it: the same with 10 parked runs.

    python -m benchmarks.parked [--quick] [--json] [--save] [--dir DIR]
"""

import asyncio
import json
import shutil
import subprocess
import sys
from argparse import SUPPRESS
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmarks.common import finish, parser, table, track
from benchmarks.peers.work import answer, prompt
from plimsoll import Contract, Ending, Happened, Harness, ModelReply, Run, local
from plimsoll.contract.model import AgentSection, Approval, Model, Tool
from plimsoll.core.calls import Effect
from plimsoll.core.canonical import digest
from plimsoll.core.clock import SystemClock
from plimsoll.core.events import Event, decode_event, encode_event
from plimsoll.journal import Journal, SQLiteStore

MANY, FEW = 100_000, 10
WAKES, QUICK_WAKES = 9, 3
BATCH = 1000
MEMORY = Path("/dev/shm")
"""Where there is no disk to wait for: what is built there is moved to its place when it is ready."""
ROOM_BYTES = 4 << 30

CONTRACT = Contract(
    agent=AgentSection(name="refunds"),
    models={"primary": Model()},
    tools={
        "refund": Tool(effect=Effect.WRITE, approval=Approval(approvers=("ann",), expires_s=30 * 86_400.0)),
    },
)


async def agent(run: Run, order: str) -> str:
    """Looks, asks, pays."""
    said = await run.model(prompt(order, 1))
    await run.call("refund", refund_of(order))
    return said.text


async def refund(order: str, amount: int) -> dict[str, Any]:
    return {"order": order, "refunded": amount}


async def model(prompt: Any) -> ModelReply:
    return ModelReply(text=answer(prompt["order"], prompt["step"]))


def order_of(number: int) -> str:
    return f"W{number:08}"


def refund_of(order: str) -> dict[str, Any]:
    return {"order": order, "amount": 20}


def harness_on(path: Path) -> Harness:
    """A process's harness on the journal."""
    return Harness(
        CONTRACT,
        agent=agent,
        surroundings=local(CONTRACT, path=path, sinks=()),
        tools=[refund],
        models={"primary": model},
        verifiers={"refund": lambda args, key: Happened(None)},
        fingerprint="the same in every process",
    )


# ------------------------------------------------------------------------------------------------------------- parking


def names_of(order: str) -> tuple[bytes, ...]:
    """What in a run's events is of its order: the order itself, and the digests of what was asked about it."""
    return tuple(name.encode() for name in (order, digest(prompt(order, 1)), digest(refund_of(order))))


async def park_one(path: Path, order: str) -> list[Event]:
    """Really parks a run, and gives its events."""
    harness = harness_on(path)
    result = await harness.run(order, run_id=f"run-{order}")
    assert result.ending is Ending.PARKED, result
    events = await harness.operations.events(f"run-{order}")
    await harness.close()
    await harness.store.close()
    return events


async def park_many(path: Path, events: Sequence[Event], like: str, runs: int) -> None:
    """Parks so many runs, each with the events of `like` under its own name."""
    store, clock = SQLiteStore.open(path, owner="builder"), SystemClock()
    journal = Journal(store, clock=clock, max_queue=20 * BATCH)
    bodies = [encode_event(event) for event in events]

    async def park(order: str) -> None:
        log = journal.open(await store.claim(f"run-{order}", owner="builder", at=clock.now(), expected=0))
        names = list(zip(names_of(like), names_of(order), strict=True))
        for body in bodies:
            for old, new in names:
                body = body.replace(old, new)  # noqa: PLW2901
            log.append(decode_event(body))
        await log.durable()

    for first in track(range(0, runs, BATCH), f"{runs:,} parked runs"):
        await asyncio.gather(*(park(order_of(number)) for number in range(first, min(first + BATCH, runs))))
    await journal.close()
    await store.close()


def build(path: Path, runs: int) -> None:
    """Makes a journal with so many parked runs at `path`."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    with TemporaryDirectory(dir=MEMORY if roomy else path.parent) as scratch:
        like = order_of(99_999_999)
        events = asyncio.run(park_one(Path(scratch) / "one.db", like))
        file = Path(scratch) / "many.db"
        asyncio.run(park_many(file, events, like, runs))
        shutil.move(file, path)


# -------------------------------------------------------------------------------------------------------------- waking


def memory_mb() -> tuple[float, float]:
    """The memory that this process has now, and the most that it ever had, in MB. Of Linux."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, peak = (int(status[name].split()[0]) / 1e3 for name in ("VmRSS", "VmHWM"))
    return now, peak


async def wake_some(path: Path, runs: int, wakes: int) -> dict[str, Any]:
    """Opens the journal in this process, and wakes some runs, spread over all of them, one after the other."""
    began = perf_counter()
    harness = harness_on(path)
    opened_ms = (perf_counter() - began) * 1e3
    opened_mb, _ = memory_mb()
    wake_ms = []
    for number in range(0, runs, -(-runs // wakes)):
        run_id = f"run-{order_of(number)}"
        assert await harness.operations.decide(f"{run_id}.a1", approve=True, by="ann")
        began = perf_counter()
        woken = await harness.wake()
        wake_ms.append((perf_counter() - began) * 1e3)
        assert [(result.run_id, result.ending) for result in woken] == [(run_id, Ending.COMPLETE)], woken
    woken_mb, peak_mb = memory_mb()
    await harness.close()
    await harness.store.close()
    return {
        "opened_ms": opened_ms,
        "opened_mb": opened_mb,
        "wake_ms": wake_ms,
        "woken_mb": woken_mb,
        "peak_mb": peak_mb,
    }


def in_a_process(path: Path, runs: int, wakes: int) -> dict[str, Any]:
    """`wake_some`, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.parked", "--wake", str(path), str(runs), str(wakes)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"waking runs of {path} failed:\n{ended.stderr}")
    answered: dict[str, Any] = json.loads(ended.stdout)
    return answered


def measure(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Builds both journals, and wakes runs in each."""
    wakes = QUICK_WAKES if quick else WAKES
    for name, runs in (("few", FEW), ("many", MANY)):
        build(folder / f"{name}.db", runs)
    few = in_a_process(folder / "few.db", FEW, wakes)
    size = (folder / "many.db").stat().st_size
    many = in_a_process(folder / "many.db", MANY, wakes)
    return {
        "parked": MANY,
        "rss_mb": round(many["woken_mb"], 1),
        "rss_mb_few": round(few["woken_mb"], 1),
        "rss_mb_opened": round(many["opened_mb"], 1),
        "rss_mb_peak": round(many["peak_mb"], 1),
        "open_ms": round(many["opened_ms"], 1),
        "wake_ms": round(median(many["wake_ms"]), 2),
        "wake_ms_few": round(median(few["wake_ms"]), 2),
        "wake_ms_first": round(many["wake_ms"][0], 2),
        "bytes_per_parked_run": round(size / MANY),
    }


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--dir", type=Path, help="on whose disk to measure; the default is that of temporary files")
    options.add_argument("--wake", nargs=3, help=SUPPRESS)
    args = options.parse_args()
    if args.wake:
        path, runs, wakes = args.wake
        print(json.dumps(asyncio.run(wake_some(Path(path), int(runs), int(wakes)))))
        return 0
    with TemporaryDirectory(dir=args.dir) as scratch:
        result = measure(Path(scratch), quick=args.quick)
    table(
        "Parked runs",
        [
            ("parked", "memory of the process", "to wake one"),
            (f"{FEW}", f"{result['rss_mb_few']} MB", f"{result['wake_ms_few']} ms"),
            (f"{MANY:,}", f"{result['rss_mb']} MB", f"{result['wake_ms']} ms"),
        ],
    )
    print(f"{result['bytes_per_parked_run']:,} bytes on the disk for each. Opening them took {result['open_ms']} ms.")
    finish("parked", args, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
