"""How well a small transformer of one's own tells requests apart, by method and by how many examples there are.

CLINC150: 150 intents of ten domains, 15,000 requests to train on, 3,000 for validation, 4,500 to judge by, and 1,000
of no intent (Larson et al. 2019, https://arxiv.org/abs/1909.02027). Each method is fitted on all of them, on 30 and on
10 of each intent, with three seeds. Epoch, temperature and threshold are from the validation rows, all 3,000 at each
size; no test row was seen by any of them. What does best on the validation rows is exported, as it would ship.

Beside it, the retail journals: the next tool at every moment of the 115 tasks, played as benchmarks/next_call.py plays
them, for customers that were not trained on. There are some 400 rows, long ones, and tools that are rare.

A fit takes from a minute to an hour. What is done stays in --work, and is not done again.

    python -m benchmarks.transfer --data DIR [--work DIR] [--quick] [--json] [--save] [--only METHOD[_SHOTSshot] ...]
"""

import json
import os
import sys
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import msgspec
from rich.console import Console

from benchmarks.common import finish, parser, table
from benchmarks.next_call import FOLDS, dealt, served
from benchmarks.retail import image_of
from plimsoll.core.clock import SystemClock
from plimsoll.core.rng import seeded_rng
from plimsoll.learning.journals import ANSWER
from plimsoll.learning.manifest import Manifest, Scores, read_manifest
from plimsoll.learning.options import FitOptions, Method
from plimsoll.learning.rows import OUT_OF_SCOPE, Row, Rows

SEEDS = (0, 1, 2)
SHOTS = (None, 30, 10)
QUICK = ("head_10shot",)
QUICK_SHARE = 5
"""A quick run judges by every fifth row."""
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
ANCHORS = {
    "frozen MiniLM and logistic regression": {
        "in_scope_accuracy": 0.954,
        "oos_recall": 0.849,
        "auroc": 0.971,
    },
    "BERT, as published": {"in_scope_accuracy": 0.969},
}
FIGURES = ("in_scope_accuracy", "oos_recall", "rejected", "auroc", "ece", "train_s", "trained_parameters")


def clinc(folder: Path, *, share: int = 1) -> Rows:
    """The data set as it was published, or every `share`-th row of what judges."""
    splits = msgspec.json.decode((folder / "data_full.json").read_bytes(), type=dict[str, list[tuple[str, str]]])
    rows = {name: [Row(text, label) for text, label in pairs] for name, pairs in splits.items()}
    outside = {name: [Row(row.text, OUT_OF_SCOPE) for row in rows[f"oos_{name}"]] for name in ("val", "test")}
    return Rows.of(
        rows["train"],
        validation=[*rows["val"][::share], *outside["val"]],
        test=[*rows["test"][::share], *outside["test"][::share]],
        source=str(folder),
    )


def few(rows: Rows, shots: int | None, seed: int) -> Rows:
    """The same with so many training rows of each label, drawn by the seed; None: all."""
    if shots is None:
        return rows
    rng = seeded_rng(f"shots {seed}")
    drawn = sorted(rows.train, key=lambda row: rng.random())
    taken: Counter[str] = Counter()
    chosen = []
    for row in drawn:
        if taken[row.label] < shots:
            taken[row.label] += 1
            chosen.append(row)
    return Rows.of(chosen, validation=rows.validation, test=rows.test)


def retail(folder: Path, seed: int) -> Rows:
    """The next tool at each moment of the tasks; of five folds of customers one is for validation, and one to judge.

    Tools that are called less than twice in the training rows are left out.
    """
    from plimsoll.learning.policy.course import course

    tasks, image = json.loads((folder / "tasks.json").read_bytes()), image_of(folder)
    played = [served(image, task) for task in tasks]
    folds = dealt([each.customer for each in played], seed)
    split: dict[int, list[Row]] = {fold: [] for fold in range(FOLDS)}
    for each in played:
        for decision in each.conversation.decisions:
            tool = ANSWER if decision.next is None else decision.next.tool
            split[folds[each.customer]].append(Row(f"{course(decision.before)}. {decision.request}", tool))
    train = [row for fold in range(FOLDS - 2) for row in split[fold]]
    counts = Counter(row.label for row in train)
    known = {label for label, count in counts.items() if count > 1}

    def kept(rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if row.label in known]

    return Rows.of(kept(train), validation=kept(split[FOLDS - 2]), test=kept(split[FOLDS - 1]), source=str(folder))


