"""The benchmark of next calls judges by customers that nothing was fitted on."""

from benchmarks.figures import learning
from benchmarks.next_call import FOLDS, coverage, dealt, most_frequent, next_of
from plimsoll.learning.conversations import Decision, Made


def decision(tool: str | None, **arguments: int) -> Decision:
    return Decision("a", (), None if tool is None else Made(tool=tool, arguments=arguments))


def test_a_customer_is_in_one_fold_whatever_the_order_of_tasks() -> None:
    customers = [f"customer {number % 20}" for number in range(60)]
    folds = dealt(customers, 0)
    assert set(folds.values()) == set(range(FOLDS)) and len(folds) == 20
    assert folds == dealt(customers, 0) != dealt(customers, 1)


def test_the_most_frequent_is_of_the_rows_that_were_learned_from() -> None:
    train = [decision("find", x=1), decision("find", x=2), decision(None), decision(None), decision("find", x=3)]
    assert most_frequent(train, [decision("find", x=1), decision(None)]) == {"tool": 0.5, "whole": 0.5}
    assert next_of(decision("find", b=1, a=2)) == ("find", b'{"a":2,"b":1}')


def test_coverage_is_how_far_down_the_ranking_enough_are_right() -> None:
    assert coverage([(0.9, True), (0.8, True), (0.7, False), (0.6, False)], 0.95) == 0.5
    assert coverage([(0.9, False), (0.8, True)], 0.95) == 0
    assert coverage([(0.9, False), *[(0.5, True)] * 19], 0.95) == 1


def test_its_table_says_what_was_measured() -> None:
    ours = {"tool": 0.522, "whole": 0.434, "answered": 0.1, "precision": 0.9, "coverage_at_95": 0.2}
    result = {
        "decided": {"policy": {**ours, "fit_s": 40.2, "decision_ms": 9.1}, "nearest": {"tool": 0.3, "whole": 0.1}},
        **{"asked_precision": 0.9, "tasks": 115, "customers": 53, "decisions": 697, "folds": 5},
        "date": "2026-01-01",
        "machine": {"cores": 2, "cpu": "a", "python": "3.11"},
    }
    told = learning.next_call(result)
    assert "| policy | 52% | 43% |" in told
    assert "it decides 10%, of which 90% are right (90% were asked for)" in told.replace("\n", " ")
