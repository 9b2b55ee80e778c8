"""How the command line prints for people: plain text, no box that folds an id, nothing that a terminal would obey."""

import os
import shlex
import unicodedata
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from plimsoll.core.canonical import canonical_json

__all__ = ["arguments", "clean", "console", "line", "table", "typed"]

_PIPED_COLUMNS = 1000
_LEAST_COLUMNS = 16


def console(*, stderr: bool = False) -> Console:
    """The terminal. In a pipe, rows are not folded, unless COLUMNS says how wide it is."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal and not os.environ.get("COLUMNS"):
        made.width = _PIPED_COLUMNS
    return made


def clean(text: str) -> str:
    """The text with everything that a terminal would obey, or that nobody can see, written out: `\\x1b`, `\\u202e`.

    What an agent asks for is shown to the person who decides on it. It must not be able to paint over itself.
    """
    return "".join(char if char == " " or char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return repr(char)[1:-1] if unicodedata.category(char) != "Cs" else f"\\u{ord(char):04x}"


def typed(text: str) -> str:
    """The text as it stands in a command that is shown to be typed: what a shell would obey is quoted."""
    return shlex.quote(clean(text))


def arguments(args: Any) -> str:
    """A call's arguments as one line of JSON."""
    return clean(canonical_json(args).decode())


def line(out: Console, *parts: str | tuple[str, str]) -> None:
    """Prints one line of text, (text, style) where it has a style. What is too long is the terminal's to wrap."""
    texts = ((clean(part), "") if isinstance(part, str) else (clean(part[0]), part[1]) for part in parts)
    out.print(Text.assemble(*texts), soft_wrap=True)


def table(out: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], *, whole: Sequence[str] = ()) -> None:
    """Prints a table without a box. The columns named in `whole` hold ids, which are never broken: where they leave no
    room, the lines run beyond the terminal's width."""
    shown = [[Text(clean(cell)) for cell in row] for row in rows]
    made = Table(box=None, pad_edge=False, header_style="dim")
    needed = 0
    for number, name in enumerate(columns):
        widest = max(len(name), *(row[number].cell_len for row in shown)) if shown else len(name)
        least = widest if name in whole else min(widest, _LEAST_COLUMNS)
        made.add_column(name, overflow="fold", min_width=least)
        needed += least + 1
    for row in shown:
        made.add_row(*row)
    width, out.width = out.width, max(out.width, needed)
    out.print(made)
    out.width = width
