"""`plimsoll learn classify`: asks an exported model."""

import json

import click
import msgspec

from plimsoll.cli.command import Command
from plimsoll.cli.learn.common import json_option, leaf, registry_option
from plimsoll.cli.printing import console, table
from plimsoll.learning.registry import located

__all__ = ["classify"]


@click.command(cls=Command)
@click.argument("exported", metavar="EXPORTED")
@click.argument("texts", nargs=-1, required=True)
@registry_option
@json_option
def classify(exported: str, texts: tuple[str, ...], tracking_uri: str | None, as_json: bool) -> None:
    """Says what each of TEXTS is, by the model in EXPORTED, on one thread.

    EXPORTED is a directory, or `registry:NAME@champion`. Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll learn classify intents-int8 "Where is my order?"
      plimsoll learn classify registry:intents@champion "Where is my order?"
    """
    directory = located(exported, tracking_uri=tracking_uri)
    answers = leaf("classifier").Classifier.load(directory).classify(texts)
    if as_json:
        click.echo(json.dumps({"answers": [msgspec.to_builtins(answer) for answer in answers]}))
        return
    rows = [
        (answer.label, f"{answer.probability:.1%}", "out of scope" if answer.out_of_scope else "", text)
        for text, answer in zip(texts, answers, strict=True)
    ]
    table(console(), ("label", "probability", "", "text"), rows)
