"""Kills a working process again and again, at instants drawn from a seed, and judges what came of it by the ledger.

The instants: any moment (a delay in real time), before or after the journal's nth append of that life, and before or
after the nth effect, where it is the ledger that kills whoever sent it. Orders are handed to the next life until they
are done, as a queue would.
"""

import asyncio
import json
import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plimsoll.core.calls import Ending
from plimsoll.core.events import DoubtRaised, DoubtResolved, RunResumed
from plimsoll.journal import RunState, SQLiteStore
from plimsoll.journal.audit import AuditReport, audit
from plimsoll.journal.signing import verify
from tests.journal.signing import SIGNER
from tests.proof.ledger import Effect, ask, effects
from tests.proof.worker import EFFECTS, JOURNAL, KEYS, SHOP

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
MOMENTS_WITHIN_S = 0.12
"""A life is killed at a moment within so many seconds. Longer lives are killed in the same places, less often."""


@dataclass(frozen=True, slots=True)
class Instant:
    """When a life ends: at a moment `after_s`, or at the nth append or effect, `before` it is done or `after`."""

    kind: str
    after_s: float = 0.0
    nth: int = 0
    moment: str = ""


def instants(seed: int, count: int) -> Iterator[Instant]:
    """As many instants as asked for: half of them at any moment, a quarter at appends, a quarter at effects."""
    rng = random.Random(seed)
    for _ in range(count):
        kind = rng.choice(("moment", "moment", "append", "effect"))
        if kind == "moment":
            yield Instant(kind, after_s=rng.uniform(0.0, MOMENTS_WITHIN_S))
        else:
            yield Instant(kind, nth=rng.randint(1, 12), moment=rng.choice(("before", "after")))


@dataclass
class Verdict:
    """What came of it: the kills by kind, and what the ledger and the journal say once everything was gone on with."""

    kills: Counter[str] = field(default_factory=Counter)
    orders: int = 0
    lost: Counter[Effect] = field(default_factory=Counter)
    doubled: Counter[Effect] = field(default_factory=Counter)
    unfinished: list[str] = field(default_factory=list)
    resumed: int = 0
    doubts: Counter[str] = field(default_factory=Counter)
    """How doubts were settled: raised, happened, not_happened."""
    audit: AuditReport = field(default_factory=AuditReport)


