"""The judge of false alarms must be able to find one; and there is none in healthy work."""

from benchmarks.false_alarms import DETECTORS, OF_A_RUN, WATCHED, Tally, patterns
from benchmarks.figures import pages
from benchmarks.figures.findings import PAGES
from plimsoll.core.events import Finding


def test_a_finding_is_counted_by_its_detector_and_news_by_none() -> None:
    tally = Tally()
    tally.told(
        [
            Finding(kind="loop", severity="critical", message="", fault="no_progress"),
            Finding(kind="loop", severity="critical", message="", fault="repeat"),
            Finding(kind="silent_failure", severity="warning", message="", fault="stale"),
            Finding(kind="approval_pending", severity="info", message=""),
            Finding(kind="unheard_of", severity="warning", message=""),
        ]
    )
    assert tally.alarms == {"no progress": 1, "loops: the same call, or a cycle": 1, "stale answers": 1}
    assert tally.others == {"unheard_of": 1}


def test_every_detector_is_shown_runs_or_counts_something_else() -> None:
    assert {*OF_A_RUN, *WATCHED} == {name for name, each in DETECTORS.items() if each.unit == "runs"}


def test_every_detector_has_a_page_that_tells_its_false_alarms() -> None:
    assert {each.page for each in DETECTORS.values()} == set(PAGES)
    assert {f"{name}.md" for name in PAGES} <= {page.name for page in pages()}


def test_healthy_work_raises_nothing() -> None:
    tally = Tally()
    assert patterns(tally, runs=40) == 40
    assert tally.alarms == {} and tally.others == {}
    assert tally.seen["no progress"] == tally.seen["silent runs"] == 40
    assert tally.seen["burn rates"] > 500 and tally.seen["rubber-stamping"] > 0
