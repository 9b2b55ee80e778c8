"""Durable steps per second, beside a plain SQLite group commit of the very same rows on the same disk in the same run.

A run has 20 steps: 15 reads (156 bytes each, arguments and answer), 4 model calls (answers of 1.3 kB) and 1 write. What
the harness really writes for it is measured at 1, 10, 100 and 1,000 concurrent runs:

* raw: prepared rows into the same tables, each awaited by its run's task; one writer thread commits all that have come
  in (WAL, synchronous=FULL). It encodes, chains and claims nothing: it is what the disk and SQLite cost.
* awaited: the journal, with every event awaited, as raw does.
* barrier: the journal as it is used, which waits for acceptance, for the intent of a write and for the end.
* end to end: the harness, with tools and models that answer at once.
* floor: what any journal with these rows does at least, and nothing besides: one loop that encodes, chains and inserts,
  500 events to a commit, with no event loop, no thread, nobody who waits. Not by concurrency.

A repetition takes barrier, raw, awaited, raw, end to end, floor in turn; the ratios are to that repetition's raw, and
each figure is the median over the repetitions. How they come out depends on the disk: `--slower MS` makes each sync
take so much longer, for all arms alike (Linux, with a C compiler).

    python -m benchmarks.journal [--quick] [--json] [--save] [--dir DIR] [--slower MS]
"""

import asyncio
import gc
import os
import queue
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time, time
from typing import Any

from benchmarks.common import finish, parser, table, track
from benchmarks.peers.work import STEPS, answer, order_line, prompt
from plimsoll import Contract, Harness, ModelReply, Run, local
from plimsoll.contract.model import AgentSection, Limits, Model, Tool
from plimsoll.core.calls import Effect, Ending, Happened, Usage
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import JournalUnavailable
from plimsoll.core.events import GENESIS, CallIntended, Event, RunEnded, RunStarted, chain_digest, encode_event
from plimsoll.journal import Journal, SQLiteStore

RUNS = {1: 60, 10: 300, 100: 1000, 1000: 3000}
"""How many runs an arm takes, by concurrency: enough for about a second."""
QUICK_SHARE = 0.4
REPETITIONS, QUICK_REPETITIONS = 7, 3
FLOOR_BATCH = 500
"""Events to a commit, as at most in the journal."""
BARRIERS = (RunStarted, CallIntended, RunEnded)
"""The events of this workload that the design lets nobody go on without."""

CONTRACT = Contract(
    agent=AgentSection(name="orders"),
    limits=Limits(steps=100),
    models={"primary": Model()},
    tools={"find_order": Tool(effect=Effect.READ), "refund": Tool(effect=Effect.WRITE)},
)


# --------------------------------------------------------------------------------------------------------- the workload


async def agent(run: Run, order: str) -> str:
    """The 20 steps."""
    for step, kind in enumerate(STEPS):
        if kind == "read":
            await run.call("find_order", {"order": order, "line": step})
        elif kind == "write":
            await run.call("refund", {"order": order, "amount": 20})
        else:
            await run.model(prompt(order, step))
    return "Done."


async def find_order(order: str, line: int) -> dict[str, Any]:
    return order_line(order, line)


async def refund(order: str, amount: int) -> dict[str, Any]:
    return {"order": order, "refunded": amount, "receipt": f"R-{order}", "account": "paypal_4100047"}


async def model(prompt: Any) -> ModelReply:
    text = answer(prompt["order"], prompt["step"])
    return ModelReply(text=text, usage=Usage(input_tokens=200, output_tokens=330))


# ------------------------------------------------------------------------------------------------------------- the arms


@dataclass
class Timed:
    """What an arm took."""

    seconds: float
    cpu_s: float
    steps: int
    parked: int = 0
    """The runs that did not come to their end, because the journal could not keep up. Their steps do not count."""

    @property
    def steps_per_s(self) -> float:
        return self.steps / self.seconds


async def concurrently(concurrency: int, runs: Sequence[Any], work: Callable[[Any], Awaitable[object]]) -> Timed:
    """Does `work` on all `runs`, so many at a time, and says what it took."""
    left = iter(runs)

    async def worker() -> None:
        for run in left:
            await work(run)

    gc.collect()
    began, cpu_began = perf_counter(), process_time()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return Timed(perf_counter() - began, process_time() - cpu_began, len(runs) * len(STEPS))


