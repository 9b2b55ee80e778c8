"""What durability costs, and what it is worth."""

from benchmarks.figures.layout import Result, measured, table, text

__all__ = ["durable", "journal", "parked", "replay"]


def journal(result: Result) -> str:
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
        f"{table([heading, *rows])}\n\n"
        f"Steps per second, medians of {result['repetitions']} repetitions; × is to raw in the same repetition."
        f" At 100, a step takes {result['cpu_us_per_step']:.0f} µs of CPU in the journal,"
        f" {result['end_to_end_cpu_us_per_step']:.0f} µs end to end, and"
        f" {result['bytes_per_step']:,} bytes on the disk."
        f" The floor, one loop that only encodes, chains and inserts: {result['floor_steps_per_s']:,} steps/s,"
        f" × {result['floor_ratio']:.2f}."
        f" An fsync took {result['fsync_ms']:.2f} ms, 99 % of them {result['fsync_p99_ms']:.2f} ms or less."
        f" {measured(result)}"
    )


def durable(result: Result) -> str:
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
        f"{table([heading, *rows])}\n\n"
        f"{result['effects']} effects each. Plimsoll is {result['times_the_best_equal_peer']} times as fast as"
        f" {result['best_equal_peer']}, the fastest of those that send no effect before what it rests on is on the"
        f" disk, and {result['times_the_fastest_peer']} times as fast as {result['fastest_peer']}, the fastest of all."
        f" With {versions}. {measured(result)}"
    )


def parked(result: Result) -> str:
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
        f"{table([heading, *rows])}\n\n"
        f"Each takes {result['bytes_per_parked_run']:,} bytes on the disk. {measured(result)}"
    )


def replay(result: Result) -> str:
    by_calls, by_runs = (result[f"resume_ms_by_{which}"] for which in ("calls", "runs_of_the_chain"))
    longest = max(by_runs, key=int)
    return text(
        f"In time it is about {result['us_per_call']:.0f} µs for each recorded call, from a SQLite file"
        f" (`benchmarks/replay.py`): {by_calls['10']:.0f} ms after 10 calls, {by_calls['1000']:.0f} ms after 1,000; and"
        f" {by_runs[longest]:.0f} ms to go on with a chain of {int(longest):,} runs with 10 calls in the latest."
        f" {measured(result)}"
    )
