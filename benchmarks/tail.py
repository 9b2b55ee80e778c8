"""The tail of a model's answers: no policy, Pydantic AI's FallbackModel, LiteLLM's Router, and Plimsoll's policies.

A real model server on 127.0.0.1 with two deployments: 2 % of the answers take 100 times as long as the others, 0.5 %
are errors, 0.2 % never come, and the first has busy minutes in which everything takes five times as long. Time is
scaled: 20 ms stand for a second. An attempt's timeout is 30 such seconds in every arm but the one without any policy,
whose client gives up after 150. Requests come at random times and wait for nobody; every arm meets the same times, and
a server whose nth answer follows from its seed.

    python -m benchmarks.tail [--quick] [--json] [--save] [--cache DIR]

Each arm is a process in an environment of its own, one after the other. All use OpenAI's client, LiteLLM by way of its
own. Extra calls are those that the server saw beyond one for each question.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import finish, parser, table, track
from benchmarks.environments import PEERS, add_cache, python_of

SECOND_S = 0.020
"""What stands for a second: how long a healthy answer takes."""
TIMEOUT_S, PATIENCE_S = 30 * SECOND_S, 150 * SECOND_S
SEED = 1
LIFE_S = 900.0
SRC = Path(__file__).parent.parent / "src"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One of those compared: a script under `peers/`, and what its environment needs."""

    name: str
    script: str
    packages: tuple[str, ...]


OPENAI = "openai==3.54.0"
OUR_OWN = ("msgspec>=0.20", "ddsketch>=3.0.1", "click>=8.1", "rich>=13.7", "jinja2>=3.1.5")
ARMS = (
    Arm(name="bare", script="openai_asks.py", packages=(OPENAI, *OUR_OWN)),
    Arm(name="pydantic_ai", script="pydantic_ai_asks.py", packages=("pydantic-ai-slim[openai]==2.68.0", OPENAI)),
    Arm(name="litellm", script="litellm_asks.py", packages=("litellm==1.106.2",)),
    Arm(name="plimsoll", script="openai_asks.py", packages=(OPENAI, *OUR_OWN)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much is asked, and how often a minute is busy, in real seconds."""

    calls: int
    per_s: float
    busy_every_s: float
    busy_s: float


FULL = Load(calls=6_000, per_s=40.0, busy_every_s=3600 * SECOND_S, busy_s=60 * SECOND_S)
QUICK = Load(calls=220, per_s=40.0, busy_every_s=6.0, busy_s=0.2)


@contextmanager
def server(load: Load) -> Iterator[str]:
    """The address of a fresh server."""
    command = [sys.executable, str(PEERS / "model_server.py"), "--base-ms", str(SECOND_S * 1e3), "--seed", str(SEED)]
    busy = ["--busy-every-s", str(load.busy_every_s), "--busy-s", str(load.busy_s)]
    with subprocess.Popen([*command, *busy], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def play(arm: Arm, python: str, load: Load) -> dict[str, Any]:
    """One arm's figures."""
    environment = {**os.environ, "PYTHONPATH": str(SRC), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with server(load) as url:
        command = [python, str(PEERS / arm.script), arm.name, "--url", url, "--base-s", str(SECOND_S)]
        limits = ["--timeout-s", str(TIMEOUT_S), "--patience-s", str(PATIENCE_S)]
        asked = ["--calls", str(load.calls), "--per-s", str(load.per_s)]
        ended = subprocess.run(
            [*command, *limits, *asked], env=environment, capture_output=True, text=True, timeout=LIFE_S, check=False
        )
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stderr}")
    return measured(json.loads(ended.stdout.splitlines()[-1]), load.calls)


def measured(seen: dict[str, Any], calls: int) -> dict[str, Any]:
    """The figures of what an arm has seen. A call that failed counts with the time that it took to fail."""
    latencies_ms = sorted(seen["latencies_ms"])

    def quantile_ms(share: float) -> float:
        return round(latencies_ms[min(calls - 1, int(share * calls))], 1)

    return {
        "p50_ms": quantile_ms(0.50),
        "p95_ms": quantile_ms(0.95),
        "p99_ms": quantile_ms(0.99),
        "p999_ms": quantile_ms(0.999),
        "extra_calls_share": round(sum(seen["served"].values()) / calls - 1, 4),
        "failures": len(seen["failures"]),
        "failed_by": sorted({failure.partition(":")[0] for failure in seen["failures"]}),
    }


def measure(cache: Path, load: Load) -> dict[str, Any]:
    """All arms, one after the other."""
    pythons = {arm.name: python_of(arm.packages, cache) for arm in ARMS}
    arms = {arm.name: play(arm, pythons[arm.name], load) for arm in track(ARMS, "arms")}
    best = min(("pydantic_ai", "litellm"), key=lambda name: float(arms[name]["p99_ms"]))
    ours = arms["plimsoll"]["p99_ms"]
    return {
        "arms": arms,
        "calls": load.calls,
        "best_peer": best,
        "p99_of_bare": round(ours / arms["bare"]["p99_ms"], 3),
        "p99_of_best_peer": round(ours / arms[best]["p99_ms"], 3),
        "packages": {arm.name: arm.packages[0] for arm in ARMS},
    }


def main() -> int:
    options = parser(__doc__ or "")
    add_cache(options)
    args = options.parse_args()
    result = measure(args.cache, QUICK if args.quick else FULL)
    rows = [
        (
            name,
            *(f"{arm[key]:,.0f}" for key in ("p50_ms", "p95_ms", "p99_ms", "p999_ms")),
            f"{100 * arm['extra_calls_share']:.1f} %",
            str(arm["failures"]),
        )
        for name, arm in result["arms"].items()
    ]
    heading = ("ms; a healthy answer takes 20", "p50", "p95", "p99", "p99.9", "extra calls", "failures")
    table(f"{result['calls']:,} questions to a model that is slow, hangs and fails at times", [heading, *rows])
    print(
        f"Plimsoll's p99 is {result['p99_of_bare']} of that without any policy, and {result['p99_of_best_peer']} of"
        f" that of {result['best_peer']}, the best peer."
    )
    finish("tail", args, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
