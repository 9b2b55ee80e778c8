"""`plimsoll learn register`, `promote`, `rollback`, `models`, `fetch`: which models there are, and which one serves."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from plimsoll.cli.command import Command
from plimsoll.cli.learn.common import json_option, leaf, model_option, opened, registry_option
from plimsoll.cli.printing import console, line, table
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.learning.registry.describing import described
from plimsoll.learning.registry.references import CANDIDATE, CHAMPION, Reference, checked_name

__all__ = ["fetch", "models", "promote", "register", "rollback"]

_DAY_S = 86_400


@click.command(cls=Command, if_interrupted="The candidate is who it was.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The model's name in the registry.")
@registry_option
@json_option
def register(directory: Path, name: str, tracking_uri: str | None, as_json: bool) -> None:
    """Writes the model in DIR as a new version of a name, its candidate.

    Its files, parameters, scores, learning curves and model card become a run of
    MLflow. Where its rows come from goes with it: run ids, never what was said. Exits
    with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll learn register intents-int8 --name intents
      plimsoll learn register intents-int8 --name intents --tracking-uri http://mlflow:5000
    """
    checked_name(name)
    described(directory)  # before the seconds that a new registry takes
    registering = leaf("registry.registering")
    tracking = opened(tracking_uri, make=True)
    with console(stderr=True).status("writing to the registry"):
        number = registering.register(tracking, directory, name=name)
    version = tracking.version(name, number)
    digest = leaf("registry.fetching").digest_of_version(version)
    if as_json:
        click.echo(json.dumps({"name": name, "version": number, "alias": CANDIDATE, "digest": digest}))
        return
    line(console(), f"{name}:{number} is the candidate: model {digest[:12]}, in {tracking.place}.")


@click.command(cls=Command, if_interrupted="Say it again, and it is done; `plimsoll learn models` tells the champion.")
@click.argument("name")
@click.option("--version", "number", type=click.IntRange(1), required=True, help="Which of its versions.")
@click.option(
    "--verdict",
    "report",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The gate's verdict.json.",
)
@click.option(
    "--max-age-days",
    type=click.FloatRange(0, min_open=True),
    default=30,
    show_default=True,
    help="An older verdict has expired.",
)
@registry_option
@json_option
def promote(
    *, name: str, number: int, report: Path, max_age_days: float, tracking_uri: str | None, as_json: bool
) -> None:
    """Makes a version the champion, by a verdict of the gate: SHIP, and of this very model.

    The gate's report names each model of one's own that it tried, by its digest. A
    verdict of another model, or of none, is refused, as is BLOCK, INCONCLUSIVE, one
    that has expired, and one whose figures do not add up to SHIP: the champion stays
    who it was. The verdict is kept with the version. Exits with 0 when it is the
    champion, with 1 when it is refused or on an error.

    \b
    Examples:
      plimsoll gate --out gate-report
      plimsoll learn promote intents --version 3 --verdict gate-report/verdict.json
    """
    checked_name(name)
    try:
        content = report.read_bytes()
    except OSError as error:
        raise Misuse(f"{report} cannot be read: {error.strerror}") from error
    promoting = leaf("registry.promoting")
    tracking = opened(tracking_uri)
    moved = promoting.promote(
        tracking,
        tracking.version(name, number),
        report=content,
        name=str(report),
        now=SystemClock().now(),
        max_age_s=max_age_days * _DAY_S,
    )
    _print_moved(moved, as_json=as_json)


@click.command(cls=Command, if_interrupted="`plimsoll learn models` tells the champion.")
@click.argument("name")
@registry_option
@json_option
def rollback(name: str, tracking_uri: str | None, as_json: bool) -> None:
    """Makes that version the champion which was it before. Said twice, it goes back twice.

    No verdict is asked for: that version has one. Exits with 0 when it is done, with 1
    where there was no champion before, or on an error.

    \b
    Examples:
      plimsoll learn rollback intents
    """
    checked_name(name)
    promoting = leaf("registry.promoting")
    _print_moved(promoting.rollback(opened(tracking_uri), name), as_json=as_json)


def _print_moved(moved: Any, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"name": moved.name, CHAMPION: moved.now, "before": moved.before}))
    elif moved.now == moved.before:
        line(console(), f"{moved.name}:{moved.now} is the champion already; the verdict is kept with it.")
    else:
        before = "there was none" if moved.before is None else f"before, it was version {moved.before}"
        line(console(), f"{moved.name}:{moved.now} is the champion; {before}.")


@click.command(cls=Command)
@click.argument("name", required=False)
@registry_option
@json_option
def models(name: str | None, tracking_uri: str | None, as_json: bool) -> None:
    """Lists the registered models; of NAME, its versions, with aliases, verdicts and scores.

    Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll learn models
      plimsoll learn models intents
    """
    if name is not None:
        checked_name(name)
    telling = leaf("registry.telling")
    tracking = opened(tracking_uri)
    if name is None:
        _print_models(tracking.models(), as_json=as_json)
        return
    told = telling.told_versions(tracking, name)
    if as_json:
        click.echo(json.dumps({"name": name, "versions": [msgspec.to_builtins(each) for each in told]}))
        return
    table(
        console(),
        ("version", "aliases", "verdict", "method", "accuracy", "model", "made"),
        [
            (
                str(each.version),
                ", ".join(each.aliases),
                f"{each.verdict}, {each.verdict_at[:10]}" if each.verdict else "–",
                each.method,
                _accuracy(each.metrics),
                each.digest[:12],
                each.made_at,
            )
            for each in told
        ],
    )


def _print_models(found: Sequence[Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"models": [{"name": each.name, "aliases": each.aliases} for each in found]}))
        return
    rows = [
        (each.name, ", ".join(f"{alias}: version {number}" for alias, number in sorted(each.aliases.items())))
        for each in found
    ]
    table(console(), ("model", "aliases"), rows)


def _accuracy(metrics: dict[str, float]) -> str:
    """The accuracy on the test rows, or on those that chose."""
    known = next((metrics[name] for name in ("test.accuracy", "validation.accuracy") if name in metrics), None)
    return "–" if known is None else f"{known:.2%}"


@click.command(cls=Command, if_interrupted="Nothing is there: say it again.")
@model_option
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The directory to make; it must not be there yet."
)
@registry_option
@json_option
def fetch(model: str, out: Path, tracking_uri: str | None, as_json: bool) -> None:
    """Copies a model out of the registry, what its manifest names verified by its digest.

    MODEL is NAME (its champion), NAME@candidate, or NAME:3. Exits with 0 when it is
    done, with 1 on an error: then there is no such directory.

    \b
    Examples:
      plimsoll learn fetch intents@champion --out models/intents
    """
    reference = Reference.parse(model)
    fetching = leaf("registry.fetching")
    tracking = opened(tracking_uri)
    version = fetching.found(tracking, reference)
    with console(stderr=True).status("fetching"):
        fetching.fetch(tracking, version, out)
    digest = fetching.digest_of_version(version)
    if as_json:
        click.echo(json.dumps({"out": str(out), "name": version.name, "version": version.number, "digest": digest}))
        return
    line(console(), f"{out}: {version.name}:{version.number}, model {digest[:12]}.")
