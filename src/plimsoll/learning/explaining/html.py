"""Explanations and reports as one page that needs nothing but itself: no network, no font, no script at all."""

import functools
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from plimsoll.core.printable import printable
from plimsoll.learning.explaining.reading import Read, strength

__all__ = ["explanations_html", "report_html"]


def explanations_html(explained: Sequence[Read], *, model: str) -> str:
    """The explanations as a page. What people wrote is escaped."""
    return _environment().get_template("explanations.html.j2").render(explained=explained, model=model)


def report_html(report: Any, *, model: str, figures: dict[str, str]) -> str:
    """A `ModelReport` as a page, with its `figures` (SVG of ours) by name. What people wrote is escaped."""
    drawn = {name: Markup(svg) for name, svg in figures.items()}
    return _environment().get_template("report.html.j2").render(report=report, model=model, figures=drawn)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("plimsoll.learning.explaining"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    environment.filters.update(
        percent=lambda share: f"{100 * share:.1f} %",
        count=lambda number: f"{number:,}",
        signed=lambda number: f"{number:+.2f}",
    )
    environment.globals["strength"] = strength
    return environment


def _harmless(value: Any) -> Any:
    return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value)
