"""`plimsoll inference`: an exported model behind HTTP."""

import asyncio
import importlib
import logging
from pathlib import Path
from typing import Any

import click

from plimsoll.cli.command import Command
from plimsoll.cli.learn.common import registry_option
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.learning.registry import Reference, RegistrySource, is_reference

__all__ = ["inference"]


@click.command(cls=Command, if_interrupted="The service has ended.")
@click.argument("model", metavar="MODEL")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="The port; 0: any.")
@click.option("--name", help="What clients call the model.  [default: its own name]")
@click.option(
    "--max-batch", type=click.IntRange(1), default=16, show_default=True, help="So many texts are read together."
)
@click.option(
    "--max-wait-ms",
    type=click.FloatRange(0, min_open=True),
    default=20,
    show_default=True,
    help="A batch has no more texts than are read in about that time.",
)
@click.option(
    "--max-queued", type=click.IntRange(1), default=1024, show_default=True, help="Beyond so many texts: status 429."
)
@click.option(
    "--max-texts", type=click.IntRange(1), default=256, show_default=True, help="So many texts in a request, at most."
)
@click.option(
    "--timeout-s",
    type=click.FloatRange(0, min_open=True),
    default=30,
    show_default=True,
    help="So long a request may take; it may ask for less (x-plimsoll-timeout-ms).",
)
@click.option(
    "--poll-s",
    type=click.FloatRange(0, min_open=True),
    default=1,
    show_default=True,
    help="How often to look for another model.",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="A file with the key that clients send as `Authorization: Bearer KEY`.  [default: none is asked for]",
)
@registry_option
def inference(
    model: str,
    *,
    host: str,
    port: int,
    name: str | None,
    max_batch: int,
    max_wait_ms: float,
    max_queued: int,
    max_texts: int,
    timeout_s: float,
    poll_s: float,
    key_file: Path | None,
    tracking_uri: str | None,
) -> None:
    """Answers over HTTP by the model that MODEL names, on one thread.

    POST /v1/classify, /v1/route, /v1/embeddings (as OpenAI's) and /v1/explain.
    MODEL is what `plimsoll learn export` has made, a link to that, a file that
    names it, or `registry:NAME@champion`. When the link, the file or the alias
    names another, the service goes over to that one, without losing a request.

    SIGTERM and ctrl-C end it, after what was asked is answered. Exits with 1 on
    an error.

    \b
    Examples:
      plimsoll inference intents-int8
      ln -sfn intents-2 current && plimsoll inference current --name intents
      plimsoll inference registry:intents@champion
    """
    leaf: Any = importlib.import_module("plimsoll.services.inference")
    options = leaf.InferenceOptions(
        name=name or _name(model),
        max_batch=max_batch,
        max_wait_s=max_wait_ms / 1000,
        max_queued=max_queued,
        max_texts=max_texts,
        timeout_s=timeout_s,
        poll_s=poll_s,
        key=None if key_file is None else _key(key_file),
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # of the registry
    source: Any
    if is_reference(model):
        source = RegistrySource(model, tracking_uri=tracking_uri)
    else:
        source = leaf.DirectorySource(Path(model))
    asyncio.run(leaf.serve(source, options=options, clock=SystemClock(), host=host, port=port))


def _name(model: str) -> str:
    return Reference.parse(model).name if is_reference(model) else Path(model).absolute().name


def _key(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"{file} cannot be read as a file with a key: {error}") from error
