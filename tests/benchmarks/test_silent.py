"""The benchmark of silent failures can fail: what is not caught is missed, and what is an alarm is counted."""

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks import silent
from benchmarks.healthy_answers import healthy_answers
from benchmarks.silent_failures import Case, cases
from plimsoll.contract.model import Mode, Protections
from tests.adapters.conformance.desk import Answer, Desk

FIRST = {case.failure: case for case in reversed(cases())}
"""One of each kind."""


OBSERVE = Mode.OBSERVE
OBSERVED = Protections(limits=OBSERVE, output_check=OBSERVE, loops=OBSERVE, silent_failures=OBSERVE)


@pytest.mark.parametrize("failure", FIRST)
def test_each_kind_is_caught_and_missed_without_its_protection(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = silent.bench_of("plain")
    assert silent.hardened(bench, FIRST[failure])
    whole = silent.desk_of

    def observing(*args: Any, **options: Any) -> Desk:
        desk = whole(*args, **options)
        desk.changes["protections"] = OBSERVED
        return desk

    monkeypatch.setattr(silent, "desk_of", observing)
    assert not silent.hardened(bench, FIRST[failure])


def test_an_answer_that_is_right_is_nothing_to_catch() -> None:
    right = Case(failure="none", shape="right", model=lambda heard: Answer("It is on its way."))
    assert not silent.hardened(silent.bench_of("plain"), right)


def test_an_alarm_is_counted() -> None:
    bench = silent.bench_of("plain")
    assert silent.healthy(bench, 1, "It is on its way.")
    assert not silent.healthy(bench, 1, "Internal Server Error")
    assert not silent.healthy(bench, 1, "W2 has been refunded.")
    assert silent.healthy(bench, 3, "W2 has been refunded.")


@pytest.mark.realdata
def test_the_healthy_answers_are_as_many_and_as_different_as_they_claim() -> None:
    answers = healthy_answers(Path(os.environ["PLIMSOLL_REALDATA"]), 1000, seed=silent.SEED)
    assert len(set(answers)) == 1000
    assert sum("error" in answer.lower() or "fail" in answer.lower() for answer in answers) >= 50
    assert sum(len(answer) <= 10 for answer in answers) >= 100
    assert sum("sorry" in answer.lower() or "apolog" in answer.lower() for answer in answers) >= 20
