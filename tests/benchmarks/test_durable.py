"""The judge of the crash benchmark must be able to find a system wanting."""

from benchmarks.durable import Judged, judge


def test_each_effect_once_is_right():
    assert judge(["W1", "W2"], {"W1": "over", "W2": "over"}) == Judged(effects=2)


def test_an_effect_that_did_not_happen_is_lost():
    assert judge(["W1"], {"W1": "over", "W2": "over"}, kills=1) == Judged(effects=2, lost=1, kills=1)


def test_every_further_time_is_a_doubled_effect():
    assert judge(["W1", "W2", "W1", "W1"], {"W1": "over", "W2": "over"}) == Judged(effects=2, doubled=2)


def test_a_run_that_waits_for_a_person_has_lost_nothing_and_may_still_have_doubled():
    stand = {"W1": "parked", "W2": "parked"}
    assert judge(["W2", "W2"], stand) == Judged(effects=2, doubled=1, parked=2)


def test_trials_add_up():
    total = Judged(effects=1, lost=1)
    total.add(Judged(effects=2, doubled=1, parked=1, kills=3))
    assert total == Judged(effects=3, lost=1, doubled=1, parked=1, kills=3)
