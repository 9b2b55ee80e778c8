"""`plimsoll learn policy`: conversations become a model that decides an agent's next call."""

import json
import tomllib
from pathlib import Path
from typing import Any

import click
import msgspec

from plimsoll.cli.command import Command
from plimsoll.cli.learn.common import json_option, leaf, out_option, shown
from plimsoll.cli.printing import console, line, table
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.learning.conversations import read_conversations

__all__ = ["policy"]


@click.command(cls=Command)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Conversations, as `plimsoll learn rows --task next-call` writes them.",
)
@out_option
@click.option(
    "--encoder",
    type=click.Path(path_type=Path),
    help="The pre-trained encoder's directory.  [default: all-MiniLM-L6-v2, where installed]",
)
@click.option(
    "--precision",
    type=click.FloatRange(0.5, 0.999),
    default=0.9,
    show_default=True,
    help="The share of its decisions for a tool that is to be right; it abstains from others.",
)
@click.option(
    "--templates",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='A .toml file: what is answered after a tool, as `tool = "… {{ result.status }} …"`.',
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--max-tokens", type=click.IntRange(3, 512), default=256, show_default=True, help="Read of a request.")
@json_option
def policy(
    *,
    data: Path,
    out: Path,
    encoder: Path | None,
    templates: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Fits a policy: the next tool and its arguments, from the conversation so far.

    It is written in int8, ready for a `local` rung, and its card says how well it
    decides. Nothing is kept of a fit that was interrupted: say it again. Exits with 0
    when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll learn rows --task next-call --out conversations.jsonl
      plimsoll learn policy --data conversations.jsonl --out assistant-policy
    """
    conversations, source = read_conversations(data)
    written = {} if templates is None else _templates(templates)
    fitting, encoders = leaf("policy.fitting"), leaf("encoder")
    options = leaf("policy.options").PolicyOptions(templates=written, **chosen)
    base = encoder or encoders.default_weights()
    with shown() as listener:
        made = fitting.fit_policy(
            conversations,
            encoder=base,
            out=out,
            options=options,
            clock=SystemClock(),
            listener=listener,
            sources=(source,),
        )
    _report(made, out, as_json=as_json)


def _templates(file: Path) -> dict[str, str]:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misuse(f"{file} cannot be read: {error}") from error
    if wrong := next((name for name, value in found.items() if not isinstance(value, str)), None):
        raise Misuse(f'{file}: {wrong} is no text; a line is `tool = "…"`')
    return found


def _report(made: Any, out: Path, *, as_json: bool) -> None:
    """Says how well the policy decides, by tool."""
    spec = made.spec
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if as_json:
        tools = {
            tool: {"rows": about.rows, "bound": about.bound, "judged": msgspec.to_builtins(about.judged)}
            for tool, about in spec.tools.items()
        }
        told = {"out": str(out), "digest": made.digest, "bytes": size, "tools": tools}
        click.echo(json.dumps({**told, "validation": msgspec.to_builtins(spec.validation)}))
        return
    judged = {**{tool: about.judged for tool, about in spec.tools.items()}, "all": spec.validation}
    rows = [
        (tool, str(each.decisions), *(str(count) for count in (each.tool, each.whole, each.answered, each.right)))
        for tool, each in judged.items()
        if each is not None
    ]
    table(console(), ("next", "moments", "tool right", "with arguments", "decided", "right of those"), rows)
    never = [tool for tool, about in spec.tools.items() if about.bound is None]
    if never:
        line(console(), f"Never decided on, as too few were right among the validation rows: {', '.join(never)}.")
    line(console(), f"{out}: {size / 1e6:.1f} MB. What it is stands in {out / 'README.md'}.")
