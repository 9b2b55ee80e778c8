"""Asking a small classifier of one's own: the service's handler, sentence-transformers, transformers and ONNX Runtime.

The same encoder with the same head in every arm, on one thread each, in turns of 20 texts, so that all meet the same
machine; each in a process of its own, as it would be used. Ours is asked through its ASGI application, with JSON in and
out and the network left out. Bare ONNX Runtime runs the very export, with its tokenizer and its head, and nothing
around them. The others have the weights in 32 bits, as they are used. At saturation, 64 clients ask ours, a text each;
the others are given batches of 32.

Memory and start are of a process: ours from its beginning until it listens, with the model loaded and warm,
sentence-transformers until its first answer.

    python -m benchmarks.inference [--data DIR] [--work DIR] [--quick] [--json] [--save]

Texts are those of CLINC150, where its folder is, and some of our own where it is not. The encoder is all-MiniLM-L6-v2,
with a head fitted on ten texts of each intent.
"""

import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.common import finish, parser, table, track
from benchmarks.peers.inference_arms import ARMS, Asked, asking
from benchmarks.transfer import QUIET, clinc, few
from plimsoll.core.clock import SystemClock
from plimsoll.core.rng import seeded_rng
from plimsoll.learning.options import FitOptions, Method
from plimsoll.learning.rows import OUT_OF_SCOPE, Row, Rows

ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
SHOTS, QUICK_LABELS = 10, 15
BLOCK = 20
"""So many texts of each arm in turn."""
PASSES = 3
"""Each text is asked so often."""
OWN = {
    "refund": ("I want my money back", "please refund what I paid", "how do I return this for a refund"),
    "track": ("where is my parcel", "when does my order arrive", "has the package been shipped yet"),
    "cancel": ("please cancel my order", "I do not want it any more, stop the order", "undo what I ordered today"),
    "address": ("I moved, change my address", "send it to my office instead", "the street in my account is wrong"),
    "invoice": ("I need an invoice for taxes", "the bill has a wrong name on it", "send me the receipt once more"),
}


