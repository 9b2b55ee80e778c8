"""The report as one page that needs nothing but itself: no network, no fonts, no script but its own."""

import base64
import functools
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from plimsoll.core.printable import printable
from plimsoll.gate.report import wording
from plimsoll.gate.report.figures import heat_map, reach_parts, storm_axis
from plimsoll.gate.report.stories import Gap, story_of
from plimsoll.gate.verdict import Verdict

__all__ = ["STORIES_SHOWN", "render_html"]

STORIES_SHOWN = 50
"""How many failures the page tells as stories; the rest are counted, and stand in their files."""

_STORIES_OPEN = 3
_MANY_COLUMNS = 7  # from here on, the heat map's column heads stand upright


def _harmless(value: Any) -> Any:
    return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("plimsoll.gate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    environment.filters.update(
        count=wording.count,
        cut=wording.cut,
        percent=wording.percent,
        at_least=wording.percent_at_least,
        seconds=wording.seconds,
        words=wording.words,
    )
    environment.tests["gap"] = lambda row: isinstance(row, Gap)
    return environment


def _asset(name: str) -> Markup:
    """A file of ours that goes into the page as it is."""
    environment = _environment()
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0].strip("\n"))


def _story_claims(verdict: Verdict) -> dict[str, list[int]]:
    """Which stories on the page tell of which broken claim."""
    found: dict[str, list[int]] = {}
    for number, trial in enumerate(verdict.failures[:STORIES_SHOWN], start=1):
        for claim in dict.fromkeys(violation.claim for violation in trial.violations):
            found.setdefault(claim, []).append(number)
    return found


def render_html(verdict: Verdict) -> str:
    """The verdict as one self-contained HTML page.

    Text from agents and tools is escaped, and the page's own policy lets no script run but the one that it comes with.
    """
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    heat = heat_map(verdict)
    template = _environment().get_template("report.html.j2")
    return template.render(
        v=verdict,
        style=_asset("report.css"),
        script=script,
        script_digest=Markup(digest),
        headline=wording.headline(verdict),
        mode=wording.mode_text(verdict),
        accepting=wording.accepting(verdict),
        date=wording.date_text(verdict.made_at),
        heat=heat,
        upright=len(heat.groups) >= _MANY_COLUMNS,
        reach=reach_parts(verdict),
        axis=storm_axis(verdict.storms) if verdict.storms else None,
        stories=[story_of(number, trial) for number, trial in enumerate(verdict.failures[:STORIES_SHOWN], start=1)],
        shown=STORIES_SHOWN,
        open_first=_STORIES_OPEN,
        claim_stories=_story_claims(verdict),
        claims_held=sum(claim.held for claim in verdict.claims),
    )
