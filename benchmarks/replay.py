"""What it costs to go on with a run: by the length of its own journal, and by how long its life has been.

Each measured resume reads, verifies and replays the run's journal from a SQLite file, then parks again.
"""

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import finish, median, parser, table, track
from plimsoll import Contract, Ending, Harness, Run, local
from plimsoll.contract.model import AgentSection, Approval, Limits, Tool
from plimsoll.core.calls import Effect

CONTRACT = Contract(
    agent=AgentSection(name="replayed"),
    limits=Limits(steps=1_000_000, seconds=1e6),
    tools={"look": Tool(effect=Effect.READ), "pay": Tool(effect=Effect.WRITE, approval=Approval(approvers=("ana",)))},
)
ROUNDS = 5


async def look(number: int) -> dict[str, Any]:
    return {"number": number, "text": "an answer of some length, as reads have them " * 3}


async def pay(amount: float) -> float:
    return amount


async def agent(run: Run, request: dict[str, int]) -> Any:
    """Goes on as new `before` times, reads `calls` times, and waits for a person."""
    if request["before"]:
        await run.continue_as_new({**request, "before": request["before"] - 1})
    for number in range(request["calls"]):
        await run.call("look", {"number": number})
    return await run.call("pay", {"amount": 1.0})


async def resume_ms(folder: str, *, calls: int, before: int = 0) -> float:
    """The median time to go on with a run that has so many calls behind it, in a life of so many runs."""
    surroundings = local(CONTRACT, path=Path(folder) / f"{calls}-{before}.db", sinks=())
    harness = Harness(CONTRACT, agent=agent, surroundings=surroundings, tools=[look, pay], fingerprint="v1")
    result = await harness.run({"calls": calls, "before": before}, run_id="r")
    assert result.ending is Ending.PARKED, result
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await harness.resume("r")
        times.append(1000 * (time.perf_counter() - began))
    await harness.close()
    await surroundings.store.close()
    return median(times)


def main() -> None:
    """Measures, prints, and keeps the result as asked."""
    args = parser(__doc__ or "").parse_args()
    lengths = (10, 100, 1000) if args.quick else (10, 100, 1000, 10_000)
    lives = (1, 10, 100) if args.quick else (1, 10, 100, 1000)
    with TemporaryDirectory() as folder:
        by_calls = {n: asyncio.run(resume_ms(folder, calls=n)) for n in track(lengths, "by calls")}
        by_runs = {n: asyncio.run(resume_ms(folder, calls=10, before=n - 1)) for n in track(lives, "by runs")}
    longest = max(lengths)
    result = {
        "resume_ms_by_calls": {str(n): round(ms, 2) for n, ms in by_calls.items()},
        "resume_ms_by_runs_of_the_chain": {str(n): round(ms, 2) for n, ms in by_runs.items()},
        "us_per_call": round(1000 * (by_calls[longest] - by_calls[10]) / (longest - 10), 1),
    }
    if not args.json:
        rows = [("calls in the run's own journal", "resume, ms")]
        table("Going on with a run", rows + [(f"{n:,}", f"{ms:.1f}") for n, ms in by_calls.items()])
        rows = [("runs of its chain, 10 calls in the latest", "resume, ms")]
        table("Going on with a long life", rows + [(f"{n:,}", f"{ms:.1f}") for n, ms in by_runs.items()])
        print(f"{result['us_per_call']} µs for each call that is replayed")
    finish("replay", args, result)


if __name__ == "__main__":
    main()
