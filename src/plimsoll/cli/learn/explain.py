"""`plimsoll learn explain`: which words spoke for an answer."""

import json
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from plimsoll.cli.command import Command
from plimsoll.cli.learn.asking import asked, check_page, html_option, method_option, write_page
from plimsoll.cli.learn.common import json_option, leaf, registry_option, shown
from plimsoll.cli.printing import console, line, table
from plimsoll.learning.options import Progress
from plimsoll.learning.registry import located

__all__ = ["explain"]

_SHOWN = 12
_BAR = "█"
_STYLES = {1: "blue", 2: "blue", 3: "bold blue", 4: "bold white on blue"}
_AGAINST = {1: "red", 2: "red", 3: "bold red", 4: "bold white on red"}


@click.command(cls=Command)
@click.argument("model")
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@click.option("--label", help="The label to explain.  [default: the likeliest]")
@method_option
@html_option
@registry_option
@json_option
def explain(
    *,
    model: str,
    texts: tuple[str, ...],
    label: str | None,
    method: str | None,
    html: Path | None,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Says which words of each TEXT spoke for its label, and which against it.

    MODEL is a fitted model or an export: its directory, or `registry:NAME@champion`.
    A number is what a word adds to the label's log-odds; of a fitted model by
    integrated gradients, of an export by asking again without the word. Exits with 0
    when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll learn explain intents-int8 "Where is my order?"
      plimsoll learn explain intents "Where is my order?" --label refund --html why.html
    """
    check_page(html)
    classifier, explainer = asked(located(model, tracking_uri=tracking_uri), method)
    classifier.classify(texts)  # tells which text is none, if one is, before any is explained
    reading = leaf("explaining.reading")
    explained = []
    with shown() as listener:
        for number, text in enumerate(texts, 1):
            explained.append(reading.read(text, explainer(text, label=label)))
            listener(Progress(what="explain", done=number, total=len(texts)))
    if html is not None:
        write_page(html, leaf("explaining.html").explanations_html(explained, model=Path(model).name))
    if as_json:
        found = [{**msgspec.to_builtins(each.explanation), "unread": each.unread} for each in explained]
        click.echo(json.dumps({"explanations": found}))
        return
    out = console()
    for each in explained:
        _show(out, each, reading.strength)
    if html is not None:
        line(out, f"{html} shows it in colours.")


def _show(out: Console, each: Any, strength: Any) -> None:
    explained = each.explanation
    scope = ", out of scope: rather no label fits" if explained.out_of_scope else ""
    line(out, (explained.label, "bold"), f", {explained.probability:.1%}{scope}")
    line(out, *((piece.text, _style(piece.word, each.strongest, strength)) for piece in each.pieces))
    if each.unread:
        line(out, "not read: the model reads no further than here: ", (each.unread, "dim strike"))
    strongest = each.ranked[:_SHOWN]
    rows = [(f"{word.attribution:+.2f}", _bar(word, each.strongest), word.text) for word in strongest]
    table(out, ("", "", "strongest words"), rows)
    left = f", {len(each.ranked) - _SHOWN} weaker words not shown" if len(each.ranked) > _SHOWN else ""
    off = "" if explained.delta is None else f", the sum is off by {explained.delta:.2g}"
    line(out, (f"log-odds, by {explained.method}{off}{left}", "dim"))


def _style(word: Any, strongest: float, strength: Any) -> str:
    shade = strength(word, strongest) if word is not None else 0
    return (_STYLES if shade > 0 else _AGAINST).get(abs(shade), "")


def _bar(word: Any, strongest: float) -> str:
    return _BAR * round(10 * abs(word.attribution) / strongest) if strongest else ""
