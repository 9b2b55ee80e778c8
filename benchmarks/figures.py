"""Writes the figures of the documentation from the saved results, so that none was typed by hand.

Each stands in a place of its own in a page, and everything between its marks is written anew:

    <!-- parked -->
    …
    <!-- end -->

python -m benchmarks.figures
"""

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS

__all__ = ["filled", "pages"]

_HERE = Path(__file__).parent.parent
_WIDTH = 120
_UNIT = re.compile(r"(?<=\d) (?=[µm]s\b|%|minutes\b)")
_PLACE = re.compile(r"(<!-- ([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Result = dict[str, Any]


def _table(rows: Sequence[Sequence[str]], *, align: str = "--:") -> str:
    """A Markdown table; the first row is the heading, the first column its names. `align` is for the other columns."""
    heading, *others = rows
    rule = ["---", *(align for _ in heading[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, rule, *others])


def _measured(*results: Result) -> str:
    machines = ((each["date"], each["machine"]) for each in results)
    said = (
        f"Measured on {date}: {machine['cores']} cores ({machine['cpu']}), Python {machine['python']}."
        for date, machine in machines
    )
    return " ".join(dict.fromkeys(said))


def _text(words: str) -> str:
    """A paragraph, in lines as the pages have them; no number is parted from its unit."""
    kept = _UNIT.sub("\N{NO-BREAK SPACE}", words)
    return textwrap.fill(kept, _WIDTH, break_long_words=False, break_on_hyphens=False).replace(
        "\N{NO-BREAK SPACE}", " "
    )


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


def _overview(retail: Result, gate: Result, journal: Result, parked: Result) -> str:
    """The table of the README."""
    heading = ("What", "Figure", "Beside it", "Script")
    many, few = (f"{parked[f'rss_mb{which}']:.0f} MB, {parked[f'wake_ms{which}']:.1f} ms" for which in ("", "_few"))
    rows = [
        (
            f"Effects lost and doubled on real shop data: {retail['tasks']} tasks, {retail['trials']:,} trials with a"
            " crash at every event, after every call, or a lost answer after every write",
            f"{retail['lost']} lost, {retail['doubled']} doubled",
            f"the loop people write first: {retail['naive_lost']} lost, {retail['naive_doubled']} doubled",
            "`benchmarks/retail.py`",
        ),
        (
            "The same without any `verify`",
            f"{retail['doubled_without_verify']} doubled, {retail['parked_without_verify']} runs parked for a person",
            "",
            "",
        ),
        (
            "Trials of the gate, per second and core: an agent of 10 calls, no framework",
            f"{gate['framework_free_trials_per_s']:,}",
            "",
            "`benchmarks/gate.py`",
        ),
        (
            "… the assistant with Pydantic AI, where nobody is asked",
            f"{gate['pydantic_ai_trials_per_s']}",
            f"Pydantic AI alone: {gate['pydantic_ai_alone_runs_per_s']} runs",
            "",
        ),
        ("Plimsoll's own share of such a trial's CPU", f"{100 * gate['own_share']:.0f} %", "", ""),
        (
            "Durable steps per second at 100 concurrent runs, the journal with its barriers",
            f"{journal['steps_per_s']['100']:,.0f}",
            "a plain group commit of the same rows that encodes and chains nothing:"
            f" {journal['raw_steps_per_s']['100']:,.0f}",
            "`benchmarks/journal.py`",
        ),
        (
            "… through the whole harness, with tools and models that answer at once",
            f"{journal['end_to_end_steps_per_s']['100']:,.0f}",
            "",
            "",
        ),
        (
            f"A process over {parked['parked']:,} parked runs: memory, and to wake one",
            many,
            f"over 10: {few}",
            "`benchmarks/parked.py`",
        ),
    ]
    return f"{_table([heading, *rows], align='---')}\n\n{_measured(retail, gate, journal, parked)}"


def _replay(result: Result) -> str:
    by_calls, by_runs = (result[f"resume_ms_by_{which}"] for which in ("calls", "runs_of_the_chain"))
    longest = max(by_runs, key=int)
    return _text(
        f"In time it is about {result['us_per_call']:.0f} µs for each recorded call, from a SQLite file"
        f" (`benchmarks/replay.py`): {by_calls['10']:.0f} ms after 10 calls, {by_calls['1000']:.0f} ms after 1,000; and"
        f" {by_runs[longest]:.0f} ms to go on with a chain of {int(longest):,} runs with 10 calls in the latest."
        f" {_measured(result)}"
    )


def _compression(costs: Result) -> str:
    cost = costs["compression"]
    left = f"{100 * cost['left']:.0f} %"
    return _text(
        f"Compressing an event of {cost['bytes']:,} bytes takes {cost['us']:.0f} µs and leaves {left} of a model's"
        f" answer (`benchmarks/costs.py`). {_measured(costs)}"
    )


def _encryption(costs: Result) -> str:
    read, answer = (costs["encryption"][which] for which in ("read", "answer"))
    return _text(
        f"**What it costs.** {read['seal_us']:.0f} µs more to write an event of {read['bytes']:,} bytes, and"
        f" {answer['seal_us']:.0f} µs for one of {answer['bytes']:,}; to read them, {read['open_us']:.0f} µs and"
        f" {answer['open_us']:.0f} µs (`benchmarks/costs.py`). {_measured(costs)}"
    )


def _checkpoint(costs: Result) -> str:
    cost = costs["checkpoint"]
    return _text(
        f"**What it costs.** A checkpoint over {cost['events']:,} events of {cost['runs']} runs takes"
        f" {cost['ms']:.1f} ms in the writer's thread (`benchmarks/costs.py`), and one row for each run that went on."
        f" The audit reads everything once. {_measured(costs)}"
    )


def _streaming(costs: Result) -> str:
    return _text(
        f"About {costs['streaming']['us_per_part']:.0f} µs of CPU for a part (`benchmarks/costs.py`), beside what the"
        " model's own client takes, and a task for as long as the stream lasts; an answer's record in the journal is"
        f" the same as that of one that did not stream. {_measured(costs)}"
    )


def _telemetry(result: Result) -> str:
    names = {
        "off": "without telemetry",
        "noop": "told to an exporter that does nothing",
        "encoded": "told to one that encodes OTLP",
    }
    rows = [
        (name, f"{result[f'{arm}_us']:.0f}", "" if arm == "off" else f"+{result[f'added_{arm}_us']:.0f}")
        for arm, name in names.items()
    ]
    said = (
        f"CPU of the whole process, the SDK's threads included, for a call of a run of {result['calls_per_run']} calls"
        f" whose models and tools answer at once, over a journal in memory; medians of {result['repetitions']}"
        f" repetitions (`benchmarks/telemetry.py`). {_measured(result)}"
    )
    return f"{_table([('', 'CPU µs a call', 'more'), *rows])}\n\n{_text(said)}"


def _adapter(gate: Result) -> str:
    trial, alone = (1e3 / gate[key] for key in ("pydantic_ai_trials_per_s", "pydantic_ai_alone_runs_per_s"))
    return _text(
        f"A run of the assistant takes {trial:.0f} ms of CPU in the gate, with a journal in memory, virtual time and"
        f" the oracles' judgement; the same conversation by Pydantic AI alone takes {alone:.0f} ms"
        f" (`benchmarks/gate.py`). {_measured(gate)}"
    )


def _mutation(result: Result) -> str:
    heading = ("Module", "Caught", "Score", "What survives")
    rows = [
        (f"`{path.removeprefix('src/plimsoll/')}`", *_caught(each), _numbers(path, each["survivors"]))
        for path, each in result["modules"].items()
    ]
    said = (
        f"{result['minutes']:.0f} minutes with {result['workers']} worker. What was changed in each survivor stands in"
        f" `benchmarks/results/mutation.json`. {_measured(result)}"
    )
    return f"{_table([heading, *rows, ('**all**', *_caught(result), '')], align='---')}\n\n{_text(said)}"


def _caught(score: Result) -> tuple[str, str]:
    return f"{score['caught']} of {score['of']}", f"{score['score']:.1f} %"


def _numbers(path: str, survivors: Sequence[str]) -> str:
    """The survivors of a module, by function: the numbers of its mutants."""
    prefix = ".".join(Path(path).with_suffix("").parts[1:]) + "."
    by_function: dict[str, list[str]] = {}
    for name in survivors:
        function, _, number = name.removeprefix(prefix).partition("#")
        by_function.setdefault(function, []).append(number)
    return "; ".join(f"`{function}` {', '.join(numbers)}" for function, numbers in by_function.items())


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
        return _text(
            f"{_us(waits)} of CPU for a healthy call that waits, {_us(at_once)} for one that answers at once; the"
            f" pipeline around it takes {_us(result['pipeline_us']['waits'])}. {_measured(result)}"
        )

    return cost


def _us(value: float) -> str:
    return f"{value} µs" if value >= 0.1 else "less than 0.1 µs"


def _tail(result: Result) -> str:
    heading = ("", "p50", "p95", "p99", "p99.9", "extra calls", "failures")
    rows = [
        (
            f"**{name}**" if name == "plimsoll" else name,
            *(f"{arm[key]:,.0f} ms" for key in ("p50_ms", "p95_ms", "p99_ms", "p999_ms")),
            f"{100 * arm['extra_calls_share']:.1f} %",
            str(arm["failures"]),
        )
        for name, arm in result["arms"].items()
    ]
    said = (
        f"{result['calls']:,} questions. Plimsoll's p99 is {100 * result['p99_of_bare']:.0f} % of that without any"
        f" policy, and {100 * result['p99_of_best_peer']:.0f} % of that of {result['best_peer']}, the best peer."
        f" With {', '.join(sorted(set(result['packages'].values())))}. {_measured(result)}"
    )
    return f"{_table([heading, *rows])}\n\n{_text(said)}"


def _false_alarms(result: Result, *, family: str) -> str:
    """What the detectors of one page said of healthy work."""
    heading = ("Detector", "Healthy", "False alarms", "so at most")
    rows = [
        (name, f"{each['seen']:,} {each['unit']}", str(each["alarms"]), _at_most(each))
        for name, each in result["detectors"].items()
        if each["family"] == family
    ]
    said = (
        f"`benchmarks/false_alarms.py`: {result['patterns']:,} runs of a service that works in twelve ways,"
        f" {result['assistant']:,} of the assistant, {result['retail']:,} of real retail tasks;"
        f" {result['months_of_services']} months of services just within their objectives; {result['reviewers']:,}"
        f" people with 500 decisions each. *So at most*: with 95 % confidence, as far as these runs are like yours."
        f" {_measured(result)}"
    )
    return f"{_table([heading, *rows])}\n\n{_text(said)}"


def _at_most(detector: Result) -> str:
    """The upper bound of a rate of which none was seen: 1 - 0.05 ** (1 / n), written as one in so many runs."""
    if detector["alarms"] or detector["unit"] != "runs":
        return ""
    return f"1 in {1.0 / (1.0 - 0.05 ** (1.0 / detector['seen'])):,.0f}"


_WATCHING = {
    "failures": "{failures} of CPU for a healthy call, {a_failure} for an attempt that failed.",
    "loops": "For a call, {loops} of CPU to find loops, {progress} to see whether there is progress, {spending} for"
    " spending.",
    "people": "{reviewers} of CPU for a decision; and, every half a minute, a look at the store for what waits.",
    "service-levels": "{levels} of CPU for a record that becomes durable, where there are levels to hold; {silence} for"
    " each run that runs, every half a minute, to find the silent ones.",
    "silent-failures": "{claims} of CPU for a call, and {an_answer} to hold a run's answer against {phrases} phrases"
    " that it does not say. What the check of an answer costs stands on the page of the [output"
    " check](../policies/output-check.md#cost).",
    "alerts": "{an_alert} of CPU for a finding whose cause has been told already.",
    "limits": "{limits} of CPU for a call of a model, and {day} more where a day is limited and what it may need is in"
    " hand: far below a limit few calls need to ask the store, which is a write to the disk.",
    "ladder": "{ladder} of CPU for a call that the first of four rungs answers: what the others may need is kept for"
    " them.",
}
"""What is said of the cost of each page."""


def _cost_of_watching(result: Result, *, page: str) -> str:
    spent = {name: _us(round(us, 1) if us < 100 else round(us)) for name, us in result["us"].items()}
    said = _WATCHING[page].format(**spent, phrases=result["phrases"])
    return _text(f"{said} By `benchmarks/detectors.py`. {_measured(result)}")


FAMILIES = ("failures", "loops", "people", "service-levels", "silent-failures")
"""The pages of findings, each with its own false alarms."""

_PLACES: dict[str, tuple[Callable[..., str], tuple[str, ...]]] = {
    "journal": (_journal, ("journal",)),
    "journal-2ms": (_journal, ("journal-2ms",)),
    "durable": (_durable, ("durable",)),
    "parked": (_parked, ("parked",)),
    "overview": (_overview, ("retail", "gate", "journal", "parked")),
    "replay": (_replay, ("replay",)),
    "compression": (_compression, ("costs",)),
    "encryption": (_encryption, ("costs",)),
    "checkpoint": (_checkpoint, ("costs",)),
    "streaming": (_streaming, ("costs",)),
    "telemetry": (_telemetry, ("telemetry",)),
    "adapter": (_adapter, ("gate",)),
    "mutation": (_mutation, ("mutation",)),
    "policies": (_policies, ("policies",)),
    "tail": (_tail, ("tail",)),
    **{f"policies.{policy}": (_cost_of(policy), ("policies",)) for policy in _POLICIES},
    **{f"costs.{page}": (partial(_cost_of_watching, page=page), ("detectors",)) for page in _WATCHING},
    **{f"false-alarms-{family}": (partial(_false_alarms, family=family), ("false_alarms",)) for family in FAMILIES},
}
"""What writes each place, and the results that it reads."""


def filled(page: str) -> str:
    """The page, with the figures of the saved results in their places. Where nothing was saved yet, it says so."""

    def fill(place: re.Match[str]) -> str:
        write, names = _PLACES[place[2]]
        saved = [RESULTS / f"{name}.json" for name in names]
        measured = all(file.exists() for file in saved)
        text = write(*(json.loads(file.read_text()) for file in saved)) if measured else "Not measured yet."
        return f"{place[1]}{text}\n{place[3]}"

    return _PLACE.sub(fill, page)


def pages() -> Iterator[Path]:
    """The pages of the documentation that have such places."""
    for page in (_HERE / "README.md", *sorted((_HERE / "docs").rglob("*.md"))):
        if _PLACE.search(page.read_text()):
            yield page


def main() -> int:
    for page in pages():
        page.write_text(filled(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
