"""What the reports draw and how they word it."""

import pytest

from plimsoll.gate.report.figures import heat_map, reach_parts, storm_axis
from plimsoll.gate.report.stories import Gap, Row, TimeScale, output_text, story_of
from plimsoll.gate.report.wording import (
    date_text,
    failure_name,
    failure_title,
    injected_text,
    mode_text,
    one_line,
    percent,
    percent_at_least,
    seconds,
)
from plimsoll.gate.verdict import Cell, Injection, Reach, Step, StormFigures, Trial
from tests.gate.report.sample import block, make_verdict, ship, waited_a_day


def trial(**changes: object) -> Trial:
    values = {"scenario": "s", "injections": (), "seed": 1, "fired": True, "ending": None, "reach": Reach.FAILED}
    return Trial(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (0.0004, "0.4 ms"),
        (0.25, "250 ms"),
        (1.5, "1.5 s"),
        (59.994, "59.99 s"),
        (60, "1 min"),
        (101.0, "1 min 41 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (100_000, "1 d 3 h"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


def test_nearly_all_is_not_all_and_a_bound_is_rounded_down() -> None:
    assert [percent(share) for share in (0, 0.00001, 0.5, 0.99999, 1)] == ["0 %", "0.1 %", "50 %", "99.9 %", "100 %"]
    assert [percent_at_least(bound) for bound in (0.97, 0.969999, 0.29, 0, 1)] == [
        "97 %",
        "96.99 %",
        "29 %",
        "0 %",
        "100 %",
    ]


def test_a_text_on_one_line_is_cut_at_its_limit() -> None:
    assert one_line("a \n\n b\tc" + "d" * 50, limit=12) == "a b cdddddd…"


def test_dates_that_are_none_stand_as_they_are() -> None:
    assert date_text("2026-03-14T09:26:53Z") == "14 March 2026, 09:26 UTC"
    assert date_text("2026-03-14T09:26:53") == "14 March 2026, 09:26"
    assert date_text("yesterday") == "yesterday"


def test_other_modes_are_named_as_they_are() -> None:
    assert mode_text(make_verdict(mode="live_trials")) == "live trials"


def test_failure_names_are_safe_on_any_file_system() -> None:
    assert failure_name(7, block().failures[0]) == "007-refund-after-delivery-response-lost-issue-refund.json"
    odd = trial(scenario="../../ETC/passwd\x00 " + "é" * 300, injections=(Injection(kind="<b>", site="日本@1"),))
    assert failure_name(1, odd) == "001-etc-passwd-b.json"
    assert failure_name(12, trial(scenario="日本")) == "012-failure.json"
    assert len(failure_name(1, trial(scenario="x" * 5000))) < 80


def test_titles_are_sentences_and_tools_keep_their_names() -> None:
    assert failure_title(block().failures[0]).startswith("The refund")
    assert failure_title(block().failures[2]).startswith("send_email ran")
    assert failure_title(trial(stuck="a socket")) == "The trial could not be brought to an end: a socket"
    assert failure_title(trial()) == "Ended without reaching the goal (failed)"


def test_injections_are_named_in_words() -> None:
    assert injected_text(block().failures[4].injections) == (
        "crash at append@7 (prefix kept) + error in success at update_address@2/c1"
    )
    assert injected_text(()) == "no fault"


def test_the_map_adds_up_and_keeps_shared_groups_last() -> None:
    heat = heat_map(block())
    assert heat.groups[-3:] == ("model itself", "approvals", "journal")
    cells = block().cells
    assert heat.total.tried == sum(cell.tried for cell in cells) == sum(row.total.tried for row in heat.rows)
    assert heat.total.passed == sum(cell.passed for cell in cells)
    assert heat.total.stories == (1, 2, 3, 4)


def test_cells_given_twice_are_one_square() -> None:
    cell = Cell(kind="hang", group="a", tried=2, passed=1, reached=1)
    heat = heat_map(make_verdict(cells=(cell, cell)))
    assert (heat.total.tried, heat.total.passed, len(heat.rows)) == (4, 2, 1)


@pytest.mark.parametrize(
    ("passed", "shade"), [(8, "all"), (7, "most"), (6, "most"), (4, "half"), (3, "few"), (0, "none")]
)
def test_shades(passed: int, shade: str) -> None:
    heat = heat_map(make_verdict(cells=(Cell(kind="k", group="g", tried=8, passed=passed, reached=0),)))
    assert heat.total.shade == shade


def test_a_square_without_trials_is_empty() -> None:
    heat = heat_map(make_verdict(cells=(Cell(kind="k", group="g", tried=0, passed=0, reached=0),)))
    assert (heat.total.shade, heat.total.reached_percent) == ("empty", 0.0)


def test_reach_lists_all_six_then_what_it_does_not_know() -> None:
    parts = reach_parts(make_verdict(reach={"lost": 1, "reached": 3, "elsewhere": 4}))
    assert [part.name for part in parts] == [*(reach.value for reach in Reach), "elsewhere"]
    assert [part.trials for part in parts] == [3, 0, 0, 0, 0, 1, 4]
    assert sum(part.share for part in parts) == 1


@pytest.mark.parametrize(
    ("tried", "passed", "bound", "target", "state"),
    [(300, 300, 0.99, 0.97, "yes"), (12, 12, 0.77, 0.97, "none"), (300, 200, 0.6, 0.97, "no"), (0, 0, 0.0, 0.97, "no")],
)
def test_storm_axis(tried: int, passed: int, bound: float, target: float, state: str) -> None:
    axis = storm_axis(StormFigures(tried=tried, passed=passed, lower_bound=bound, target=target, confidence=0.95))
    assert axis.state == state
    assert 0 <= axis.bound_at <= axis.share_at <= 100 and 0 <= axis.target_at <= 100
    assert axis.low < target


def test_time_is_drawn_to_scale_unless_one_wait_swallows_it() -> None:
    plain = TimeScale([0, 1, 2, 4])
    assert not plain.compressed
    assert [plain.at(moment) for moment in (0, 1, 2, 4)] == [0, 25, 50, 100]
    story = story_of(1, waited_a_day())
    assert story.scale.compressed
    places = [row.left for row in story.rows if isinstance(row, Row)]
    assert places == sorted(places) and places[-1] == 100
    assert places[2] > 3  # the first seconds of a day are still to be seen


def test_a_story_without_time_or_steps() -> None:
    assert TimeScale([]).at(3) == 0
    assert story_of(1, trial()).rows == ()
    (row,) = story_of(1, trial(story=(Step(at_s=2.0, who="run", text="x", duration_s=-1.0),))).rows
    assert isinstance(row, Row) and row.width == 0


def test_a_long_story_keeps_both_ends() -> None:
    steps = tuple(Step(at_s=float(at), who="run", text=f"step {at}") for at in range(1000))
    rows = story_of(1, trial(story=steps)).rows
    assert len(rows) == 81
    assert rows[40] == Gap(steps=920)
    last = rows[-1]
    assert isinstance(last, Row) and last.text == "step 999" and last.left == 100


def test_answers_of_every_kind_become_text() -> None:
    assert output_text(None) == ""
    assert output_text("plain") == "plain"
    assert output_text({"a": [1]}) == '{\n  "a": [\n    1\n  ]\n}'
    assert output_text(ship) == repr(ship)
    assert len(output_text("x" * 10**6)) == 4000
