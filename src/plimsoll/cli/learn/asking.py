"""How commands that explain come by a model: of whichever kind the directory is, and what explains its answers."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from plimsoll.cli.learn.common import leaf
from plimsoll.core.errors import Misuse
from plimsoll.learning.manifest import read_manifest

__all__ = ["METHODS", "Explainer", "asked", "check_page", "html_option", "method_option", "write_page"]

Explainer = Callable[..., Any]
"""Takes a text, and `label` where another than the likeliest is meant; gives an `Explanation`."""

GRADIENTS, LEAVE_ONE_OUT = METHODS = ("integrated-gradients", "leave-one-out")

method_option = click.option(
    "--method",
    type=click.Choice(METHODS),
    help="[default: integrated-gradients for a fitted model, leave-one-out for an export]",
)
html_option = click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Writes a page that needs nothing but itself, for you alone to read. One that is there is replaced.",
)


def asked(directory: Path, method: str | None) -> tuple[Any, Explainer]:
    """The model in the directory, as a `Classifier`, and what explains its answers. Raises `Misuse`."""
    exported = read_manifest(directory, kind=None).kind == "export"
    if exported and method == GRADIENTS:
        raise Misuse(
            f"{directory} is an export, and has no gradients: name the fitted model, or --method {LEAVE_ONE_OUT}"
        )
    loader = leaf("classifier").Classifier if exported else leaf("explaining.fitted").FittedClassifier
    classifier = loader.load(directory)
    chosen = method or (LEAVE_ONE_OUT if exported else GRADIENTS)
    module = leaf("leave_one_out" if chosen == LEAVE_ONE_OUT else "explaining.gradients")
    return classifier, partial(module.attributions, classifier)


def write_page(file: Path, page: str) -> None:
    """Writes the page, readable for its owner alone: it holds what people wrote. Raises `Misuse`."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(page)
        scratch.replace(file)
    except OSError as error:
        raise Misuse(f"{file} cannot be written: {error.strerror}") from error
    finally:
        scratch.unlink(missing_ok=True)


def check_page(file: Path | None) -> None:
    """Raises `Misuse` where the page would replace what is none, or could not be written."""
    if file is not None and file.suffix != ".html":
        raise Misuse(f"{file} does not end in .html, and might be something else: name it so")
    if file is not None and not file.parent.is_dir():
        raise Misuse(f"{file} cannot be written: there is no directory {file.parent}")
