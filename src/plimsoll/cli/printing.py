"""How the command line prints for people: plain text, no box that folds an id, nothing that a terminal would obey."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from plimsoll.core.canonical import canonical_json

__all__ = ["arguments", "clean", "console", "line", "table"]

_PIPED_COLUMNS = 1000


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


def arguments(args: Any) -> str:
    """A call's arguments as one line of JSON."""
    return clean(canonical_json(args).decode())


def line(out: Console, *parts: str | tuple[str, str]) -> None:
    """Prints one line of text, (text, style) where it has a style. What is too long is the terminal's to wrap."""
    texts = ((clean(part), "") if isinstance(part, str) else (clean(part[0]), part[1]) for part in parts)
    out.print(Text.assemble(*texts), soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, whole: Sequence[str] = ()) -> Table:
    """A table without a box. The columns named in `whole` hold ids, which are never broken."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        keeps = name in whole
        made.add_column(name, overflow="ignore" if keeps else "fold", no_wrap=keeps)
    for row in rows:
        made.add_row(*(Text(clean(cell)) for cell in row))
    return made
