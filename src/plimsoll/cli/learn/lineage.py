"""`plimsoll learn lineage`: from a model back to its rows, and to the runs that gave them."""

import json
from typing import Any

import click
import msgspec

from plimsoll.cli.command import Command
from plimsoll.cli.learn.common import json_option, leaf, model_option, opened, registry_option
from plimsoll.cli.printing import console, line
from plimsoll.learning.lineage import Source
from plimsoll.learning.registry.references import Reference

__all__ = ["lineage"]

_MOST_RUNS = 20


@click.command(cls=Command)
@model_option
@registry_option
@json_option
def lineage(model: str, tracking_uri: str | None, as_json: bool) -> None:
    """Says where the rows of a model come from: which file, which journal, which runs.

    MODEL is NAME (its champion), NAME@candidate, or NAME:3. A model whose rows had no
    journal says so. Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll learn lineage intents
      plimsoll learn lineage intents:3 --json | jq '.lineage.sources[].lineage.runs'
    """
    reference = Reference.parse(model)
    tracking = opened(tracking_uri)
    version = leaf("registry.fetching").found(tracking, reference)
    told = leaf("registry.telling").lineage_of(tracking, version)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(told)))
        return
    _print(told)


def _print(told: Any) -> None:
    out = console()
    line(out, (f"{told.name}:{told.version}", "bold"), f"  model {told.digest}")
    line(out, f"  data {told.data_digest or 'of which the model says nothing'}")
    if told.lineage is None:
        line(out, "  Its rows had no file, or what fitted it kept none: no journal is known of them.")
        return
    for source in told.lineage.sources:
        _print_source(source)


def _print_source(source: Source) -> None:
    out = console()
    line(out, f"    {source.file}  {source.digest}")
    made = source.lineage
    if made is None:
        line(out, "      No journal gave these rows.")
        return
    if source.altered:
        line(out, "      Altered after the journal gave it: labels put right, rows left out or added.")
    of = "all agents" if made.agent is None else f"agent {made.agent}"
    line(out, f"      journal {made.name}  {made.journal}")
    line(out, f"      {made.rows:,} rows of {len(made.runs):,} runs of {of}; {made.left_out:,} runs had none to give")
    for run in made.runs[:_MOST_RUNS]:
        line(out, f"        {run}")
    if len(made.runs) > _MOST_RUNS:
        line(out, f"        and {len(made.runs) - _MOST_RUNS:,} more: --json has them all")
