"""`plimsoll learn report`: how far to rely on a model."""

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from plimsoll.cli.command import Command
from plimsoll.cli.learn.asking import asked, check_page, html_option, method_option, write_page
from plimsoll.cli.learn.common import data_option, json_option, leaf, registry_option, shown
from plimsoll.cli.printing import console, line, table
from plimsoll.learning.lineage import read_lineage
from plimsoll.learning.registry import located

__all__ = ["report"]

_SHOWN = 5


@click.command(cls=Command)
@click.argument("model")
@data_option
@click.option(
    "--slice", "columns", multiple=True, metavar="COLUMN", help="A column of the rows to slice by; repeatable."
)
@click.option(
    "--words", "patterns", multiple=True, metavar="REGEX", help="Rows with it beside those without; repeatable."
)
@click.option(
    "--texts",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="How many texts the deletion test takes; 0: none is made.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@method_option
@html_option
@registry_option
@json_option
def report(
    *,
    model: str,
    data: Path,
    columns: tuple[str, ...],
    texts: int,
    method: str | None,
    html: Path | None,
    tracking_uri: str | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Says how far to rely on MODEL, by rows that it was not fitted on.

    Of a directory, its test rows judge, or else those for validation; of the file that
    it was fitted on, those kept for validation; of another file, all. Whether it is as
    sure as it is right, what it confuses, for whom it does worse, and whether answers
    hang on the words that explanations name. Exits with 0 when it is done, with 1 on
    an error.

    \b
    Examples:
      plimsoll learn report intents-int8 --data requests/ --html report.html
      plimsoll learn report intents --data june.csv --slice country --words "refund|money"
    """
    check_page(html)
    directory = located(model, tracking_uri=tracking_uri)
    classifier, explainer = asked(directory, method)
    reports, manifest = leaf("explaining.report"), classifier.manifest
    lineage = read_lineage(directory, data_digest=manifest.data_digest)
    judging = reports.judging_rows(manifest, data, columns=columns, lineage=lineage)
    with shown() as listener:
        made = reports.model_report(
            classifier, judging, explain=explainer if texts else None, texts=texts, listener=listener, **chosen
        )
    if html is not None:
        plots = leaf("explaining.plots")
        figures = {"reliability": plots.reliability_svg(made.reliability)}
        if made.deletion is not None:
            figures["deletion"] = plots.deletion_svg(made.deletion.curve)
        write_page(html, leaf("explaining.html").report_html(made, model=Path(model).name, figures=figures))
    if as_json:
        click.echo(msgspec.json.encode(made).decode())
        return
    _show(console(), made, html)


def _show(out: Console, made: Any, html: Path | None) -> None:
    scores = made.scores
    outside = "" if scores.oos_recall is None else f", and {scores.oos_recall:.1%} of {scores.oos_rows:,} out of scope"
    line(out, f"Judged by {scores.rows + scores.oos_rows:,} rows: {made.rows_from}.")
    line(
        out,
        f"{scores.accuracy:.2%} of {scores.rows:,} in scope are right, calibration error "
        f"{scores.calibration_error:.3f}; rejected {scores.rejected:.1%}{outside}.",
    )
    if (deletion := made.deletion) is not None:
        said = "hold" if deletion.holds else "are not shown to hold"
        difference = deletion.difference
        line(
            out,
            f"Explanations {said}: without the words that they name, an answer loses {difference.value:.3f} more of "
            f"its probability than without random ones ({difference.low:.3f} to {difference.high:.3f}, "
            f"{deletion.texts:,} texts, {deletion.method}).",
        )
    if made.confusions:
        pairs = made.confusions[:_SHOWN]
        table(out, ("label", "answered", "rows"), [(each.label, each.answered, f"{each.rows:,}") for each in pairs])
    rows = [
        (each.by, each.value, f"{each.rows:,}", _share(each, "accuracy"), _share(each, "rejected"))
        for each in made.slices
    ]
    table(out, ("slice by", "rows that have", "rows", "right", "rejected"), rows)
    if any(each.marked for each in made.slices):
        line(out, "*: differs from all other rows' beyond chance, with so many slices looked at.")
    if html is not None:
        line(out, f"{html} shows all of it.")


def _share(each: Any, name: str) -> str:
    share = getattr(each, name)
    mark = " *" if name in each.marked else ""
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%}){mark}"
