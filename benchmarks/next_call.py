"""How many of an agent's next calls a small model of one's own decides rightly, for customers that it has never seen.

The 115 tasks of tau-bench's retail domain are played by their right sequence of calls, in the assistant's shop and
through the runtime, and the conversations are read from the journal as `plimsoll learn rows --task next-call` does.
Customers are dealt into five folds: a policy is fitted on four, of which it takes some customers for its bounds, and
is judged by every moment of the fifth. A decision is right where tool and all arguments are exactly as they were
played.

Beside it, from the same rows: whatever is most frequent, and whatever was done at the nearest moment (cosine of the
same vectors). A task tells one right sequence of several, and much of what it takes is said only later in a real
conversation: nobody decides all of these rightly.

    python -m benchmarks.next_call --data DIR [--quick] [--json] [--save]
"""

import json
import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import msgspec

from benchmarks.common import finish, parser, table, track
from benchmarks.retail import CONTRACT, image_of, tools_of
from examples.assistant.shop import Shop
from plimsoll.core.canonical import canonical_json
from plimsoll.core.clock import LoopClock, SystemClock
from plimsoll.core.errors import PlimsollError
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.gate.simulator import simulate
from plimsoll.journal.memory import MemoryStore
from plimsoll.learning.conversations import Conversation, Decision, journal_conversations
from plimsoll.learning.journals import ANSWER
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings

PRECISION = 0.9
"""The share of a policy's decisions for each tool that is asked to be right."""
FOLDS = 5
SEEDS = (0,)
QUICK_FOLDS = 1
QUICK_SHARE = 2
"""A quick run takes every second customer."""
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}


@dataclass(frozen=True)
class Served:
    """A customer, and the conversation that the journal has of one of their tasks."""

    customer: str
    conversation: Conversation


def served(image: bytes, task: dict[str, Any]) -> Served:
    """Plays a task through the runtime, and reads its conversation from the journal."""

    async def by_the_book(run: Run, request: str) -> str:
        for action in task["actions"]:
            try:
                await run.call(action["name"], action["arguments"])
            except PlimsollError:
                continue  # a call that the shop refuses is part of the sequence
        return "done"

    async def played() -> Conversation:
        store = MemoryStore()
        with Shop.from_image(image) as shop:
            surroundings = Surroundings(
                store=store, owner="o", clock=LoopClock(), rng=seeded_rng(0), ids=SequentialIds(), sinks=()
            )
            harness = Harness(CONTRACT, agent=by_the_book, surroundings=surroundings, tools=tools_of(shop))
            await harness.run(task["instruction"], run_id=task["id"])
        (conversation,) = (await journal_conversations(store)).rows
        return conversation

    conversation = msgspec.structs.replace(simulate(played), group=task["user_id"])
    return Served(task["user_id"], conversation)


def dealt(customers: Sequence[str], seed: int) -> dict[str, int]:
    """The fold of each customer."""
    rng = seeded_rng(f"next call {seed}")
    drawn = sorted(dict.fromkeys(customers), key=lambda customer: rng.random())
    return {customer: number % FOLDS for number, customer in enumerate(drawn)}


def next_of(decision: Decision) -> tuple[str, bytes]:
    """What was done: the tool, and its arguments as canonical JSON."""
    made = decision.next
    return (ANSWER, b"{}") if made is None else (made.tool, canonical_json(made.arguments))


def most_frequent(train: Sequence[Decision], test: Sequence[Decision]) -> dict[str, float]:
    """Always the commonest tool; and always the commonest call with its arguments."""
    done = [next_of(decision) for decision in train]
    tool, whole = Counter(each for each, _ in done).most_common(1)[0][0], Counter(done).most_common(1)[0][0]
    return shares([(next_of(each)[0] == tool, next_of(each) == whole) for each in test])


def nearest(mind: Any, train: Sequence[Decision], test: Sequence[Decision]) -> dict[str, float]:
    """What was done at the moment whose vectors are nearest."""
    import numpy as np

    def vectors(decisions: Sequence[Decision]) -> Any:
        return np.stack([mind.situation(each.request, each.before) for each in decisions])

    at = (vectors(test) @ vectors(train).T).argmax(1)  # each half has length 1: the cosine, doubled
    pairs = [(next_of(train[number]), next_of(decision)) for number, decision in zip(at, test, strict=True)]
    return shares([(found[0] == right[0], found == right) for found, right in pairs])


def shares(rights: Sequence[tuple[bool, bool]]) -> dict[str, float]:
    return {
        "tool": sum(tool for tool, _ in rights) / len(rights),
        "whole": sum(whole for _, whole in rights) / len(rights),
    }


