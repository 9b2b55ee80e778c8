"""`plimsoll learn`: a small transformer of one's own, fitted, exported, and asked."""

import importlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from plimsoll.cli.command import Command
from plimsoll.cli.journal_access import JSON_HELP, journal_options, look_store, with_store
from plimsoll.cli.printing import console, line, table
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.learning.journals import journal_rows
from plimsoll.learning.manifest import Manifest
from plimsoll.learning.options import FitOptions, Method
from plimsoll.learning.options import Progress as Told
from plimsoll.learning.rows import Rows, read_rows

__all__ = ["learn"]

_OFFLINE = "HF_HUB_OFFLINE"


@click.group()
def learn() -> None:
    """Fits a small transformer on rows of your own: a router or a guard that needs no provider.

    \b
    Examples:
      plimsoll learn rows --out intents.jsonl        # what runs were asked, and did
      plimsoll learn fit --data intents.jsonl --out intents
      plimsoll learn export intents --data intents.jsonl --out intents-int8
      plimsoll learn classify intents-int8 "Where is my order?"
    """


data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE|DIR",
    help="Rows with text and label: .jsonl, .csv, or a directory with train, and maybe validation and test.",
)
out_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The directory to make; it must not be there yet."
)
json_option = click.option("--json", "as_json", is_flag=True, help=JSON_HELP)


@learn.command(cls=Command, if_interrupted="What was done is kept: say it again, and it goes on from there.")
@data_option
@out_option
@click.option(
    "--method",
    type=click.Choice([method.value for method in Method]),
    default=Method.HEAD.value,
    show_default=True,
    help="What is trained: a head alone, low-rank adapters, all by few examples, or all.",
)
@click.option(
    "--encoder",
    type=click.Path(path_type=Path),
    help="The pre-trained encoder's directory.  [default: all-MiniLM-L6-v2, where installed]",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(1), help="The most.  [default: lora 10, fewshot 5, full 6]")