def on_retail(folder: Path, seeds: Sequence[int], work: Path) -> dict[str, Any]:
    """What each method makes of the retail journals: accuracy, calibration, time, and how much it trains."""
    found: defaultdict[str, list[Manifest]] = defaultdict(list)
    for seed in seeds:
        rows = retail(folder, seed)
        for method in Method:
            out, options = work / f"retail_{method.value}-{seed}", FitOptions(method=method, seed=seed, max_tokens=128)
            found[method.value].append(fitted_at(out, rows, options))
    return {
        name: {
            "accuracy": round(mean(each.test.accuracy for each in made if each.test is not None), 4),
            "ece": round(mean(each.test.calibration_error for each in made if each.test is not None), 4),
            "train_s": round(mean(each.train_s for each in made), 1),
            "trained_parameters": made[0].trained_parameters,
            "seeds": len(made),
        }
        for name, made in found.items()
    }


def named(method: Method, shots: int | None) -> str:
    return method.value if shots is None else f"{method.value}_{shots}shot"


def wanted(only: Sequence[str]) -> Iterator[tuple[str, Method, int | None]]:
    """The fits to make. Few examples are what `fewshot` is for: on all rows it is left out."""
    for shots in SHOTS:
        for method in Method:
            name = named(method, shots)
            if (name in only) if only else (shots is not None or method is not Method.FEWSHOT):
                yield name, method, shots


def figures(manifest: Manifest, scores: Scores | None) -> dict[str, float]:
    assert scores is not None and scores.oos_recall is not None and scores.auroc is not None
    return {
        "in_scope_accuracy": scores.accuracy,
        "oos_recall": scores.oos_recall,
        "rejected": scores.rejected,
        "auroc": scores.auroc,
        "ece": scores.calibration_error,
        "train_s": manifest.train_s,
        "trained_parameters": manifest.trained_parameters,
    }


def fitted(name: str, method: Method, rows: Rows, seed: int, work: Path) -> Manifest:
    """The model of that name and seed: the one that is there, or a new one."""
    return fitted_at(work / f"{name}-{seed}", rows, FitOptions(method=method, seed=seed))


def fitted_at(out: Path, rows: Rows, options: FitOptions) -> Manifest:
    from plimsoll.learning.encoder import default_weights
    from plimsoll.learning.transfer import fit

    if not out.exists():
        print(out.name, file=sys.stderr, flush=True)
        fit(rows, encoder=default_weights(), out=out, options=options, clock=SystemClock(), listener=_epochs)
    manifest = read_manifest(out, kind="model")
    assert manifest.data_digest == rows.digest, f"{out} is of other rows"
    return manifest


def _epochs(now: Any) -> None:
    if now.epoch is not None and now.accuracy is not None:
        print(f"  epoch {now.epoch}: {now.accuracy:.2%} on the validation rows", file=sys.stderr, flush=True)


def ship(model: Path, rows: Rows, work: Path) -> dict[str, float]:
    """The export of a model, and what it costs to ask it: one text at a time, on one thread."""
    from plimsoll.learning.classifier import Classifier
    from plimsoll.learning.export import export

    out = work / f"{model.name}-int8"
    if not out.exists():
        export(model, rows=rows, out=out)
    manifest = read_manifest(out, kind="export")
    classifier = Classifier.load(out)
    texts = [row.text for row in rows.test[:300]]
    classifier.classify(texts[:20])
    taken = []
    for text in texts:
        began = perf_counter()
        classifier.classify([text])
        taken.append(1e3 * (perf_counter() - began))
    return {
        **figures(manifest, manifest.test),
        "model_bytes": sum(file.stat().st_size for file in out.iterdir() if file.name in manifest.files),
        "p50_ms": round(median(taken), 2),
    }