async def end_to_end(path: Path, concurrency: int, runs: int) -> Timed:
    """`Harness.run`, on a SQLite journal."""
    surroundings = local(CONTRACT, path=path, sinks=())
    harness = Harness(
        CONTRACT,
        agent=agent,
        surroundings=surroundings,
        tools=[find_order, refund],
        models={"primary": model},
        verifiers={"refund": lambda args, key: Happened(None)},
    )

    parked = 0

    async def one(name: str) -> None:
        nonlocal parked
        try:
            result = await harness.run(name, run_id=f"run-{name}")
        except JournalUnavailable:  # refused at the door
            parked += 1
        else:
            parked += result.ending is not Ending.COMPLETE

    timed = await concurrently(concurrency, [f"W{number:07}" for number in range(runs)], one)
    await harness.close()
    await surroundings.store.close()
    timed.steps -= parked * len(STEPS)
    timed.parked = parked
    return timed


async def journal_alone(path: Path, concurrency: int, runs: dict[str, list[Event]], *, awaited: bool) -> Timed:
    """The journal alone: claims each run, and appends the events that the harness wrote for it."""
    store, clock = SQLiteStore.open(path, owner="benchmark"), SystemClock()
    journal = Journal(store, clock=clock, max_queue=100_000)

    async def one(run: tuple[str, list[Event]]) -> None:
        run_id, events = run
        log = journal.open(await store.begin(run_id, owner="benchmark", at=clock.now()))
        for event in events:
            if awaited or isinstance(event, BARRIERS):
                await log.commit(event)
            else:
                log.append(event)

    timed = await concurrently(concurrency, list(runs.items()), one)
    await journal.close()
    await store.close()
    return timed


def _like(path: Path, like: Path) -> sqlite3.Connection:
    """A new file with the tables of another, and its promise to wait for the disk."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    with closing(sqlite3.connect(like)) as other:
        for (sql,) in other.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL AND name NOT LIKE 'sqlite_%'"):
            connection.execute(sql)
    return connection


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


class GroupCommit:
    """The plain loop that everybody writes: a queue, a thread, and one transaction for all that has come in."""

    def __init__(self, path: Path, like: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._connection = _like(path, like)
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def put(self, table: str, row: tuple[Any, ...]) -> "asyncio.Future[None]":
        """Queues a row; what is returned is done when it is durable."""
        durable = self._loop.create_future()
        self._queue.put((table, row, durable))
        return durable

    def _write(self) -> None:
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            if batch[-1] is None:
                return
            self._connection.execute("BEGIN IMMEDIATE")
            for name in ("runs", "events"):
                _insert(self._connection, name, [row for table, row, _ in batch if table == name])
            self._connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_all_durable, [durable for _, _, durable in batch])

    def close(self) -> None:
        """Ends the thread."""
        self._queue.put(None)
        self._thread.join()
        self._connection.close()


def _all_durable(waiting: list["asyncio.Future[None]"]) -> None:
    for durable in waiting:
        durable.set_result(None)


@dataclass
class Written:
    """The rows that a journal's file holds, by run."""

    heads: dict[int, tuple[Any, ...]]
    events: dict[int, list[tuple[Any, ...]]]

    @classmethod
    def read(cls, path: Path) -> "Written":
        with closing(sqlite3.connect(path)) as file:
            heads = {row[0]: row for row in file.execute("SELECT * FROM runs")}
            events: dict[int, list[tuple[Any, ...]]] = {key: [] for key in heads}
            for row in file.execute("SELECT * FROM events ORDER BY run, seq"):
                events[row[0]].append(row)
        return cls(heads, events)


def floor(path: Path, like: Path, runs: dict[str, list[Event]], written: Written) -> Timed:
    """The same rows, encoded and chained, as fast as one loop writes them."""
    connection = _like(path, like)
    gc.collect()
    began, cpu_began = perf_counter(), process_time()
    rows: list[tuple[Any, ...]] = []
    heads: list[tuple[Any, ...]] = []

    def commit() -> None:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            _insert(connection, "runs", heads)
            _insert(connection, "events", rows)
        rows.clear()
        heads.clear()

    for (run_id, events), head in zip(runs.items(), written.heads.values(), strict=True):
        heads.append(head)
        digest = GENESIS
        for seq, event in enumerate(events, 1):
            body, at = encode_event(event), time()
            digest = chain_digest(digest, run_id=run_id, seq=seq, epoch=1, at=at, body=body)
            rows.append((head[0], seq, 1, at, body, digest))
        if len(rows) >= FLOOR_BATCH:
            commit()
    commit()
    timed = Timed(perf_counter() - began, process_time() - cpu_began, len(runs) * len(STEPS))
    connection.close()
    return timed


