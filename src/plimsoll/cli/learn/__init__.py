"""`plimsoll learn`: a small transformer of one's own, fitted, exported, registered, and asked."""

import click

from plimsoll.cli.learn.classify import classify
from plimsoll.cli.learn.explain import explain
from plimsoll.cli.learn.fitting import export, fit
from plimsoll.cli.learn.lineage import lineage
from plimsoll.cli.learn.policy import policy
from plimsoll.cli.learn.registry import fetch, models, promote, register, rollback
from plimsoll.cli.learn.report import report
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
      plimsoll learn explain intents-int8 "Where is my order?"
      plimsoll learn report intents-int8 --data intents.jsonl --html report.html
      plimsoll learn register intents-int8 --name intents     # in MLflow
      plimsoll learn promote intents --version 1 --verdict gate-report/verdict.json
      plimsoll learn rollback intents
    """


for command in (
    rows,
    fit,
    export,
    classify,
    explain,
    report,
    policy,
    register,
    models,
    promote,
    rollback,
    fetch,
    lineage,
):
    learn.add_command(command)