def rows_of(args: Namespace) -> Rows:
    """What the head is fitted on, and asked."""
    folder = args.data or Path(os.environ.get("PLIMSOLL_REALDATA", ".")) / "clinc150"
    if not (folder / "data_full.json").exists():
        return Rows.of([Row(text, label) for label, texts in OWN.items() for text in texts], share=0.34)
    rows = few(clinc(folder, share=10), SHOTS, 0)
    if not args.quick:
        return rows
    some = {OUT_OF_SCOPE, *rows.labels[:: len(rows.labels) // QUICK_LABELS]}
    kept = (tuple(row for row in split if row.label in some) for split in (rows.train, rows.validation, rows.test))
    train, validation, test = kept
    return Rows.of(train, validation=validation, test=test)


def exported(rows: Rows, work: Path) -> tuple[Path, Path]:
    """The model and its export in 8 bits: those that are there, or new ones."""
    from plimsoll.learning.encoder import default_weights
    from plimsoll.learning.export import export
    from plimsoll.learning.transfer import fit

    model, out = work / "model", work / "export"
    if not model.exists():
        options = FitOptions(method=Method.HEAD)
        fit(rows, encoder=default_weights(), out=model, options=options, clock=SystemClock())
    if not out.exists():
        export(model, rows=rows, out=out)
    return model, out


def one_by_one(arms: dict[str, Asked], texts: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of each answer. The arms take turns, a block of texts each, in an order drawn anew for each block:
    who comes after a large model finds the caches full of it.
    """
    taken: dict[str, list[float]] = {name: [] for name in arms}
    order, rng = list(arms), seeded_rng("turns")
    for first in track(range(0, len(texts), BLOCK), "one at a time"):
        order.sort(key=lambda name: rng.random())
        for name in order:
            taken[name] += [1e3 * seconds for seconds in arms[name].answer(texts[first : first + BLOCK])]
    return taken


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """How many times as long one arm takes as another: the median over the blocks, each arm by its median of the same
    texts at about the same time.
    """
    blocks = range(0, len(above), BLOCK)
    return median(median(above[at : at + BLOCK]) / median(below[at : at + BLOCK]) for at in blocks)


def measured(model: Path, export: Path, texts: list[str], rounds: int) -> dict[str, float]:
    with ExitStack() as stack:
        arms = {name: stack.enter_context(asking(name, model, export)) for name in ARMS}
        one_by_one(arms, texts[:BLOCK])  # none of them is cold
        taken = one_by_one(arms, texts * PASSES)
        rates = {name: [arm.rate(texts) for _ in range(rounds)] for name, arm in arms.items()}
    ours = taken["plimsoll"]
    result = {
        "faster_than_sentence_transformers": round(ratio(taken["sentence_transformers"], ours), 2),
        "over_bare_ort": round(ratio(ours, taken["bare_ort"]) - 1, 3),
    }
    for name, each in taken.items():
        for quantile in (50, 99):
            result[f"{name}_p{quantile}_ms"] = round(float(np.percentile(each, quantile)), 3)
        result["texts_per_s" if name == "plimsoll" else f"{name}_texts_per_s"] = round(median(rates[name]), 1)
    return result


STARTED = """
import sys
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
parts = Transformer(sys.argv[1])
sentences = SentenceTransformer(modules=[parts, Pooling(parts.get_embedding_dimension())], device="cpu")
sentences.encode(["where is my parcel"])
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(command: Sequence[str], ready: str) -> Iterator[tuple[int, float]]:
    """A process that has said that it is ready: its id, and how many seconds that took."""
    began = perf_counter()
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, stderr=subprocess.STDOUT, text=True) as started:
        assert started.stdout is not None
        while ready not in (line := started.stdout.readline()):
            assert line, f"{command} has ended"
        yield started.pid, perf_counter() - began
        started.kill()


def rss_mb(pid: int) -> float:
    told = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in told.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def starts(model: Path, export: Path) -> dict[str, float]:
    """Memory and start of a process of ours, which listens when it is ready, and of sentence-transformers."""
    ours = [sys.executable, "-m", "plimsoll", "inference", str(export), "--port", "0"]
    theirs = [sys.executable, "-c", STARTED, str(model / "encoder")]
    result = {}
    for prefix, command, ready in (("", ours, "running on"), ("sentence_transformers_", theirs, "ready")):
        with process(command, ready) as (pid, seconds):
            result |= {f"{prefix}rss_mb": round(rss_mb(pid), 1), f"{prefix}ready_s": round(seconds, 2)}
    return result


def show(result: dict[str, Any]) -> None:
    heading = ("", "p50, ms", "p99, ms", "texts/s at saturation", "memory, MB", "ready after, s")
    lines = [heading]
    for name in ARMS:
        prefix = "" if name == "plimsoll" else f"{name}_"
        figures = [result.get(f"{name}_p50_ms"), result.get(f"{name}_p99_ms")]
        figures += [result.get(f"{prefix}{figure}") for figure in ("texts_per_s", "rss_mb", "ready_s")]
        lines.append((name, *("" if figure is None else f"{figure:,}" for figure in figures)))
    table(f"{result['texts']} texts, {result['labels']} labels", lines)
    faster, over = result["faster_than_sentence_transformers"], result["over_bare_ort"]
    Console().print(
        f"Block by block: {faster} times as fast as sentence-transformers; {over:.1%} over bare ONNX Runtime."
    )


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, help="the folder of CLINC150; the default is in $PLIMSOLL_REALDATA")
    options.add_argument("--work", type=Path, help="where the model is kept; the default is taken away at the end")
    args = options.parse_args()
    for name, value in {**QUIET, **ONE_THREAD}.items():
        os.environ.setdefault(name, value)  # before the libraries are imported
    rows = rows_of(args)
    texts = [row.text for row in (rows.test or rows.train)]
    count = 200 if args.quick else 400
    texts = (texts * (1 + count // len(texts)))[:count]
    with TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        model, export = exported(rows, work)
        started = starts(model, export)
        found = measured(model, export, texts, 1 if args.quick else 3)
    result = {
        **found,
        **started,
        "texts": len(texts),
        "labels": len(rows.labels),
    }
    show(result)
    finish("inference", args, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