@contextmanager
def folder() -> Iterator[Path]:
    """A fresh folder whose path is short enough for a socket's."""
    path = Path(tempfile.mkdtemp(prefix="plimsoll-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def process(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the tests, by its module. It ends when its input does."""
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        [sys.executable, "-m", f"tests.proof.{module}", *arguments], cwd=ROOT, stdin=pipe, stdout=pipe, bufsize=0
    )
    try:
        yield child
    finally:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.close()
        child.stdout.close()  # a life that is still at work ends over this
        try:
            child.wait(PATIENCE_S)
        finally:
            child.kill()
            child.wait()


class Lines:
    """The lines that a process says."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        self._descriptor = child.stdout.fileno()
        self._read = b""

    def next(self, *, within_s: float = PATIENCE_S, needed: bool = True) -> list[str]:
        """The words of the next line. Empty when none came in time and none is needed."""
        until = time.monotonic() + within_s
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                assert not needed, f"the process said nothing for {within_s:g} s"
                return []
            said = os.read(self._descriptor, 65536)
            assert said, "the process ended"
            self._read += said
        line, _, self._read = self._read.partition(b"\n")
        return line.decode().split()


def command(
    worker: subprocess.Popen[bytes],
    *,
    number: int,
    again: list[str],
    last: bool = False,
    first: int = 0,
    agent: str = "packer",
    dies: dict[str, Any] | None = None,
    stops: bool = False,
    sealed: bool = False,
    mutant: str = "",
) -> None:
    """Has a worker begin its life of this number.

    It works on the orders `again`, and unless this is its `last`, on new ones from number `first` on. `dies` is the
    append at which it kills itself, `stops` whether it stops before it sends anything, `sealed` whether its journal is
    encrypted and has signed checkpoints.
    """
    words = {"number": number, "again": again, "last": last, "first": first, "agent": agent}
    words |= {"dies": dies, "stops": stops, "sealed": sealed, "mutant": mutant}
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(words).encode() + b"\n")


class Killing:
    """One process that works through orders, and dies of it. `options` are those of all its lives, as for `command`."""

    def __init__(self, worker: subprocess.Popen[bytes], where: Path, **options: Any) -> None:
        self._worker = worker
        self._lines = Lines(worker)
        self._where = where
        self._options = options
        self._lives = 0
        self._taken: list[str] = []
        self._open: set[str] = set()
        self.kills: Counter[str] = Counter()

    def kill(self, instant: Instant) -> None:
        """One life, which ends at `instant`."""
        dies = {"nth": instant.nth, "moment": instant.moment}
        pid = self._born(dies=dies if instant.kind == "append" else None)
        if instant.kind == "moment":
            self._work(within_s=instant.after_s)
            os.kill(pid, signal.SIGKILL)
        elif instant.kind == "effect":
            ask(self._where, do="strike", pid=pid, **dies)
        assert self._work() == -signal.SIGKILL
        self.kills[instant.kind] += 1

    def finish(self) -> None:
        """A last life, which goes on with whatever is left and ends by itself."""
        self._born(last=True)
        assert self._work() == 0
        assert not self._open

    @property
    def orders(self) -> list[str]:
        """The orders that were ever taken."""
        return self._taken

    def _born(self, *, dies: dict[str, Any] | None = None, last: bool = False) -> int:
        self._lives += 1
        again = [order for order in self._taken if order in self._open]
        first = len(self._taken)
        command(self._worker, number=self._lives, again=again, first=first, last=last, dies=dies, **self._options)
        word, *rest = self._lines.next()
        assert word == "ready", f"{word} {rest}"
        return int(rest[0])

    def _work(self, *, within_s: float | None = None) -> int | None:
        """Listens until the process is dead, and returns its status; or for so long, and returns None."""
        until = None if within_s is None else time.monotonic() + within_s
        while True:
            left_s = PATIENCE_S if until is None else max(0.0, until - time.monotonic())
            match self._lines.next(within_s=left_s, needed=until is None):
                case []:
                    return None
                case ["dead", status]:
                    return int(status)
                case ["taken", order]:
                    self._taken.append(order)
                    self._open.add(order)
                case ["done", order, ending]:
                    assert ending == Ending.COMPLETE, f"{order} ended as {ending}"
                    self._open.discard(order)


def killed(seed: int, count: int, *, mutant: str = "", only: tuple[str, ...] = (), sealed: bool = False) -> Verdict:
    """Kills a process as often as asked for, lets it finish, and judges. `only`: at instants of these kinds."""
    with folder() as where, process("ledger", str(where)) as ledger, process("worker", str(where)) as worker:
        assert Lines(ledger).next() == ["ready"]
        killing = Killing(worker, where, mutant=mutant, sealed=sealed)
        chosen = (instant for instant in instants(seed, 100 * count) if not only or instant.kind in only)
        for instant, _ in zip(chosen, range(count), strict=False):
            killing.kill(instant)
        killing.finish()
        verdict = asyncio.run(judged(where, killing.orders, sealed=sealed))
    verdict.kills = killing.kills
    return verdict


def bookings(where: Path) -> Counter[Effect]:
    """What the shop's own database holds."""
    with closing(sqlite3.connect(where / SHOP)) as shop:
        return Counter(("book", order) for (order,) in shop.execute("SELECT order_id FROM bookings"))


async def judged(where: Path, orders: list[str], *, sealed: bool) -> Verdict:
    """What ledger and database hold against what was ordered; and what the journal says of how it came about."""
    verdict = Verdict(orders=len(orders))
    expected = Counter((tool, order) for order in orders for tool in EFFECTS)
    found = effects(where) + bookings(where)
    verdict.lost, verdict.doubled = expected - found, found - expected
    store = SQLiteStore.open(where / JOURNAL, keys=KEYS if sealed else None)
    verdict.audit = await audit(store, verify=verify, keys=[SIGNER.public] if sealed else [])
    for head in await store.heads():
        if head.state is not RunState.ENDED:
            verdict.unfinished.append(head.run_id)
        for event in (record.event for record in await store.read(head.run_id)):
            verdict.resumed += isinstance(event, RunResumed)
            if isinstance(event, DoubtRaised):
                verdict.doubts["raised"] += 1
            elif isinstance(event, DoubtResolved):
                verdict.doubts[event.answer] += 1
    verdict.unfinished += sorted(set(orders) - {head.run_id for head in await store.heads()})
    await store.close()
    return verdict
