"""What the policies cost: CPU µs per call, on the healthy path, without a journal; beside stamina and purgatory.

Retry, hedge, circuit breaker, bulkhead, timeout and output check, all around one function; each alone; and none, which
is what the pipeline itself costs. The peers retry and break circuits; their second figure is with asyncio's own timeout
and semaphore on top. They neither hedge nor check outputs.

    python -m benchmarks.policies [--quick] [--json] [--save] [--cache DIR]

Processes take turns, each in an environment of its own; figures are medians over the repetitions.
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import finish, parser, table, track
from benchmarks.environments import PEERS, add_cache, python_of

STAMINA = ("stamina==26.1.0", "purgatory==3.0.1")
CALLS, QUICK_CALLS = 20_000, 4_000
REPETITIONS, QUICK_REPETITIONS = 9, 3
TIMEOUT_S = 300.0

Cost = dict[str, dict[str, float]]


def measured(python: str, script: str, calls: int) -> Cost:
    """One repetition of one system: µs by protection and function."""
    command = [python, str(PEERS / script), "--calls", str(calls)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stderr}")
    cost: Cost = json.loads(ended.stdout.splitlines()[-1])
    return cost


def measure(cache: Path, *, quick: bool) -> dict[str, Any]:
    """All repetitions, and their medians."""
    systems = ((sys.executable, "plimsoll_policies.py"), (python_of(STAMINA, cache), "stamina_policies.py"))
    rounds = [system for _ in range(QUICK_REPETITIONS if quick else REPETITIONS) for system in systems]
    seen: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for python, script in track(rounds, "policies"):
        for protection, cost in measured(python, script, QUICK_CALLS if quick else CALLS).items():
            for function, us in cost.items():
                seen[protection][function].append(us)
    us = {name: {function: round(median(all_), 1) for function, all_ in one.items()} for name, one in seen.items()}
    peer, full = us.pop("retry_and_breaker"), us.pop("and_timeout_and_semaphore")
    ours, none = us.pop("all"), us.pop("none")
    return {
        "plimsoll_us": ours["waits"],
        "peer_us": peer["waits"],
        "peer_with_timeout_and_semaphore_us": full["waits"],
        "at_once": {
            "plimsoll_us": ours["at_once"],
            "peer_us": peer["at_once"],
            "peer_with_timeout_and_semaphore_us": full["at_once"],
        },
        "pipeline_us": none,
        "alone_us": us,
        "share_us": {
            name: {function: round(max(0.0, cost - none[function]), 1) for function, cost in one.items()}
            for name, one in us.items()
        },
        "peer": list(STAMINA),
    }


def main() -> int:
    options = parser(__doc__ or "")
    add_cache(options)
    args = options.parse_args()
    result = measure(args.cache, quick=args.quick)
    at_once = result["at_once"]
    rows = [
        ("a call through", "that waits, µs", "that answers at once, µs"),
        ("retry, hedge, breaker, bulkhead, timeout, check", f"{result['plimsoll_us']}", f"{at_once['plimsoll_us']}"),
        *(
            (f"  {name} alone", f"{one['waits']}", f"{one['at_once']}")
            for name, one in [("no policy", result["pipeline_us"]), *result["alone_us"].items()]
        ),
        ("stamina, purgatory", f"{result['peer_us']}", f"{at_once['peer_us']}"),
        (
            "  and asyncio's timeout and semaphore",
            f"{result['peer_with_timeout_and_semaphore_us']}",
            f"{at_once['peer_with_timeout_and_semaphore_us']}",
        ),
    ]
    table("CPU of a healthy call, on top of the function's own", rows)
    finish("policies", args, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