async def raw(path: Path, concurrency: int, written: Written, like: Path) -> Timed:
    """The same rows by the plain loop, each event awaited."""
    commits = GroupCommit(path, like)

    async def one(key: int) -> None:
        commits.put("runs", written.heads[key])  # durable with the run's first event
        for row in written.events[key]:
            await commits.put("events", row)

    timed = await concurrently(concurrency, list(written.heads), one)
    commits.close()
    return timed


# ---------------------------------------------------------------------------------------------------------- measuring


@dataclass
class Repetition:
    """What one repetition at one concurrency took, arm by arm."""

    barrier: Timed
    raw: Timed
    awaited: Timed
    end_to_end: Timed
    floor: Timed
    bytes_per_step: float

    def ratio(self, arm: Timed) -> float:
        return arm.steps_per_s / self.raw.steps_per_s


def repetition(folder: Path, concurrency: int, runs: dict[str, list[Event]]) -> Repetition:
    """All arms once, one after the other, each into a file of its own."""
    with TemporaryDirectory(dir=folder) as scratch:
        file = [Path(scratch) / f"{number}.db" for number in range(6)]
        barrier = asyncio.run(journal_alone(file[0], concurrency, runs, awaited=False))
        written = Written.read(file[0])
        raws = [asyncio.run(raw(file[1], concurrency, written, file[0]))]
        awaited = asyncio.run(journal_alone(file[2], concurrency, runs, awaited=True))
        raws.append(asyncio.run(raw(file[3], concurrency, written, file[0])))
        assert _contents(file[0]) == _contents(file[1]) == _contents(file[3]), "raw did not write the same rows"
        whole = asyncio.run(end_to_end(file[4], concurrency, len(runs)))
        least = floor(file[5], file[0], runs, written)
        both = Timed(*(sum(values) for values in zip(*((r.seconds, r.cpu_s, r.steps) for r in raws), strict=True)))
        return Repetition(barrier, both, awaited, whole, least, file[0].stat().st_size / barrier.steps)


