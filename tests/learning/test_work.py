"""The directory of work beside a model that is being made."""

from pathlib import Path

import pytest

from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import Misuse, OperationFailed
from plimsoll.learning.work import Stopwatch, emptied, locked


def test_what_was_left_is_taken_away_and_so_is_what_was_made(tmp_path: Path) -> None:
    (tmp_path / "out.work" / "made").mkdir(parents=True)
    (tmp_path / "out.work" / "made" / "half").touch()
    with emptied(tmp_path / "out") as made:
        assert list(made.iterdir()) == []
        (made / "model").touch()
        made.replace(tmp_path / "out")
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "model"]


def test_it_is_taken_away_where_the_making_failed(tmp_path: Path) -> None:
    with pytest.raises(OperationFailed, match="Nothing of it is kept"), emptied(tmp_path / "out"):
        raise OSError("no space left")
    assert list(tmp_path.iterdir()) == []


def test_one_at_a_time_and_what_the_first_made_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with locked(out), pytest.raises(Misuse, match="another process works at it"), locked(out):
        pass
    out.mkdir()
    with pytest.raises(Misuse, match="a model must not be lost"), locked(out):
        pass


def test_the_lives_of_a_fit_are_counted_together(tmp_path: Path) -> None:
    clock = ManualClock()
    first = Stopwatch(tmp_path, clock)
    clock.advance(20.0)
    first.keep()
    clock.advance(7.0)  # killed, before it kept these
    second = Stopwatch(tmp_path, clock)
    clock.advance(5.0)
    assert second.elapsed_s == 25.0
    second.keep()
    assert Stopwatch(tmp_path, clock).elapsed_s == 25.0
