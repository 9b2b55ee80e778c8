"""The fallback ladder."""

import pytest

from plimsoll.contract.model import Model
from plimsoll.core.errors import Misuse
from plimsoll.policies.deadline import LatencyWindow
from plimsoll.policies.ladder import Ladder, Rung, build_ladders, build_windows


def names(ladder: Ladder) -> list[str]:
    return [rung.name for rung in ladder.rungs]


def test_a_model_alone_is_its_own_ladder() -> None:
    model = Model()

    assert build_ladders({"primary": model}) == {"primary": Ladder((Rung("primary", model),))}


def test_every_model_has_its_ladder_and_fallbacks_of_fallbacks_come_next() -> None:
    ladders = build_ladders(
        {
            "primary": Model(fallback=("small", "local")),
            "small": Model(fallback=("tiny",)),
            "tiny": Model(),
            "local": Model(),
        }
    )

    assert {name: names(ladder) for name, ladder in ladders.items()} == {
        "primary": ["primary", "small", "tiny", "local"],
        "small": ["small", "tiny"],
        "tiny": ["tiny"],
        "local": ["local"],
    }


def test_nothing_comes_twice_and_a_cycle_ends() -> None:
    ladders = build_ladders(
        {
            "a": Model(fallback=("b", "c", "a")),
            "b": Model(fallback=("c", "a")),
            "c": Model(fallback=("a",)),
        }
    )

    assert names(ladders["a"]) == ["a", "b", "c"]
    assert names(ladders["b"]) == ["b", "c", "a"]
    assert names(ladders["c"]) == ["c", "a", "b"]


def test_canned_answers_come_last_for_nothing_below_them_is_ever_asked() -> None:
    ladders = build_ladders(
        {
            "primary": Model(fallback=("small", "local", "canned")),
            "small": Model(fallback=("canned",)),
            "local": Model(),
            "canned": Model(canned="We will call you back.", fallback=("local",)),
        }
    )

    assert names(ladders["primary"]) == ["primary", "small", "local", "canned"]
    assert names(ladders["canned"]) == ["canned", "local"]


def test_an_unknown_fallback_is_misuse() -> None:
    with pytest.raises(Misuse, match="falls back to 'smal'"):
        build_ladders({"primary": Model(fallback=("smal",))})


def test_a_ladder_is_neither_empty_nor_repeats_a_rung() -> None:
    with pytest.raises(Misuse, match="at least one rung"):
        Ladder(())
    with pytest.raises(Misuse, match="comes twice"):
        Ladder((Rung("a", Model()), Rung("a", Model())))


def test_the_reserve_is_what_the_rungs_below_lately_needed() -> None:
    ladder = Ladder(
        (
            Rung("primary", Model()),
            Rung("small", Model(timeout_s=10.0)),
            Rung("local", Model(timeout_s=2.0)),
            Rung("canned", Model(canned="Sorry.")),
        )
    )
    windows = {"primary": LatencyWindow(9.0), "small": LatencyWindow(4.0), "local": LatencyWindow(1.0)}
    for _ in range(20):
        windows["small"].observe(0.5)

    assert [ladder.reserve_below_s(index, windows) for index in range(4)] == [1.5, 1.0, 0.0, 0.0]


def test_no_rung_counts_for_more_than_its_timeout() -> None:
    ladder = Ladder((Rung("a", Model()), Rung("b", Model(timeout_s=2.0))))

    assert ladder.reserve_below_s(0, {"b": LatencyWindow(50.0)}) == 2.0


def test_before_anything_was_measured_a_rung_counts_with_when_it_is_slow() -> None:
    assert Rung("a", Model(timeout_s=8.0)).prior_s == 4.0
    assert Rung("a", Model(timeout_s=8.0, slow_s=1.0)).prior_s == 1.0
    assert Rung("a", Model(canned="Sorry.")).prior_s == 0.0
    ladder = Ladder((Rung("a", Model()), Rung("b", Model(timeout_s=8.0))))
    assert ladder.reserve_below_s(0, {}) == 4.0


def test_windows_are_made_for_what_takes_time() -> None:
    windows = build_windows(build_ladders({"a": Model(timeout_s=8.0), "canned": Model(canned="Sorry.")}))

    assert {name: window.p95() for name, window in windows.items()} == {"a": 4.0}
