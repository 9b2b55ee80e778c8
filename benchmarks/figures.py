"""Writes the figures of the documentation from the saved results, so that none of them was typed by hand.

python -m benchmarks.figures
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS

__all__ = ["PAGES", "filled"]

_DOCS = Path(__file__).parent.parent / "docs"
PAGES = (_DOCS / "figures.md", *sorted((_DOCS / "policies").glob("*.md")))
_PLACE = re.compile(r"(<!-- ([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

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


def _policies(result: Result) -> str:
    heading = ("CPU µs of a healthy call, on top of the function's own", "that waits", "that answers at once")
    ours, at_once = "plimsoll_us", result["at_once"]
    rows = [
        ("**retry, hedge, circuit breaker, bulkhead, timeout, output check**", result[ours], at_once[ours]),
        ("no policy: the pipeline itself", *_both(result["pipeline_us"])),
        *((f"{_POLICIES[name]} alone", *_both(one)) for name, one in result["alone_us"].items()),
        (" and ".join(f"`{package}`" for package in result["peer"]), result["peer_us"], at_once["peer_us"]),
        (
            "the same, with asyncio's timeout and semaphore",
            result["peer_with_timeout_and_semaphore_us"],
            at_once["peer_with_timeout_and_semaphore_us"],
        ),
    ]
    return f"{_table([heading, *([row[0], *map(str, row[1:])] for row in rows)])}\n\n{_measured(result)}"


_POLICIES = {
    "retry": "retry",
    "hedge": "hedge",
    "circuit_breaker": "circuit breaker",
    "bulkhead": "bulkhead",
    "timeout_s": "timeout",
    "check": "output check",
    "rate_limit": "rate limit",
}


def _both(one: dict[str, float]) -> tuple[float, float]:
    return one["waits"], one["at_once"]


def _cost_of(policy: str) -> Callable[[Result], str]:
    def cost(result: Result) -> str:
        waits, at_once = _both(result["share_us"][policy])
        return (
            f"{_us(waits)} of CPU for a healthy call that waits, {_us(at_once)} for one that answers at once; the"
            f" pipeline around it takes {_us(result['pipeline_us']['waits'])}. {_measured(result)}"
        )

    return cost


def _us(value: float) -> str:
    return f"{value} µs" if value >= 0.1 else "less than 0.1 µs"


_TABLES: dict[str, Callable[[Result], str]] = {
    "journal": _journal,
    "journal-2ms": _journal,
    "durable": _durable,
    "parked": _parked,
    "policies": _policies,
    **{f"policies.{policy}": _cost_of(policy) for policy in _POLICIES},
}
"""By the name of its place: the result's, and after a dot a part of it."""


def filled(page: str) -> str:
    """The page, with the tables of the saved results in their places. Where nothing was saved yet, it says so."""

    def fill(place: re.Match[str]) -> str:
        name = place[2]
        saved = RESULTS / f"{name.partition('.')[0]}.json"
        text = _TABLES[name](json.loads(saved.read_text())) if saved.exists() else "Not measured yet."
        return f"{place[1]}{text}\n{place[3]}"

    return _PLACE.sub(fill, page)


def main() -> int:
    for page in PAGES:
        page.write_text(filled(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