@click.option(
    "--patience", type=click.IntRange(1), default=3, show_default=True, help="Epochs without gain to the end."
)
@click.option("--learning-rate", type=float, help="[default: lora 5e-4, fewshot 2e-5, full 1e-4]")
@click.option("--batch-size", type=click.IntRange(2), default=32, show_default=True)
@click.option("--max-tokens", type=click.IntRange(3, 512), default=64, show_default=True, help="What is longer is cut.")
@click.option("--unbalanced", is_flag=True, help="Rare labels weigh no more than others.")
@click.option(
    "--rejected",
    type=click.FloatRange(0, 0.5, min_open=True),
    default=0.05,
    show_default=True,
    help="The share of in-scope texts that may be taken for out of scope.",
)
@click.option("--finish", is_flag=True, help="Takes the best epoch so far of a fit that did not end.")
@json_option
def fit(
    *,
    data: Path,
    out: Path,
    method: str,
    encoder: Path | None,
    unbalanced: bool,
    finish: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Fits a model on rows of text and label, over a pre-trained encoder.

    What was killed goes on where it was when it is said again. The label
    `out_of_scope` marks texts that none fits: they are only measured. A GPU is used
    where there is one. Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll learn fit --data intents.jsonl --out intents
      plimsoll learn fit --data clinc/ --method full --out clinc-full
    """
    options = FitOptions(method=Method(method), balanced=not unbalanced, **chosen)
    rows = read_rows(data, seed=options.seed)
    transfer, encoders = _leaf("transfer"), _leaf("encoder")
    base = encoder or encoders.default_weights()
    with _shown() as listener:
        manifest = transfer.fit(
            rows, encoder=base, out=out, options=options, clock=SystemClock(), listener=listener, finish=finish
        )
    _report(manifest, rows, out, as_json=as_json)


@learn.command(cls=Command)
@journal_options
@click.option("--agent", help="Runs of this agent alone.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .jsonl file to make.")
@json_option
def rows(contract_path: Path, journal: Path | None, agent: str | None, out: Path, as_json: bool) -> None:
    """Writes rows from a journal: what each completed run was asked, and its first tool.

    The label of what was answered without a tool is `answer`. The file holds what
    people wrote, readable for you alone: it goes when their data goes. The journal is
    only read. Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll learn rows --out requests.jsonl
      plimsoll learn fit --data requests.jsonl --out router
    """
    if out.suffix != ".jsonl":
        raise Misuse(f"{out} does not end in .jsonl, and would not be read again: name it so")
    found = with_store(look_store(contract_path, journal), lambda store: journal_rows(store, agent=agent))
    if not found.rows:
        raise Misuse("no run has completed with a request that can be read: there are no rows")
    _write_private(out, b"".join(msgspec.json.encode(row) + b"\n" for row in found.rows))
    counts = Counter(row.label for row in found.rows)
    if as_json:
        click.echo(json.dumps({"out": str(out), "rows": counts.total(), "left_out": found.left_out, "labels": counts}))
        return
    table(console(), ("first tool", "rows"), [(label, f"{count:,}") for label, count in counts.most_common()])
    line(console(), f"{out}: {counts.total():,} rows. {found.left_out:,} completed runs had no text to learn from.")


@learn.command(cls=Command)
@click.argument("model", type=click.Path(path_type=Path))
@data_option
@out_option
@json_option
def export(model: Path, data: Path, out: Path, as_json: bool) -> None:
    """Writes MODEL in int8, for ONNX Runtime: a quarter of the bytes, and no PyTorch.

    --data are the rows that it was fitted on: on the int8 vectors, the head is
    fitted anew where that does better on the validation rows, and temperature and
    threshold are found again. Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll learn export intents --data intents.jsonl --out intents-int8
    """
    exporting = _leaf("export")
    with _shown() as listener:
        manifest = exporting.export(model, rows=exporting.rows_of(model, data), out=out, listener=listener)
    _report(manifest, None, out, as_json=as_json)


@learn.command(cls=Command)
@click.argument("exported", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1, required=True)
@json_option
def classify(exported: Path, texts: tuple[str, ...], as_json: bool) -> None:
    """Says what each of TEXTS is, by the model in EXPORTED, on one thread.

    Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll learn classify intents-int8 "Where is my order?"
    """
    answers = _leaf("classifier").Classifier.load(exported).classify(texts)
    if as_json:
        click.echo(json.dumps({"answers": [msgspec.to_builtins(answer) for answer in answers]}))
        return
    rows = [
        (answer.label, f"{answer.probability:.1%}", "out of scope" if answer.out_of_scope else "", text)
        for text, answer in zip(texts, answers, strict=True)
    ]
    table(console(), ("label", "probability", "", "text"), rows)


def _write_private(file: Path, content: bytes) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Misuse(f"{file} is there already: name another file") from None
    except OSError as error:
        raise Misuse(f"{file} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)


def _leaf(name: str) -> Any:
    # Nothing here asks the network, or prints bars of its own, whatever the libraries would do by themselves.
    os.environ.setdefault(_OFFLINE, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    return importlib.import_module(f"plimsoll.learning.{name}")


@contextmanager
def _shown() -> Iterator[Callable[[Told], None]]:
    """A listener that draws how far it is, on standard error, where that is a terminal."""
    out = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, disable=not out.is_terminal, transient=True) as progress:
        tasks = {what: progress.add_task(text, visible=False) for what, text in _WORK.items()}

        def told(now: Told) -> None:
            progress.update(tasks[now.what], total=now.total, completed=now.done, visible=True)
            if now.epoch is not None and now.accuracy is not None:
                line(out, f"epoch {now.epoch}: {now.accuracy:.2%} of the validation rows are right")

        yield told


_WORK = {"embed": "texts to vectors", "train": "training"}


def _report(manifest: Manifest, rows: Rows | None, out: Path, *, as_json: bool) -> None:
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if as_json:
        scores = {"validation": msgspec.to_builtins(manifest.validation), "test": msgspec.to_builtins(manifest.test)}
        click.echo(json.dumps({"out": str(out), "method": manifest.method, "bytes": size, **scores}))
        return
    shown = console()
    if rows is not None and rows.left_out:
        line(shown, f"{rows.left_out} training rows were out of scope, and were left out.")
    splits = [(name, split) for name, split in (("validation", manifest.validation), ("test", manifest.test)) if split]
    table(
        shown,
        ("", "rows", "accuracy", "calibration error", "rejected", "out-of-scope recall"),
        [
            (
                name,
                f"{split.rows:,}",
                f"{split.accuracy:.2%}",
                f"{split.calibration_error:.3f}",
                f"{split.rejected:.1%}",
                "–" if split.oos_recall is None else f"{split.oos_recall:.1%}",
            )
            for name, split in splits
        ],
    )
    line(shown, f"{out}: {size / 1e6:.1f} MB, {len(manifest.labels)} labels. What it is stands in {out / 'README.md'}.")
