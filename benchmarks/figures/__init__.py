"""Writes the figures of the documentation from the saved results, so that none was typed by hand.

Each stands in a place of its own in a page, and everything between its marks is written anew:

    <!-- parked -->
    …
    <!-- end -->

python -m benchmarks.figures
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.common import RESULTS
from benchmarks.figures import costs, durability, findings, inference, learning, overview, policies, testing

__all__ = ["filled", "pages"]

_HERE = Path(__file__).parent.parent.parent
_PLACE = re.compile(r"(<!-- ([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PLACES: dict[str, tuple[Callable[..., str], tuple[str, ...]]] = {
    "journal": (durability.journal, ("journal",)),
    "journal-2ms": (durability.journal, ("journal-2ms",)),
    "durable": (durability.durable, ("durable",)),
    "parked": (durability.parked, ("parked",)),
    "overview": (overview.overview, overview.SOURCES),
    "replay": (durability.replay, ("replay",)),
    "compression": (costs.compression, ("costs",)),
    "encryption": (costs.encryption, ("costs",)),
    "checkpoint": (costs.checkpoint, ("costs",)),
    "streaming": (costs.streaming, ("costs",)),
    "telemetry": (costs.telemetry, ("telemetry",)),
    "adapter": (costs.adapter, ("gate",)),
    "mutation": (testing.mutation, ("mutation",)),
    "policies": (policies.policies, ("policies",)),
    "tail": (policies.tail, ("tail",)),
    "explain": (learning.explain, ("explain",)),
    "transfer": (learning.transfer, ("transfer",)),
    "guards": (learning.guards, ("guards",)),
    "transfer.shipped": (learning.shipped, ("transfer",)),
    "next_call": (learning.next_call, ("next_call",)),
    "inference": (inference.inference, ("inference",)),
    "silent": (findings.silent, ("silent",)),
    **{f"policies.{policy}": (policies.cost_of(policy), ("policies",)) for policy in policies.POLICIES},
    **{f"costs.{page}": (partial(findings.cost_of_watching, page=page), ("detectors",)) for page in findings.WATCHING},
    **{
        f"false-alarms-{page}": (partial(findings.false_alarms, page=page), ("false_alarms",))
        for page in findings.PAGES
    },
}
"""What writes each place, and the results that it reads."""


def filled(page: str) -> str:
    """The page, with the figures of the saved results in their places. Where nothing was saved yet, it says so."""

    def fill(place: re.Match[str]) -> str:
        write, names = _PLACES[place[2]]
        saved = [RESULTS / f"{name}.json" for name in names]
        measured = all(file.exists() for file in saved)
        text = write(*(json.loads(file.read_text()) for file in saved)) if measured else "Not measured yet."
        return f"{place[1]}{text}\n{place[3]}"

    return _PLACE.sub(fill, page)


def pages() -> Iterator[Path]:
    """The pages of the documentation that have such places."""
    for page in (_HERE / "README.md", *sorted((_HERE / "docs").rglob("*.md"))):
        if _PLACE.search(page.read_text()):
            yield page
