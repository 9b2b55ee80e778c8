"""What benchmarks share: their options, their progress, and how their results are kept."""

import gc
import json
import os
import platform
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import plimsoll

__all__ = ["cpu_s", "cpu_s_once", "finish", "machine", "median", "parser", "save", "table", "track"]

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results"


def parser(doc: str) -> ArgumentParser:
    """The options that every benchmark has."""
    made = ArgumentParser(description=doc.splitlines()[0])
    made.add_argument("--quick", action="store_true", help="a sample, within a minute")
    made.add_argument("--json", action="store_true", help="the last line printed is one JSON object")
    made.add_argument("--save", action="store_true", help="write the result under benchmarks/results/")
    return made


def machine() -> dict[str, Any]:
    """What was measured on."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "os": platform.system(),
        "python": platform.python_version(),
        "plimsoll": plimsoll.__version__,
    }


def _cpuinfo() -> Iterable[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else ()


def track(items: Sequence[T], text: str) -> Iterable[T]:
    """The items, with a progress bar on standard error where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield from progress.track(items, description=text)


def cpu_s(work: Callable[[], object], *, times: int) -> float:
    """CPU seconds of one `work`: the median over five rounds of `times` each."""
    return median(cpu_s_once(work, times) for _ in range(5))


def cpu_s_once(work: Callable[[], object], times: int) -> float:
    """CPU seconds of one `work`, by one round of `times`."""
    gc.collect()
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times


def table(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    """Prints rows, the first of which is the heading."""
    made = Table(title=title, title_justify="left")
    for index, heading in enumerate(rows[0]):
        made.add_column(heading, justify="left" if index == 0 else "right")
    for row in rows[1:]:
        made.add_row(*row)
    Console().print(made)


def finish(name: str, args: Namespace, result: dict[str, Any]) -> None:
    """Keeps and prints the result as asked."""
    result = {**result, "quick": args.quick}
    if args.save:
        save(name, result)
    if args.json:
        print(json.dumps(_dated(result)))


def save(name: str, result: dict[str, Any]) -> None:
    """Writes the result under `benchmarks/results/`, with date and machine."""
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(_dated(result), indent=2) + "\n")
    print(f"written: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def _dated(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "date": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine()}
