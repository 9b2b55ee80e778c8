"""Failure files: one failing trial on disk, and the same trial again from it."""

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from plimsoll.contract.loading import contract_digest
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse
from plimsoll.gate.faults import KINDS
from plimsoll.gate.healthy import stage_of
from plimsoll.gate.scenario import Scenario
from plimsoll.gate.subject import SubjectLike
from plimsoll.gate.trial import Plan, trial_seed, try_plan
from plimsoll.gate.verdict import Injection, Trial, Verdict, Violation

__all__ = ["FailureFile", "Reproduction", "encode_failure", "failure_file", "read_failure", "reproduce"]

_FORMAT = 1


class FailureFile(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that it takes to play a failing trial again.

    `subject` are the references by which the agent is found, as whoever wrote the file gave them (such as
    `{"entrypoint": "shop.agent:agent"}`); `contract_path` is relative to where the command ran. `campaign_seed` is that
    of the campaign, `seed` the trial's own.
    """

    format: int = _FORMAT
    subject: dict[str, str]
    contract_path: str
    contract_digest: str
    scenario: str
    injections: tuple[Injection, ...]
    campaign_seed: int
    seed: int
    storm: bool
    violations: tuple[Violation, ...]
    digest: str
    plimsoll_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """The trial, played again. `same` is whether it broke the same promises; `notes` say what else differs."""

    trial: Trial
    same: bool
    notes: tuple[str, ...]


def failure_file(trial: Trial, verdict: Verdict, *, references: Mapping[str, str], contract_path: str) -> FailureFile:
    """The file of a failing trial of that verdict."""
    return FailureFile(
        subject=dict(references),
        contract_path=contract_path,
        contract_digest=verdict.contract_digest,
        scenario=trial.scenario,
        injections=trial.injections,
        campaign_seed=verdict.seed,
        seed=trial.seed,
        storm=trial.storm,
        violations=trial.violations,
        digest=trial.digest,
        plimsoll_version=verdict.plimsoll_version,
    )


def encode_failure(failure: FailureFile) -> bytes:
    """The file's content, as JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(failure)) + b"\n"


def read_failure(path: pathlib.Path | str) -> FailureFile:
    """Reads the file. Raises `Misuse` when it is none, is of another format, or names a fault that there is not."""
    try:
        failure = msgspec.json.decode(pathlib.Path(path).read_bytes(), type=FailureFile)
    except OSError as error:
        raise Misuse(f"{path} cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Misuse(f"{path} is no failure file of a gate: {error}") from error
    if failure.format != _FORMAT:
        raise Misuse(f"{path} has format {failure.format}; this version of Plimsoll reads format {_FORMAT}")
    for injection in failure.injections:
        if injection.kind not in KINDS:
            raise Misuse(f"{path} names the fault {injection.kind!r}; there are {', '.join(KINDS)}")
    return failure


def reproduce(
    failure: FailureFile, subject: SubjectLike, scenarios: Sequence[Scenario], *, promised: Contract | None = None
) -> Reproduction:
    """Plays exactly this trial again, with its story. `promised` is as for `run_campaign`.

    Raises `Misuse` when none of the scenarios has the failure's name.
    """
    scenario = next((each for each in scenarios if each.name == failure.scenario), None)
    if scenario is None:
        known = ", ".join(each.name for each in scenarios) or "none"
        raise Misuse(f"no scenario {failure.scenario!r}; there are: {known}")
    contract = promised or subject.contract
    stage, _ = stage_of(subject, scenario, promised=contract, seed=failure.campaign_seed)
    plan = Plan(
        injections=failure.injections,
        seed=failure.seed,
        storm=failure.storm,
        latency=failure.storm or _is_varied(failure),
        recording=True,
    )
    trial = try_plan(stage, plan).trial
    broken, expected = _codes(trial.violations), _codes(failure.violations)
    return Reproduction(
        trial=trial, same=bool(expected) and expected <= broken, notes=tuple(_notes(failure, contract, trial))
    )


def _is_varied(failure: FailureFile) -> bool:
    """Whether it is one of the healthy runs whose latency was varied."""
    return not failure.injections and failure.seed != trial_seed(failure.campaign_seed, failure.scenario, ())


def _codes(violations: Sequence[Violation]) -> set[tuple[str, str]]:
    return {(each.claim, each.code) for each in violations}


def _notes(failure: FailureFile, contract: Contract, trial: Trial) -> list[str]:
    notes = []
    if contract_digest(contract) != failure.contract_digest:
        notes.append("the contract has changed since")
    if trial.digest != failure.digest:
        notes.append("it went another way than it did then")
    gone = _codes(failure.violations) - _codes(trial.violations)
    notes += [f"{claim} is no longer broken ({code})" for claim, code in sorted(gone)]
    return notes
