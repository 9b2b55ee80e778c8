"""Durable runs beside DBOS and LangGraph on SQLite: steps per second, and what a SIGKILL after an effect does.

Speed: 100 concurrent runs of 20 steps (15 reads, 4 model calls, 1 write), tools and models that answer at once, each
system in a process and an environment of its own, all of them in turn.

Crashes: runs with one effect each, which is appended to a ledger outside and fsynced. The process is killed (SIGKILL)
right after an effect, before or just when its answer is recorded, several times; then it is started once more, goes on
as its documentation says, and the ledger is judged. A peer's step could look into the ledger by itself before it acts;
none asks for that or has a place for it, as `verify` is.

    python -m benchmarks.durable [--quick] [--json] [--save] [--cache DIR]

Peers are installed once, under DIR (the user's cache folder by default), from PyPI.
"""

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import finish, parser, table, track
from benchmarks.environments import PEERS, add_cache, python_of
from benchmarks.peers.work import LEDGER, Ledger

RUNS, QUICK_RUNS = 200, 100
REPETITIONS, QUICK_REPETITIONS = 5, 1
TRIALS, QUICK_TRIALS = 12, 1
CRASH_RUNS = 24
KILLS, QUICK_KILLS = 4, 2
LIFE_S = 120.0
"""How long a life may take before the benchmark gives it up."""

STEP_FIRST = "at least once: a step is on the disk before the next begins; the one that was cut off is done again"
BEHIND = "at least once: steps are written behind the run, effects may come first; what was cut off is done again"
NOTHING = "at least once: nothing is written before the end; a run that was cut off begins anew"
INTENT_FIRST = "exactly once: the intent of a write is on the disk before it is sent; one that was cut off is verified"
PARKS = "at most once: the same without `verify`; a write that was cut off waits for a person"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One of those compared: a script under `peers/`, its variant, and what its environment needs."""

    name: str
    script: str
    variant: str
    promise: str
    packages: tuple[str, ...]
    equal: bool = True
    """Whether no effect is sent before everything that it rests on is on the disk, which costs the time."""
    times: int = 1
    """How many times as many runs it takes in the speed test: enough for half a second."""


OURS = "plimsoll"
DBOS: dict[str, Any] = {"script": "dbos_runs.py", "packages": ("dbos==3.4.0",)}
LANGGRAPH: dict[str, Any] = {
    "script": "langgraph_runs.py",
    "packages": ("langgraph==1.2.22", "langgraph-checkpoint-sqlite==3.1.2"),
}
PLIMSOLL: dict[str, Any] = {"script": "plimsoll_runs.py", "packages": (), "times": 10}
SYSTEMS = (
    System(name="dbos", variant="default", promise=STEP_FIRST, **DBOS),
    System(name="dbos_wal", variant="wal", promise=STEP_FIRST, **DBOS),
    System(name="langgraph_graph", variant="graph", promise=STEP_FIRST, **LANGGRAPH),
    System(name="langgraph_sync", variant="sync", promise=BEHIND, equal=False, **LANGGRAPH),
    System(name="langgraph_async", variant="async", promise=BEHIND, equal=False, **LANGGRAPH),
    System(name="langgraph_exit", variant="exit", promise=NOTHING, equal=False, **LANGGRAPH),
    System(name=OURS, variant="verified", promise=INTENT_FIRST, **PLIMSOLL),
    System(name="plimsoll_unverified", variant="unverified", promise=PARKS, **PLIMSOLL),
)


# ---------------------------------------------------------------------------------------------------------------- lives


def play(python: str, system: System, what: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """One life of a system. Raises where it ended neither well nor by SIGKILL."""
    command = [python, str(PEERS / system.script), system.variant, what, str(folder), *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIFE_S, check=False)
    if ended.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stderr}")
    return ended


def answer_of(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What a life printed last."""
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answer


# --------------------------------------------------------------------------------------------------------------- speed


@dataclass
class Speed:
    """What the repetitions of a system's speed test brought."""

    steps_per_s: list[float] = field(default_factory=list)
    cpu_us_per_step: list[float] = field(default_factory=list)
    bytes_per_step: list[float] = field(default_factory=list)


def measure_speed(speed: Speed, python: str, system: System, runs: int) -> None:
    """One repetition."""
    with TemporaryDirectory() as scratch:
        answer = answer_of(play(python, system, "speed", Path(scratch), "--runs", str(runs * system.times)))
        stored = sum(file.stat().st_size for file in Path(scratch).rglob("*") if file.is_file())
    speed.steps_per_s.append(answer["steps"] / answer["seconds"])
    speed.cpu_us_per_step.append(answer["cpu_s"] / answer["steps"] * 1e6)
    speed.bytes_per_step.append(stored / answer["steps"])


# -------------------------------------------------------------------------------------------------------------- crashes


@dataclass
class Judged:
    """What became of effects: each of them should be in the ledger once."""

    effects: int = 0
    lost: int = 0
    doubled: int = 0
    parked: int = 0
    kills: int = 0

    def add(self, other: "Judged") -> None:
        self.effects += other.effects
        self.lost += other.lost
        self.doubled += other.doubled
        self.parked += other.parked
        self.kills += other.kills


