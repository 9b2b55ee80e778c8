"""What the commands of `plimsoll learn` share: options, progress, what is said of a model, heavy imports on demand."""

import importlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from plimsoll.cli.journal_access import JSON_HELP
from plimsoll.cli.printing import console, line, table
from plimsoll.learning.manifest import Manifest
from plimsoll.learning.options import Progress as Told
from plimsoll.learning.registry import resolving
from plimsoll.learning.registry.places import ENVIRONMENT
from plimsoll.learning.rows import Rows

__all__ = [
    "data_option",
    "json_option",
    "leaf",
    "model_option",
    "opened",
    "out_option",
    "registry_option",
    "report",
    "shown",
]

_OFFLINE = "HF_HUB_OFFLINE"

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
model_option = click.argument("model", metavar="MODEL")
registry_option = click.option(
    "--tracking-uri",
    envvar=ENVIRONMENT,
    show_envvar=True,
    metavar="URI",
    help="The registry: an MLflow server, or a database.  [default: sqlite:///.plimsoll/mlflow.db]",
)
json_option = click.option("--json", "as_json", is_flag=True, help=JSON_HELP)


def leaf(name: str) -> Any:
    """The module of `learning` of that name, imported only now: it takes its time, and an extra."""
    # Nothing here asks the network, or prints bars of its own, whatever the libraries would do by themselves.
    os.environ.setdefault(_OFFLINE, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    return importlib.import_module(f"plimsoll.learning.{name}")


def opened(tracking_uri: str | None, *, make: bool = False) -> Any:
    """The registry that a command means. It says that it takes its time: MLflow takes seconds to import."""
    with console(stderr=True).status("opening the registry"):
        return resolving.opened(tracking_uri, make=make)


@contextmanager
def shown() -> Iterator[Callable[[Told], None]]:
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


_WORK = {
    "embed": "texts to vectors",
    "train": "training",
    "point": "arguments of tools",
    "judge": "judging",
    "delete": "deletion test",
    "explain": "explaining",
}


def report(manifest: Manifest, rows: Rows | None, out: Path, *, rows_from: Path | None = None, as_json: bool) -> None:
    """Says what was made in `out`, and how well it does. `rows_from` is the file of a journal's rows."""
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if as_json:
        scores = {"validation": msgspec.to_builtins(manifest.validation), "test": msgspec.to_builtins(manifest.test)}
        wrote = {} if rows_from is None else {"rows_from": str(rows_from)}
        click.echo(json.dumps({"out": str(out), "method": manifest.method, "bytes": size, **wrote, **scores}))
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
