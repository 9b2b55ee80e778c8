"""`python -m tools.mutation [--workers N] [--at-least PERCENT] [--save] [PATTERN ...]`: mutants, and which survive.

A pattern names mutants as they are shown: `plimsoll.journal.keys.*`. Ends with 1 where fewer than PERCENT are caught.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mutmut.configuration import config

from benchmarks.common import RESULTS, save
from tools.mutation.mutants import Mutant, mutants_of
from tools.mutation.trials import CAUGHT, INVALID, KILLED, Result, Trials

WITHOUT = ("randomly", "cacheprovider", "xdist", "cov")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description=__doc__)
    parser.add_argument("--workers", type=int, default=1, help="how many mutants are tried at a time")
    parser.add_argument("--at-least", type=float, default=0.0, metavar="PERCENT", help="how many must be caught")
    parser.add_argument("--save", action="store_true", help="write the result under benchmarks/results/")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="mutants, by their names; else all")
    options = parser.parse_args()
    began = time.monotonic()
    paths = sorted(path for path in Path("src").rglob("*.py") if config().should_mutate(path))
    mutants = [mutant for path in paths for mutant in mutants_of(path, options.patterns or ["*"])]
    if options.save and any(0 < tried < len(mutants_of(path, ["*"])) for path, tried in counted(mutants, paths)):
        parser.error("--save keeps the score of whole modules: end each pattern with the module's name and .*")
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
    found = {**summary(results), "workers": options.workers, "minutes": round((time.monotonic() - began) / 60, 1)}
    report(found)
    if options.save:
        save("mutation", beside_the_others(found) if options.patterns else found)
    return 0 if found["score"] >= options.at_least else 1


def counted(mutants: Sequence[Mutant], paths: Sequence[Path]) -> list[tuple[Path, int]]:
    """How many mutants of each module are to be tried."""
    return [(path, sum(mutant.module == str(path) for mutant in mutants)) for path in paths]


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """The score of each module and of all, in %, and what survived, with what was changed."""
    by_module: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result.status != INVALID:
            by_module[result.mutant.module].append(result)
    everything = [result for each in by_module.values() for result in each]
    return {**_score(everything), "modules": {name: _told(each) for name, each in sorted(by_module.items())}}


def beside_the_others(found: dict[str, Any]) -> dict[str, Any]:
    """The saved result, with these modules in place of what it says of them, and with its own minutes."""
    saved = json.loads((RESULTS / "mutation.json").read_text())
    modules = dict(sorted({**saved["modules"], **found["modules"]}.items()))
    caught, of = (sum(each[key] for each in modules.values()) for key in ("caught", "of"))
    return {**saved, "score": round(100 * caught / of, 2), "caught": caught, "of": of, "modules": modules}


def _told(results: Sequence[Result]) -> dict[str, Any]:
    survivors = {each.mutant.name: each.mutant.difference() for each in results if each.status not in CAUGHT}
    return {**_score(results), "survivors": survivors}


def _score(results: Sequence[Result]) -> dict[str, Any]:
    caught = sum(result.status in CAUGHT for result in results)
    return {"score": round(100 * caught / len(results), 2) if results else 100.0, "caught": caught, "of": len(results)}


def report(found: dict[str, Any]) -> None:
    """Shows the score of each module and of all."""
    for name, each in [*found["modules"].items(), ("in all", found)]:
        print(f"{each['score']:6.1f} %  {each['caught']:5} of {each['of']:5}  {name}")
    print(f"{found['minutes']} minutes, {found['workers']} mutant(s) at a time")


if __name__ == "__main__":
    sys.exit(main())
