"""Failures made small, written to a file, and played again from it."""

import pathlib

import msgspec
import pytest

from plimsoll.contract.model import Mode, Protections
from plimsoll.core.errors import Misuse
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.reproducing import FailureFile, encode_failure, failure_file, read_failure, reproduce
from plimsoll.gate.shrink import smallest_failing
from plimsoll.gate.verdict import Injection, Verdict
from tests.gate.bare import bare
from tests.gate.sample import contract, hardened, scenario

SCENARIOS = [scenario("W1"), scenario("W2")]


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return run_campaign(bare(), SCENARIOS, workers=2)


def file_of(verdict: Verdict, number: int) -> FailureFile:
    return failure_file(
        verdict.failures[number], verdict, references={"entrypoint": "shop:agent"}, contract_path="plimsoll.toml"
    )


def test_every_told_failure_comes_back(verdict: Verdict, tmp_path: pathlib.Path) -> None:
    for number in range(len(verdict.failures)):
        path = tmp_path / f"{number}.json"
        path.write_bytes(encode_failure(file_of(verdict, number)))
        again = reproduce(read_failure(path), bare(), SCENARIOS)
        assert again.same and again.notes == (), (verdict.failures[number].injections, again.notes)
        assert again.trial.digest == verdict.failures[number].digest
        assert again.trial.story


def test_what_was_mended_does_not_come_back(verdict: Verdict) -> None:
    number = next(n for n, trial in enumerate(verdict.failures) if trial.injections)
    again = reproduce(file_of(verdict, number), hardened(), SCENARIOS)
    assert not again.same and again.trial.passed
    assert any("no longer broken" in note for note in again.notes)


def test_a_changed_contract_is_noted(verdict: Verdict) -> None:
    promised = contract(protections=Protections(retry=Mode.OBSERVE))
    again = reproduce(file_of(verdict, 0), bare(), SCENARIOS, promised=promised)
    assert "the contract has changed since" in again.notes


def test_an_unknown_scenario_is_said(verdict: Verdict) -> None:
    with pytest.raises(Misuse, match="no scenario 'refund-W1'"):
        reproduce(file_of(verdict, 0), bare(), [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no failure file"),
        ("{}", "no failure file"),
        ("\xff", "no failure file"),
    ],
)
def test_a_file_that_is_none(tmp_path: pathlib.Path, text: str, words: str) -> None:
    path = tmp_path / "failure.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Misuse, match=words):
        read_failure(path)


def test_a_file_that_is_missing_or_of_another_time(tmp_path: pathlib.Path, verdict: Verdict) -> None:
    with pytest.raises(Misuse, match="cannot be read"):
        read_failure(tmp_path / "nothing.json")
    path = tmp_path / "failure.json"
    path.write_bytes(encode_failure(msgspec.structs.replace(file_of(verdict, 0), format=9)))
    with pytest.raises(Misuse, match="format 9"):
        read_failure(path)
    unknown = (Injection(kind="gremlin", site="primary@1:primary"),)
    path.write_bytes(encode_failure(msgspec.structs.replace(file_of(verdict, 0), injections=unknown)))
    with pytest.raises(Misuse, match="gremlin"):
        read_failure(path)


class TestShrinking:
    faults = tuple(Injection(kind="hang", site=f"a@{number}") for number in range(4))

    def test_to_the_one_that_matters(self) -> None:
        assert smallest_failing(self.faults, lambda some: self.faults[2] in some) == (self.faults[2],)

    def test_to_the_two_that_matter_together(self) -> None:
        both = {self.faults[0], self.faults[3]}
        assert set(smallest_failing(self.faults, lambda some: both <= set(some))) == both

    def test_not_below_one(self) -> None:
        tried: list[object] = []

        def fails(some: object) -> bool:
            tried.append(some)
            return True

        assert smallest_failing(self.faults[:1], fails) == self.faults[:1]
        assert tried == []

    def test_not_where_all_are_needed(self) -> None:
        assert smallest_failing(self.faults, lambda some: False) == self.faults
