"""`python -m tools.mutation [--workers N] [--at-least PERCENT] [PATTERN ...]`: mutants, and which of them survive.

A pattern names mutants as they are shown: `plimsoll.journal.keys.*`. Ends with 1 where fewer than PERCENT are caught.
"""

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from mutmut.configuration import config

from tools.mutation.mutants import mutants_of
from tools.mutation.trials import CAUGHT, INVALID, KILLED, Result, Trials

WITHOUT = ("randomly", "cacheprovider", "xdist", "cov")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description=__doc__)
    parser.add_argument("--workers", type=int, default=1, help="how many mutants are tried at a time")
    parser.add_argument("--at-least", type=float, default=0.0, metavar="PERCENT", help="how many must be caught")
    parser.add_argument("patterns", nargs="*", default=["*"], metavar="PATTERN", help="mutants, by their names")
    options = parser.parse_args()

    paths = sorted(path for path in Path("src").rglob("*.py") if config().should_mutate(path))
    mutants = [mutant for path in paths for mutant in mutants_of(path, options.patterns)]
    print(f"{len(mutants)} mutants", flush=True)
    results: list[Result] = []

    def tell(result: Result) -> None:
        results.append(result)
        if result.status != KILLED:
            print(f"{result.status}: {result.mutant.name}\n{result.mutant.difference()}", flush=True)

    trials = Trials(mutants=mutants, paths=paths, workers=options.workers, tell=tell)
    pytest.main(
        [
            "-qq",
            "--no-summary",
            "--capture=sys",
            *(f"-pno:{plugin}" for plugin in WITHOUT),
            "--override-ini=timeout=0",
            *config().pytest_add_cli_args,
            *config().pytest_add_cli_args_test_selection,
        ],
        plugins=[trials],
    )
    if len(results) < len(mutants):
        return 2
    return 0 if report(results) >= options.at_least else 1


def report(results: list[Result]) -> float:
    """Shows the score of each module and of all. Returns the last, in %."""
    by_module: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        if result.status != INVALID:
            by_module[result.mutant.module][result.status] += 1
            by_module["in all"][result.status] += 1
    if not by_module:
        return 100.0
    everything = by_module.pop("in all")
    for name, counts in [*sorted(by_module.items()), ("in all", everything)]:
        caught = sum(counts[status] for status in CAUGHT)
        print(f"{100 * caught / counts.total():6.1f} %  {caught:5} of {counts.total():5}  {name}  {dict(counts)}")
    return 100 * sum(everything[status] for status in CAUGHT) / everything.total()


if __name__ == "__main__":
    sys.exit(main())