def judge(ledger: Iterable[str], stand: dict[str, str], *, kills: int = 0) -> Judged:
    """Compares the orders in the ledger with the runs, each of which is `over` or `parked` and has one effect.

    A run that waits for a person to say whether its effect happened has lost nothing yet.
    """
    happened = Counter(ledger)
    return Judged(
        effects=len(stand),
        lost=sum(happened[order] == 0 and how == "over" for order, how in stand.items()),
        doubled=sum(times - 1 for times in happened.values() if times > 1),
        parked=sum(how == "parked" for how in stand.values()),
        kills=kills,
    )


def crash(python: str, system: System, *, seed: int, lives: int) -> Judged:
    """One trial: killed right after effects, started again, and judged when everything is over."""
    rng = random.Random(seed)
    kills = 0
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for _ in range(lives):
            delay_ms = rng.choice((0.0, rng.uniform(0.0, 1.0)))
            after = rng.randint(1, 4)
            options = ("--runs", str(CRASH_RUNS), "--kill-after", str(after), "--delay-ms", f"{delay_ms:.3f}")
            kills += play(python, system, "life", folder, *options).returncode == -signal.SIGKILL
        stand = answer_of(play(python, system, "life", folder, "--runs", str(CRASH_RUNS)))
        return judge([row["order"] for row in Ledger(folder / LEDGER).rows()], stand, kills=kills)


# --------------------------------------------------------------------------------------------------------------- result


def measured(system: System, speed: Speed, judged: Judged, ours: Speed) -> dict[str, Any]:
    """The figures of one system. `times` is how many times as fast Plimsoll is, repetition by repetition."""
    ratios = [mine / theirs for mine, theirs in zip(ours.steps_per_s, speed.steps_per_s, strict=True)]
    return {
        "promise": system.promise,
        "equal_promise": system.equal,
        "packages": list(system.packages),
        "steps_per_s": round(median(speed.steps_per_s)),
        "times": round(median(ratios), 1),
        "cpu_us_per_step": round(median(speed.cpu_us_per_step)),
        "bytes_per_step": round(median(speed.bytes_per_step)),
        "effects": judged.effects,
        "kills": judged.kills,
        "lost": judged.lost,
        "doubled": judged.doubled,
        "parked": judged.parked,
    }


def measure(cache: Path, *, quick: bool) -> dict[str, Any]:
    """Everything: speeds first, then crashes."""
    pythons = {system.name: python_of(system.packages, cache) for system in SYSTEMS}
    speeds = {system.name: Speed() for system in SYSTEMS}
    judged = {system.name: Judged() for system in SYSTEMS}
    rounds = [system for _ in range(QUICK_REPETITIONS if quick else REPETITIONS) for system in SYSTEMS]
    for system in track(rounds, "speed"):
        measure_speed(speeds[system.name], pythons[system.name], system, QUICK_RUNS if quick else RUNS)
    trials = [(system, seed) for seed in range(QUICK_TRIALS if quick else TRIALS) for system in SYSTEMS]
    for system, seed in track(trials, "crashes"):
        judged[system.name].add(crash(pythons[system.name], system, seed=seed, lives=QUICK_KILLS if quick else KILLS))
    each = {system.name: measured(system, speeds[system.name], judged[system.name], speeds[OURS]) for system in SYSTEMS}
    peers = {system.name: each[system.name] for system in SYSTEMS if system.packages}
    fastest = min(peers, key=lambda name: peers[name]["times"])
    best = min((name for name in peers if peers[name]["equal_promise"]), key=lambda name: peers[name]["times"])
    return {
        **each[OURS],
        "peers": peers,
        "unverified": each["plimsoll_unverified"],
        "best_equal_peer": best,
        "times_the_best_equal_peer": peers[best]["times"],
        "fastest_peer": fastest,
        "times_the_fastest_peer": peers[fastest]["times"],
    }


def main() -> int:
    options = parser(__doc__ or "")
    add_cache(options)
    args = options.parse_args()
    result = measure(args.cache, quick=args.quick)
    each = {**result["peers"], "plimsoll, without verify": result["unverified"], OURS: result}
    rows = [
        (
            name,
            f"{one['steps_per_s']:,}",
            f"{one['cpu_us_per_step']:,}",
            f"{one['bytes_per_step']:,}",
            *(str(one[key]) for key in ("kills", "lost", "doubled", "parked")),
        )
        for name, one in each.items()
    ]
    heading = ("100 concurrent runs", "steps/s", "CPU µs", "bytes", "kills", "lost", "doubled", "parked")
    table(f"Durable runs; {result['effects']} effects each, killed right after some", [heading, *rows])
    best, fastest = result["best_equal_peer"], result["fastest_peer"]
    print(
        f"Plimsoll is {result['times_the_best_equal_peer']} times as fast as {best}, the fastest that sends no effect"
        " before what it rests on is on the disk, and"
        f" {result['times_the_fastest_peer']} times as fast as {fastest}, the fastest of all."
    )
    finish("durable", args, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