def fold_of(rows: Sequence[Served], fold: int, seed: int, work: Path) -> dict[str, dict[str, Any]]:
    """One fold: fitted on the customers of the others, judged by its own."""
    from plimsoll.learning.encoder import default_weights
    from plimsoll.learning.policy.fitting import fit_policy, is_right, judged
    from plimsoll.learning.policy.options import PolicyOptions

    folds = dealt([row.customer for row in rows], seed)
    known = [row.conversation for row in rows if folds[row.customer] != fold]
    strange = [row.conversation for row in rows if folds[row.customer] == fold]
    began = perf_counter()
    out, options = work / f"{seed}-{fold}", PolicyOptions(seed=seed, precision=PRECISION)
    policy = fit_policy(known, encoder=default_weights(), out=out, options=options, clock=SystemClock())
    fit_s = perf_counter() - began
    train = [decision for each in known for decision in each.decisions]
    test = [decision for each in strange for decision in each.decisions]
    began = perf_counter()
    choices = [policy.mind.choice(each.request, each.before) for each in test]
    decision_ms = 1e3 * (perf_counter() - began) / len(test)
    found = judged(choices, test, {tool: about.bound for tool, about in policy.spec.tools.items()})
    ours = {
        "tool": found.tool / found.decisions,
        "whole": found.whole / found.decisions,
        "answered": found.answered / found.decisions,
        "right": found.right,
        "sure": found.answered,
        "rated": [
            (0.0 if choice.doubt else choice.probability, is_right(choice, decision)[1])
            for choice, decision in zip(choices, test, strict=True)
        ],
        "decisions": found.decisions,
        "fit_s": fit_s,
        "decision_ms": decision_ms,
    }
    return {
        "policy": ours,
        "most frequent": most_frequent(train, test),
        "nearest neighbour": nearest(policy.mind, train, test),
    }


def coverage(rated: Sequence[tuple[float, bool]], precision: float) -> float:
    """The largest share of the decisions, the most probable first, of which this share is right."""
    most, right = 0, 0
    for taken, (_, whole) in enumerate(sorted(rated, reverse=True), 1):
        right += whole
        most = taken if right >= precision * taken else most
    return most / len(rated)


def measure(rows: Sequence[Served], folds: int, seeds: Sequence[int], work: Path) -> dict[str, Any]:
    plan = [(seed, fold) for seed in seeds for fold in range(folds)]
    runs = [fold_of(rows, fold, seed, work) for seed, fold in track(plan, "folds")]
    decided = {
        name: {figure: round(median(run[name][figure] for run in runs), 4) for figure in ("tool", "whole")}
        for name in ("policy", "most frequent", "nearest neighbour")
    }
    ours = [run["policy"] for run in runs]
    sure = sum(run["sure"] for run in ours)
    decided["policy"] |= {
        "wholes": [round(run["whole"], 4) for run in ours],
        "answered": round(sure / sum(run["decisions"] for run in ours), 4),
        "precision": round(sum(run["right"] for run in ours) / sure, 4) if sure else None,
        "coverage_at_95": round(coverage([each for run in ours for each in run["rated"]], 0.95), 4),
        "fit_s": round(median(run["fit_s"] for run in ours), 1),
        "decision_ms": round(median(run["decision_ms"] for run in ours), 1),
    }
    return {
        "decided": decided,
        "asked_precision": PRECISION,
        "tasks": len(rows),
        "customers": len({row.customer for row in rows}),
        "decisions": sum(len(row.conversation.calls) + 1 for row in rows),
        "folds": folds,
        "seeds": list(seeds),
    }


def show(result: dict[str, Any]) -> None:
    lines = [(name, f"{each['tool']:.1%}", f"{each['whole']:.1%}") for name, each in result["decided"].items()]
    table(f"Next calls of strangers, medians over {result['folds']} folds", [("", "tool", "with arguments"), *lines])
    ours = result["decided"]["policy"]
    right = "none of them" if ours["precision"] is None else f"{ours['precision']:.1%}"
    print(f"Sure of {ours['answered']:.1%} of the decisions, where {right} are right. {ours['fit_s']:.0f} s to fit.")


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, help="the folder of retail data; the default is in $PLIMSOLL_REALDATA")
    options.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    args = options.parse_args()
    result = asked(args)
    show(result)
    finish("next_call", args, result)
    return 0


def asked(args: Namespace) -> dict[str, Any]:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)  # before the libraries are imported
    folder = args.data or Path(os.environ.get("PLIMSOLL_REALDATA", ".")) / "retail"
    if not (folder / "tasks.json").exists():
        sys.exit(f"{folder} has no tasks.json: name the folder of retail data with --data")
    image, tasks = image_of(folder), json.loads((folder / "tasks.json").read_text())
    if args.quick:
        chosen = set(sorted({task["user_id"] for task in tasks})[::QUICK_SHARE])
        tasks = [task for task in tasks if task["user_id"] in chosen]
    rows = [served(image, task) for task in track(tasks, "tasks")]
    folds, seeds = (QUICK_FOLDS, SEEDS) if args.quick else (FOLDS, args.seeds)
    with TemporaryDirectory() as scratch:
        return measure(rows, folds, seeds, Path(scratch))


if __name__ == "__main__":
    sys.exit(main())
