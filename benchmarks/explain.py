"""What it costs to say which words spoke for an answer, and whether those are the words that the answer hangs on.

CLINC150 (Larson et al. 2019, https://arxiv.org/abs/1909.02027): both methods explain the same test texts, on one
thread; then the deletion test takes their words away, and as many at random. The model is the one named by --model,
with its export in --export, or else a head that is fitted here, on ten rows of each intent.

    python -m benchmarks.explain --data DIR [--model DIR --export DIR] [--quick] [--json] [--save]
"""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import msgspec

from benchmarks.common import finish, parser, table, track
from benchmarks.transfer import QUIET, clinc, few
from plimsoll.core.clock import SystemClock
from plimsoll.core.rng import seeded_rng
from plimsoll.learning.options import FitOptions
from plimsoll.learning.rows import OUT_OF_SCOPE, Rows

SHOTS = 10
QUICK_LABELS = 15
"""A quick run is of the first intents alone."""
COSTS, TESTED = 50, 100
QUICK_COSTS, QUICK_TESTED = 5, 10


def models(args: Namespace, rows: Rows, work: Path) -> tuple[Path, Path]:
    """The fitted model and its export: those that were named, or new ones."""
    if args.model and args.export:
        return args.model, args.export
    from plimsoll.learning.encoder import default_weights
    from plimsoll.learning.export import export
    from plimsoll.learning.transfer import fit

    model, exported = work / "model", work / "int8"
    fit(rows, encoder=default_weights(), out=model, options=FitOptions(), clock=SystemClock())
    export(model, rows=rows, out=exported)
    return model, exported


def measured(
    classifier: Any, explain: Callable[[str], Any], texts: Sequence[str], tested: Sequence[str]
) -> dict[str, Any]:
    """What an explanation costs, by how much its sum is off, and the deletion test."""
    from plimsoll.learning.explaining.deletion import deletion_test

    explain(texts[0])
    taken, answered, off = [], [], []
    for text in track(texts, "explaining"):
        began = process_time()
        classifier.classify([text])
        between = process_time()
        explained = explain(text)
        taken.append(process_time() - between)
        answered.append(between - began)
        if explained.delta is not None:
            off.append(explained.delta / max(1e-9, abs(sum(word.attribution for word in explained.words))))
    found = deletion_test(classifier, tested, explain=explain, rng=seeded_rng("explain"))
    assert found is not None
    return {
        "cpu_s": round(mean(taken), 4),
        "answers": round(mean(taken) / mean(answered), 1),
        "sum_off": round(median(off), 5) if off else None,
        "holds": found.holds,
        "deletion": msgspec.to_builtins(found),
    }


def measure(args: Namespace, rows: Rows, work: Path) -> dict[str, Any]:
    import torch

    from plimsoll.learning import leave_one_out
    from plimsoll.learning.classifier import Classifier
    from plimsoll.learning.explaining import gradients
    from plimsoll.learning.explaining.fitted import FittedClassifier

    torch.set_num_threads(1)
    model, exported = models(args, rows, work)
    fitted, classifier = FittedClassifier.load(model), Classifier.load(exported)
    rng = seeded_rng("texts")
    texts = sorted((row.text for row in rows.test if row.label != OUT_OF_SCOPE), key=lambda _: rng.random())
    costs, tested = (QUICK_COSTS, QUICK_TESTED) if args.quick else (COSTS, TESTED)
    ways = {
        "integrated_gradients": (fitted, partial(gradients.attributions, fitted)),
        "leave_one_out": (classifier, partial(leave_one_out.attributions, classifier)),
    }
    return {
        "methods": {name: measured(*way, texts[:costs], texts[:tested]) for name, way in ways.items()},
        "texts": costs,
        "words": round(mean(len(classifier.tokens(text).words) for text in texts[:costs]), 1),
        "labels": len(fitted.manifest.labels),
        "fitted_by": fitted.manifest.method,
    }


def show(result: dict[str, Any]) -> None:
    heading = ("", "CPU s", "answers", "sum off by", "1 word", "1 at random", "3 words", "3 at random", "holds")
    lines = []
    for name, each in result["methods"].items():
        curve = {point["words"]: point for point in each["deletion"]["curve"]}
        lost = [f"{curve[words][which]['value']:.3f}" for words in (1, 3) for which in ("top", "random")]
        off = "–" if each["sum_off"] is None else f"{each['sum_off']:.2%}"
        lines.append((name, f"{each['cpu_s']}", f"{each['answers']}", off, *lost, "yes" if each["holds"] else "no"))
    table(f"{result['labels']} labels, {result['words']} words a text", [heading, *lines])


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, help="the folder of CLINC150; the default is in $PLIMSOLL_REALDATA")
    options.add_argument("--model", type=Path, help="a model that was fitted on it, with --export")
    options.add_argument("--export", type=Path, help="the same model in int8")
    args = options.parse_args()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)  # before the libraries are imported
    folder = args.data or Path(os.environ.get("PLIMSOLL_REALDATA", ".")) / "clinc150"
    if not (folder / "data_full.json").exists():
        sys.exit(f"{folder} has no data_full.json: name the folder of CLINC150 with --data")
    rows = few(clinc(folder), SHOTS, 0)
    with TemporaryDirectory() as scratch:
        result = measure(args, fewer(rows) if args.quick and not args.model else rows, Path(scratch))
    show(result)
    finish("explain", args, result)
    return 0


def fewer(rows: Rows) -> Rows:
    """Those of the first intents alone."""
    kept = {*rows.labels[:QUICK_LABELS]}
    train, validation, test = (
        [row for row in split if row.label in kept] for split in (rows.train, rows.validation, rows.test)
    )
    return Rows.of(train, validation=validation, test=test)


if __name__ == "__main__":
    sys.exit(main())
