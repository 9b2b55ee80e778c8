"""`plimsoll learn`: a small transformer of one's own, fitted, exported, and asked."""

import click

from plimsoll.cli.learn.classify import classify
from plimsoll.cli.learn.fitting import export, fit
from plimsoll.cli.learn.rows import rows

__all__ = ["learn"]


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


for command in (rows, fit, export, classify):
    learn.add_command(command)
