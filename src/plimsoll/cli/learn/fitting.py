"""`plimsoll learn fit` and `export`: from rows to a model, and to one that ships."""

from pathlib import Path
from typing import Any

import click

from plimsoll.cli.command import Command
from plimsoll.cli.learn.common import data_option, json_option, leaf, out_option, report, shown
from plimsoll.cli.learn.journals import journal_at, rows_file
from plimsoll.cli.printing import console, line
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.learning.options import FitOptions, Method
from plimsoll.learning.rows import read_rows

__all__ = ["export", "fit"]


@click.command(cls=Command, if_interrupted="What was done is kept: say it again, and it goes on from there.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE|DIR|JOURNAL",
    help="Rows with text and label: .jsonl, .csv, or a directory with train, and maybe validation and test. Or a "
    "journal: its file, its contract, or the directory of that.",
)
@click.option("--agent", help="Of a journal, runs of this agent alone.")
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
    agent: str | None,
    out: Path,
    method: str,
    encoder: Path | None,
    unbalanced: bool,
    finish: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Fits a model on rows of text and label, over a pre-trained encoder.

    Of a journal, the rows are first written to OUT.rows.jsonl, for you alone, as
    `plimsoll learn rows` does: they are what the model is exported by, and go when
    the data of those who wrote them goes.

    What was killed goes on where it was when it is said again. The label
    `out_of_scope` marks texts that none fits: they are only measured. A GPU is used
    where there is one. Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll learn fit --data intents.jsonl --out intents
      plimsoll learn fit --data clinc/ --method full --out clinc-full
      plimsoll learn fit --data journal.db --out router
    """
    options = FitOptions(method=Method(method), balanced=not unbalanced, **chosen)
    rows_from = _rows_of_journal(data, agent, out, as_json=as_json)
    rows = read_rows(rows_from or data, seed=options.seed)
    transfer, encoders = leaf("transfer"), leaf("encoder")
    base = encoder or encoders.default_weights()
    with shown() as listener:
        manifest = transfer.fit(
            rows, encoder=base, out=out, options=options, clock=SystemClock(), listener=listener, finish=finish
        )
    report(manifest, rows, out, rows_from=rows_from, as_json=as_json)


def _rows_of_journal(data: Path, agent: str | None, out: Path, *, as_json: bool) -> Path | None:
    """Where the rows of the journal at `data` stand, and says so. None: it is no journal."""
    named = journal_at(data)
    if named is None:
        if agent is not None:
            raise Misuse(f"--agent is for a journal, and {data} is none: take it away")
        return None
    contract_path, journal = named
    file = rows_file(contract_path, journal, agent=agent, out=out)
    if not as_json:
        now, before = "It holds what people wrote, and goes when their data goes", "The fit goes on from it"
        said = f"{before}: the journal gave it earlier" if file.earlier else now
        line(console(), f"{file.path}: the journal's rows. {said}.")
    return file.path


@click.command(cls=Command)
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
    exporting = leaf("export")
    with shown() as listener:
        manifest = exporting.export(model, rows=exporting.rows_of(model, data), out=out, listener=listener)
    report(manifest, None, out, as_json=as_json)
