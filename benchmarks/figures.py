"""Writes the tables of docs/figures.md from the saved results, so that no figure there was typed by hand.

python -m benchmarks.figures
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS

__all__ = ["PAGE", "filled"]

PAGE = Path(__file__).parent.parent / "docs" / "figures.md"
_PLACE = re.compile(r"(<!-- ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Result = dict[str, Any]


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the heading, the first column its names."""
    heading, *others = rows
    rule = ["---", *("--:" for _ in heading[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, rule, *others])


def _measured(result: Result) -> str:
    machine = result["machine"]
    return f"Measured on {result['date']}: {machine['cores']} cores ({machine['cpu']}), Python {machine['python']}."


def _journal(result: Result) -> str:
    heading = ("concurrent runs", "raw SQLite", "barriers", "", "every event awaited", "", "end to end", "")
    arms = (("steps_per_s", "ratio"), ("awaited_steps_per_s", "awaited_ratio"))
    rows = [
        (
            f"{int(at):,}",
            f"{raw:,.0f}",
            *(
                text
                for speed, ratio in (*arms, ("end_to_end_steps_per_s", "end_to_end_ratio"))
                for text in (f"{result[speed][at]:,.0f}", f"× {result[ratio][at]:.2f}")
            ),
        )
        for at, raw in result["raw_steps_per_s"].items()
    ]
    return (
        f"{_table([heading, *rows])}\n\n"
        f"Steps per second, medians of {result['repetitions']} repetitions; × is to raw in the same repetition."
        f" At 100, a step takes {result['cpu_us_per_step']:.0f} µs of CPU in the journal,"
        f" {result['end_to_end_cpu_us_per_step']:.0f} µs end to end, and"
        f" {result['bytes_per_step']:,} bytes on the disk."
        f" The floor, one loop that only encodes, chains and inserts: {result['floor_steps_per_s']:,} steps/s,"
        f" × {result['floor_ratio']:.2f}."
        f" An fsync took {result['fsync_ms']:.2f} ms, 99 % of them {result['fsync_p99_ms']:.2f} ms or less."
        f" {_measured(result)}"
    )


def _durable(result: Result) -> str:
    names = {**result["peers"], "plimsoll, no `verify`": result["unverified"], "**plimsoll**": result}
    heading = ("", "steps/s", "CPU µs a step", "bytes a step", "kills", "lost", "doubled", "parked", "promise")
    rows = [
        (
            name,
            *(f"{one[key]:,}" for key in ("steps_per_s", "cpu_us_per_step", "bytes_per_step", "kills")),
            *(str(one[key]) for key in ("lost", "doubled", "parked")),
            one["promise"],
        )
        for name, one in names.items()
    ]
    versions = ", ".join(sorted({package for peer in result["peers"].values() for package in peer["packages"]}))
    return (
        f"{_table([heading, *rows])}\n\n"
        f"{result['effects']} effects each. Plimsoll is {result['times_the_best_equal_peer']} times as fast as"
        f" {result['best_equal_peer']}, the fastest of those that send no effect before what it rests on is on the"
        f" disk, and {result['times_the_fastest_peer']} times as fast as {result['fastest_peer']}, the fastest of all."
        f" With {versions}. {_measured(result)}"
    )


def _parked(result: Result) -> str:
    heading = ("parked runs", "memory of the process", "its peak", "to wake one")
    rows = [
        ("10", f"{result['rss_mb_few']:.0f} MB", "", f"{result['wake_ms_few']:.1f} ms"),
        (
            f"{result['parked']:,}",
            f"{result['rss_mb']:.0f} MB",
            f"{result['rss_mb_peak']:.0f} MB",
            f"{result['wake_ms']:,.1f} ms",
        ),
    ]
    return (
        f"{_table([heading, *rows])}\n\n"
        f"Each takes {result['bytes_per_parked_run']:,} bytes on the disk. {_measured(result)}"
    )


_TABLES: dict[str, Callable[[Result], str]] = {
    "journal": _journal,
    "journal-2ms": _journal,
    "durable": _durable,
    "parked": _parked,
}


def filled(page: str) -> str:
    """The page, with the tables of the saved results in their places. Where nothing was saved yet, it says so."""

    def fill(place: re.Match[str]) -> str:
        name = place[2]
        saved = RESULTS / f"{name}.json"
        text = _TABLES[name](json.loads(saved.read_text())) if saved.exists() else "Not measured yet."
        return f"{place[1]}{text}\n{place[3]}"

    return _PLACE.sub(fill, page)


def main() -> int:
    PAGE.write_text(filled(PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
