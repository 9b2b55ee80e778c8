"""How figures are written: tables, paragraphs, and on what they were measured."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

__all__ = ["Result", "measured", "table", "text", "us"]

_WIDTH = 120
_UNIT = re.compile(r"(?<=\d) (?=[µm]s\b|%|minutes\b)")
Result = dict[str, Any]


def table(rows: Sequence[Sequence[str]], *, align: str = "--:") -> str:
    """A Markdown table; the first row is the heading, the first column its names. `align` is for the other columns."""
    heading, *others = rows
    rule = ["---", *(align for _ in heading[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, rule, *others])


def measured(*results: Result) -> str:
    """When, and on what machine."""
    dates: dict[str, set[str]] = {}
    for each in results:
        machine = each["machine"]
        on = f"{machine['cores']} cores ({machine['cpu']}), Python {machine['python']}."
        dates.setdefault(on, set()).add(each["date"])
    return " ".join(f"Measured on {' and '.join(sorted(days))}: {on}" for on, days in dates.items())


def text(words: str) -> str:
    """A paragraph, in lines as the pages have them; no number is parted from its unit."""
    kept = _UNIT.sub("\N{NO-BREAK SPACE}", words)
    return textwrap.fill(kept, _WIDTH, break_long_words=False, break_on_hyphens=False).replace(
        "\N{NO-BREAK SPACE}", " "
    )


def us(value: float) -> str:
    """Microseconds, as far as they can be told apart from none."""
    return f"{value} µs" if value >= 0.1 else "less than 0.1 µs"
