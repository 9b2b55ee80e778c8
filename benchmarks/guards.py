"""What a guard costs: CPU ms of one verdict by a real export, for texts of different lengths; and what a run pays for
having its texts judged, without the model.

The export is all-MiniLM-L6-v2 with a head that is fitted here, on a few made-up rows: what it answers is worth nothing,
and what it costs does not depend on that. No text is judged twice.

    python -m benchmarks.guards [--quick] [--json] [--save]
"""

import asyncio
import os
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from benchmarks.common import finish, parser, table
from plimsoll.contract.model import AgentSection, Contract, GuardSection
from plimsoll.core.clock import SystemClock
from plimsoll.core.guards import PhraseGuard
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings

WORDS = ("order", "please", "where", "refund", "the", "address", "blue", "shirt", "when", "arrive", "my", "cancel")
LENGTHS = (12, 200, 2000)
"""Texts of so many words."""
TIMES, QUICK_TIMES = {12: 200, 200: 50, 2000: 9}, {12: 30, 200: 9, 2000: 3}
RUNS, QUICK_RUNS = 2000, 300
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}


def texts(words: int, count: int, *, seed: int) -> list[str]:
    """So many texts of so many words, no two alike."""
    rng = seeded_rng(seed)
    return [
        " ".join([str(number), *(WORDS[int(rng.random() * len(WORDS))] for _ in range(words - 1))])
        for number in range(count)
    ]


def exported(folder: Path) -> Path:
    """An export like those that a contract names."""
    from plimsoll.learning.encoder import default_weights
    from plimsoll.learning.export import export
    from plimsoll.learning.options import FitOptions, Method
    from plimsoll.learning.rows import Row, Rows
    from plimsoll.learning.transfer import fit

    made = [Row(text, label) for label in ("hostile", "harmless") for text in texts(8, 40, seed=len(label))]
    rows = Rows.of(made[::2], validation=made[1::2], test=[], source="made up")
    fit(
        rows,
        encoder=default_weights(),
        out=folder / "fitted",
        options=FitOptions(method=Method.HEAD),
        clock=SystemClock(),
    )
    export(folder / "fitted", rows=rows, out=folder / "int8")
    return folder / "int8"


def verdict_ms(model: Path, *, quick: bool) -> dict[str, float]:
    """CPU ms of one verdict, by the text's length in words: the median."""
    from plimsoll.learning.guards import load_guard

    guard = load_guard(str(model), base=Path())

    def once(text: str) -> float:
        began = process_time()
        guard.judged(text)
        return 1000 * (process_time() - began)

    times = QUICK_TIMES if quick else TIMES
    return {
        str(words): round(median([once(text) for text in texts(words, times[words], seed=words)][1:]), 2)
        for words in LENGTHS
    }


def run_us(*, guarded: bool, runs: int) -> float:
    """CPU µs of a run that does nothing but answer, its input and its output judged or not."""
    section = GuardSection(model="none", on=("input", "output"), label="hostile", above=0.9)
    guards: dict[str, Any] = {"double": PhraseGuard("hostile", "never said")} if guarded else {}
    contract = Contract(agent=AgentSection(name="echo"), guards=dict.fromkeys(guards, section))

    async def echo(run: Run, asked: Any) -> Any:
        return asked

    async def main() -> float:
        outside = Surroundings(store=MemoryStore(), owner="one", ids=SequentialIds(), sinks=())
        async with Harness(contract, agent=echo, surroundings=outside, guards=guards, fingerprint="echo") as harness:
            await harness.run("warm")
            began = process_time()
            for number in range(runs):
                await harness.run(f"hello {number}")
            return 1e6 * (process_time() - began) / runs

    return asyncio.run(main())


def main() -> int:
    args = parser(__doc__ or "").parse_args()
    os.environ.update(QUIET)
    runs = QUICK_RUNS if args.quick else RUNS
    with TemporaryDirectory() as folder:
        model = exported(Path(folder))
        size = sum(file.stat().st_size for file in model.iterdir())
        verdicts = verdict_ms(model, quick=args.quick)
    plain = median(run_us(guarded=False, runs=runs) for _ in range(3))
    judged = median(run_us(guarded=True, runs=runs) for _ in range(3))
    screening_us = round(max(0.0, judged - plain) / 2, 1)
    result = {"model_bytes": size, "verdict_ms": verdicts, "screening_us": screening_us}
    rows = [(f"a verdict on {words} words, ms", f"{ms:g}") for words, ms in verdicts.items()]
    table("CPU of guards", [("", "one thread"), *rows, ("around it, µs", f"{screening_us:g}")])
    finish("guards", args, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