def _contents(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as file:
        return file.execute("SELECT count(*), sum(length(body)), max(digest) FROM events").fetchall()


def events_of(folder: Path, runs: int) -> dict[str, list[Event]]:
    """What the harness really writes for so many runs, decoded, by run."""
    with TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / "journal.db"
        asyncio.run(end_to_end(path, 10, runs))
        return asyncio.run(_events_in(path))


async def _events_in(path: Path) -> dict[str, list[Event]]:
    store = SQLiteStore.open(path)
    heads = await store.heads()
    events = {head.run_id: [record.event for record in await store.read(head.run_id)] for head in heads}
    await store.close()
    return events


def fsync_ms(folder: Path) -> list[float]:
    """What it takes to append 4 KiB to a file and fsync it, 200 times, sorted."""

    def once(descriptor: int) -> float:
        os.write(descriptor, bytes(4096))
        began = perf_counter()
        os.fsync(descriptor)
        return (perf_counter() - began) * 1e3

    descriptor = os.open(folder / "fsync", os.O_WRONLY | os.O_CREAT)
    try:
        return sorted(once(descriptor) for _ in range(200))
    finally:
        os.close(descriptor)
        (folder / "fsync").unlink()


def result_of(taken: dict[int, list[Repetition]], syncs: Sequence[float]) -> dict[str, Any]:
    """The figures: medians over the repetitions."""

    def by_concurrency(figure: Callable[[Repetition], float], digits: int) -> dict[str, float]:
        return {str(c): round(median(map(figure, each)), digits or None) for c, each in taken.items()}

    def cpu_us(arm: Callable[[Repetition], Timed]) -> float:
        return round(median(arm(each).cpu_s / arm(each).steps for each in taken[100]) * 1e6, 1)

    return {
        "steps_per_s": by_concurrency(lambda each: each.barrier.steps_per_s, 0),
        "awaited_steps_per_s": by_concurrency(lambda each: each.awaited.steps_per_s, 0),
        "end_to_end_steps_per_s": by_concurrency(lambda each: each.end_to_end.steps_per_s, 0),
        "raw_steps_per_s": by_concurrency(lambda each: each.raw.steps_per_s, 0),
        "ratio": by_concurrency(lambda each: each.ratio(each.barrier), 3),
        "awaited_ratio": by_concurrency(lambda each: each.ratio(each.awaited), 3),
        "end_to_end_ratio": by_concurrency(lambda each: each.ratio(each.end_to_end), 3),
        "end_to_end_parked": by_concurrency(lambda each: each.end_to_end.parked, 0),
        "cpu_us_per_step": cpu_us(lambda each: each.barrier),
        "awaited_cpu_us_per_step": cpu_us(lambda each: each.awaited),
        "end_to_end_cpu_us_per_step": cpu_us(lambda each: each.end_to_end),
        "raw_cpu_us_per_step": cpu_us(lambda each: each.raw),
        "floor_steps_per_s": round(median(each.floor.steps_per_s for each in taken[100])),
        "floor_ratio": round(median(each.ratio(each.floor) for each in taken[100]), 3),
        "bytes_per_step": round(median(each.bytes_per_step for each in taken[100])),
        "fsync_ms": round(median(syncs), 3),
        "fsync_p99_ms": round(syncs[int(len(syncs) * 0.99)], 3),
        "repetitions": len(taken[100]),
    }


def plan(quick: bool) -> Iterator[int]:
    """The concurrencies, in the order in which they are measured."""
    for _ in range(QUICK_REPETITIONS if quick else REPETITIONS):
        yield from RUNS


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--dir", type=Path, help="on whose disk to measure; the default is that of temporary files")
    options.add_argument("--slower", type=float, metavar="MS", help="by how much longer a sync is to take")
    args = options.parse_args()
    if args.slower and "SLOW_SYNC_MS" not in os.environ:
        return on_a_slower_disk(args.slower)
    share = QUICK_SHARE if args.quick else 1.0
    counts = {concurrency: max(concurrency, round(runs * share)) for concurrency, runs in RUNS.items()}
    taken: dict[int, list[Repetition]] = {concurrency: [] for concurrency in RUNS}
    with TemporaryDirectory(dir=args.dir) as scratch:
        folder = Path(scratch)
        syncs = fsync_ms(folder)
        events = events_of(folder, max(counts.values()))
        for concurrency in track(list(plan(args.quick)), "repetitions"):
            some = dict(list(events.items())[: counts[concurrency]])
            taken[concurrency].append(repetition(folder, concurrency, some))
    result = result_of(taken, syncs)
    heading = ("concurrent runs", "raw", "awaited", "ratio", "barriers", "ratio", "end to end", "ratio")
    keys = ("raw_steps_per_s", "awaited_steps_per_s", "awaited_ratio", "steps_per_s", "ratio", "end_to_end_steps_per_s")
    rows = [
        (f"{int(c):,}", *(f"{result[key][c]:,.{2 if 'ratio' in key else 0}f}" for key in (*keys, "end_to_end_ratio")))
        for c in map(str, RUNS)
    ]
    table("Durable steps per second", [heading, *rows])
    print(
        f"At 100: {result['cpu_us_per_step']} µs of CPU and {result['bytes_per_step']:,} bytes a step."
        f" One loop that encodes, chains and inserts: {result['floor_steps_per_s']:,} steps/s,"
        f" {result['floor_ratio']:.2f} of raw."
        f" This disk's fsync: {result['fsync_ms']} ms, 99 % within {result['fsync_p99_ms']} ms."
    )
    finish(f"journal-{args.slower:g}ms" if args.slower else "journal", args, result)
    return 0


def on_a_slower_disk(longer_ms: float) -> int:
    """Runs this very command once more, in a process whose syncs take `longer_ms` milliseconds longer."""
    with TemporaryDirectory() as folder:
        library = Path(folder) / "slow_sync.so"
        source = Path(__file__).with_name("slow_sync.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source, "-ldl"], check=True)
        slow = {**os.environ, "LD_PRELOAD": str(library), "SLOW_SYNC_MS": str(longer_ms)}
        return subprocess.run(
            [sys.executable, "-m", "benchmarks.journal", *sys.argv[1:]], env=slow, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
