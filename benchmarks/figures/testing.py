"""How well the tests notice."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures.layout import Result, measured, table, text

__all__ = ["mutation"]


def mutation(result: Result) -> str:
    heading = ("Module", "Caught", "Score", "What survives")
    rows = [
        (f"`{path.removeprefix('src/plimsoll/')}`", *_caught(each), _numbers(path, each["survivors"]))
        for path, each in result["modules"].items()
    ]
    said = (
        f"{result['minutes']:.0f} minutes with {result['workers']} worker. What was changed in each survivor stands in"
        f" `benchmarks/results/mutation.json`. {measured(result)}"
    )
    return f"{table([heading, *rows, ('**all**', *_caught(result), '')], align='---')}\n\n{text(said)}"


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