def measure(rows: Rows, only: Sequence[str], seeds: Sequence[int], work: Path) -> dict[str, Any]:
    found: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    best: tuple[float, Path, Rows] | None = None
    for name, method, shots in wanted(only):
        for seed in seeds:
            chosen = few(rows, shots, seed)
            manifest = fitted(name, method, chosen, seed, work)
            found[name].append(figures(manifest, manifest.test))
            # Chosen by the validation rows, like everything else.
            if best is None or manifest.validation.accuracy > best[0]:
                best = manifest.validation.accuracy, work / f"{name}-{seed}", chosen
    assert best is not None, "nothing to fit"
    return {
        "methods": {
            name: {key: round(mean(each[key] for each in runs), 4) for key in FIGURES}
            | {"accuracies": [round(each["in_scope_accuracy"], 4) for each in runs]}
            for name, runs in found.items()
        },
        "shipped": {key: round(value, 4) for key, value in ship(best[1], best[2], work).items()}
        | {"model": best[1].name},
        "anchors": ANCHORS,
        "seeds": list(seeds),
        "rows": {"train": len(rows.train), "validation": len(rows.validation), "test": len(rows.test)},
    }


def show(result: dict[str, Any]) -> None:
    heading = ("", "in scope", "out-of-scope recall", "rejected in scope", "AUROC", "ECE", "seconds")
    shown = {**result["methods"], f"shipped: {result['shipped']['model']}, int8": result["shipped"]}
    lines = [
        (
            name,
            f"{each['in_scope_accuracy']:.2%}",
            f"{each['oos_recall']:.1%}",
            f"{each['rejected']:.1%}",
            f"{each['auroc']:.3f}",
            f"{each['ece']:.3f}",
            f"{each['train_s']:,.0f}",
        )
        for name, each in shown.items()
    ]
    table(f"CLINC150, means over seeds {', '.join(map(str, result['seeds']))}", [heading, *lines])
    shipped = result["shipped"]
    if retailed := result.get("retail"):
        rows = [
            (name, f"{each['accuracy']:.1%}", f"{each['ece']:.3f}", f"{each['train_s']:,.0f}")
            for name, each in retailed.items()
        ]
        table("The next tool on the retail journals, of strangers", [("", "right", "ECE", "seconds"), *rows])
    Console().print(f"Shipped: {shipped['model_bytes'] / 1e6:.1f} MB, {shipped['p50_ms']} ms a text on one thread.")


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, help="the folder of CLINC150; the default is in $PLIMSOLL_REALDATA")
    options.add_argument("--work", type=Path, help="where fits are kept; the default is a directory that is taken away")
    options.add_argument("--only", nargs="*", default=(), help="these alone, such as head, full_10shot")
    options.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    options.add_argument("--retail-seeds", nargs="*", type=int, default=SEEDS, help="for the retail journals; none: no")
    args = options.parse_args()
    result = asked(args)
    show(result)
    finish("transfer", args, result)
    return 0


def asked(args: Namespace) -> dict[str, Any]:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)  # before the libraries are imported
    folder = args.data or Path(os.environ.get("PLIMSOLL_REALDATA", ".")) / "clinc150"
    if not (folder / "data_full.json").exists():
        sys.exit(f"{folder} has no data_full.json: name the folder of CLINC150 with --data")
    rows = clinc(folder, share=QUICK_SHARE if args.quick else 1)
    only, seeds = (QUICK, SEEDS[:1]) if args.quick else (args.only, args.seeds)
    with TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        result = measure(rows, only, seeds, work)
        shop = folder.parent / "retail"
        if not args.quick and args.retail_seeds and (shop / "tasks.json").exists():
            result["retail"] = on_retail(shop, args.retail_seeds, work)
        return result


if __name__ == "__main__":
    sys.exit(main())
