"""Every error that Plimsoll raises, under one root.

    PlimsollError
    ├── RuleUndecided               a rule that cannot be decided on these arguments (contract/expressions.py)
    ├── Rejected                    a policy or a person said no; nothing was sent
    │   ├── LimitExceeded           a limit of the contract would be passed
    │   │   └── DayLimitExceeded    … of what all runs of an agent may use up in a day
    │   ├── ApprovalRefused         denied, expired, voided, or nobody may approve
    │   ├── CircuitOpen             the dependency's circuit breaker is open
    │   ├── Shed                    the dependency's bulkhead is full
    │   ├── RateLimited             our own rate limit for the dependency is reached
    │   └── KillSwitchEngaged       an operator stopped this run, or all runs
    ├── OperationFailed             it was tried and did not work
    │   ├── CallFailed              a dependency failed after every attempt that policy allows
    │   ├── CallTimeout             an attempt had no answer within its time
    │   ├── OutputRejected          an answer came and it is no answer: empty, truncated, an error in disguise
    │   ├── JournalUnavailable      the journal cannot be written now
    │   ├── JournalCorrupt          the journal does not verify
    │   ├── SignalTimeout           no signal came within the time that a run waited for it (a TimeoutError, too)
    │   ├── RunBusy                 somebody else is advancing this run now
    │   ├── SessionBusy             a turn of this session has not ended yet
    │   ├── Superseded              another owner has taken this run over
    │   ├── TrainingFailed          a training that cannot go on; see learning/errors.py
    │   ├── RegistryUnavailable     the registry of models does not answer; see learning/errors.py
    │   └── NotSure                 a local model had better not answer; see learning/errors.py
    └── Misuse                      the caller must change something
        ├── ContractError           the contract is wrong; carries every problem with its place
        ├── RuleSyntaxError         an approval rule that does not parse (contract/expressions.py)
        ├── SimulationError, …      the gate's simulator; see gate/simulator/errors.py
        ├── DataError, WeightsError rows and models that nothing can be made of; see learning/errors.py
        ├── ToolSchemaError         a schema that no model can be held to; see learning/errors.py
        ├── RegistryError           what the registry of models does not have, or will not do
        │   └── PromotionRefused    no verdict of the gate speaks for this model
        ├── ReplayMismatch          the agent's code no longer does what its journal says
        ├── UnknownRun / UnknownRequest / UnknownDependency
        ├── RunErased               a run whose personal data somebody has erased
        ├── KeyMissing              an encrypted run whose master key is not here
        ├── DecisionRefused         a decision that may not be made (wrong person, wrong arguments, too late)
        └── MissingExtra            an optional dependency is not installed

`RunParked`, `RunHalted`, `RunHandedOff` and `RunContinued` are no errors but control flow. They derive from
`BaseException` (by `Unwind`), so that an agent's `except Exception` does not swallow them and go on.
"""

from dataclasses import dataclass
from typing import Any

__all__ = [
    "ApprovalRefused",
    "CallFailed",
    "CallTimeout",
    "CircuitOpen",
    "ContractError",
    "DayLimitExceeded",
    "DecisionRefused",
    "JournalCorrupt",
    "JournalUnavailable",
    "KeyMissing",
    "KillSwitchEngaged",
    "LimitExceeded",
    "MissingExtra",
    "Misuse",
    "OperationFailed",
    "OutputRejected",
    "PlimsollError",
    "Problem",
    "RateLimited",
    "Rejected",
    "ReplayMismatch",
    "RunBusy",
    "RunContinued",
    "RunErased",
    "RunHalted",
    "RunHandedOff",
    "RunParked",
    "SessionBusy",
    "Shed",
    "SignalTimeout",
    "Superseded",
    "UnknownDependency",
    "UnknownRequest",
    "UnknownRun",
    "Unwind",
]


class PlimsollError(Exception):
    """The root of every error that Plimsoll raises."""


class Rejected(PlimsollError):
    """A policy or a person said no. Nothing was sent to the dependency."""


class OperationFailed(PlimsollError):
    """Something was tried and did not work."""


class Misuse(PlimsollError):
    """The caller has to change something: a contract, an argument, an installation."""


class LimitExceeded(Rejected):
    """A limit of the contract would be passed, so the run is halted before it is.

    `limit` is its name in the contract (`steps`, `seconds`, `tokens`, `usd`, `repeats`); `allowed` and `needed` are
    in that limit's unit.
    """

    def __init__(self, limit: str, *, allowed: float, needed: float) -> None:
        self.limit = limit
        self.allowed = allowed
        self.needed = needed
        super().__init__(
            f"limit {limit!r} reached: {needed:g} needed, {allowed:g} allowed. "
            f"Raise limits.{limit} in the contract if this run is as it should be."
        )


class DayLimitExceeded(LimitExceeded):
    """All runs of an agent together would pass what they may use up in one day, which ends at 00:00 UTC.

    `limit` is `day_usd`, `day_tokens` or `day_runs`. As an answer to a new run it means that nothing was recorded.
    """

    def __init__(self, limit: str, *, allowed: float, needed: float) -> None:
        super().__init__(limit, allowed=allowed, needed=needed)
        self.args = (
            f"limit {limit!r} reached: all runs of this day need {needed:g}, {allowed:g} allowed. The next day begins "
            f"at 00:00 UTC; raise limits.{limit.replace('_', '.', 1)} in the contract if this day is as it should be.",
        )


class ApprovalRefused(Rejected):
    """A call that needs a person's word did not get it. `reason` is `denied`, `expired`, `voided` or `rule`."""

    def __init__(self, dependency: str, *, reason: str, note: str = "") -> None:
        self.dependency = dependency
        self.reason = reason
        self.note = note
        super().__init__(f"{dependency} was not approved ({reason}){': ' + note if note else ''}. Nothing was done.")


class CircuitOpen(Rejected):
    """The dependency's circuit breaker is `state` (`open`, `half_open` with all probes under way, or `isolated`).

    `retry_after_s` is in how many seconds a call may pass; infinite where only an operator can say so.
    """

    def __init__(self, dependency: str, *, state: str, retry_after_s: float) -> None:
        self.dependency = dependency
        self.state = state
        self.retry_after_s = retry_after_s
        wait = "until an operator restores it" if state == "isolated" else f"for {retry_after_s:.3g} s more"
        super().__init__(f"{dependency} was not asked: its circuit is {state} {wait}")


class Shed(Rejected):
    """The dependency's bulkhead did not let the call in."""

    def __init__(self, dependency: str, *, why: str) -> None:
        self.dependency = dependency
        super().__init__(f"{dependency} was not asked: {why}")


class RateLimited(Rejected):
    """Our own rate limit for the dependency would be passed. `retry_after_s` is when it would not be any more."""

    def __init__(self, dependency: str, *, retry_after_s: float) -> None:
        self.dependency = dependency
        self.retry_after_s = retry_after_s
        super().__init__(f"{dependency} was not asked: its rate limit lets the call pass in {retry_after_s:.3g} s")


class KillSwitchEngaged(Rejected):
    """An operator stopped this run. `scope` is the run's id, or `*` for every run."""

    def __init__(self, scope: str, *, by: str, reason: str) -> None:
        self.scope = scope
        self.by = by
        self.reason = reason
        super().__init__(f"kill switch engaged on {scope!r} by {by}: {reason}")


class CallTimeout(OperationFailed):
    """An attempt had no answer within `timeout_s` seconds, or while it streamed one was `silent` for so long."""

    def __init__(self, dependency: str, *, timeout_s: float, silent: bool = False) -> None:
        self.dependency = dependency
        self.timeout_s = timeout_s
        self.silent = silent
        what = f"said nothing for {timeout_s:g} s while it streamed its answer"
        super().__init__(f"{dependency} {what if silent else f'gave no answer within {timeout_s:g} s'}")


class OutputRejected(OperationFailed):
    """An answer came and it is no answer. `fault` is the fault class, as in `core.calls.Fault`."""

    def __init__(self, dependency: str, *, fault: str, detail: str) -> None:
        self.dependency = dependency
        self.fault = fault
        self.detail = detail
        super().__init__(f"{dependency} gave an answer that is none ({fault}): {detail}")


class CallFailed(OperationFailed):
    """A dependency failed after every attempt that policy allows.

    `fault` is the fault class of the last attempt, `attempts` counts the first call too, `message` says what the
    dependency said.
    """

    def __init__(self, dependency: str, *, fault: str, attempts: int, message: str) -> None:
        self.dependency = dependency
        self.fault = fault
        self.attempts = attempts
        self.message = message
        super().__init__(f"{dependency} failed ({fault}) after {attempts} attempt(s): {message}")


class JournalUnavailable(OperationFailed):
    """The journal cannot be written now. Nothing that needs a durable record was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(f"the journal cannot be written: {message}")


class JournalCorrupt(OperationFailed):
    """The journal does not verify. `run_id` and `seq` are where it breaks first; `*` and 0 mean the whole of it."""

    def __init__(self, run_id: str, seq: int, message: str) -> None:
        self.run_id = run_id
        self.seq = seq
        self.what = message
        place = "the journal is damaged" if run_id == "*" else f"journal of run {run_id} is damaged at event {seq}"
        super().__init__(f"{place}: {message}")


class SignalTimeout(OperationFailed, TimeoutError):
    """A run waited `timeout_s` seconds for the signal `name`, and none came."""

    def __init__(self, name: str, *, timeout_s: float) -> None:
        self.name = name
        self.timeout_s = timeout_s
        super().__init__(f"no signal {name!r} came within {timeout_s:g} s")


class RunBusy(OperationFailed):
    """Somebody else is advancing this run now: another process that lives, or another task of this one.

    Nothing was done. Ask for the run's result later, or deliver the request again.
    """

    def __init__(self, run_id: str, *, owner: str) -> None:
        self.run_id = run_id
        self.owner = owner
        super().__init__(f"run {run_id} is being advanced by {owner}; ask again when it is done")


class SessionBusy(OperationFailed):
    """A turn of this session has not ended yet, and there is one turn at a time. Nothing was done.

    `run_id` is that turn's run; `why` says whether it runs or what it waits for.
    """

    def __init__(self, session: str, *, run_id: str, why: str) -> None:
        self.session = session
        self.run_id = run_id
        self.why = why
        super().__init__(f"session {session}: its turn {run_id} {why}; the next begins when that one has ended")


class Superseded(OperationFailed):
    """Another owner has taken this run over; this one must stop."""

    def __init__(self, run_id: str, *, epoch: int) -> None:
        self.run_id = run_id
        self.epoch = epoch
        super().__init__(f"run {run_id} was taken over by another owner; epoch {epoch} may write no more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong in a contract: where (`file`, `line` from 1, dotted `field`), what, and what is right."""

    file: str
    line: int
    field: str
    what: str
    fix: str
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.what} → {self.fix}"


class ContractError(Misuse):
    """The contract is wrong. `problems` lists everything that was found, each with its place."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class ReplayMismatch(Misuse):
    """On resuming, the agent's code asked for something else than its journal records. Nothing was sent."""

    def __init__(self, run_id: str, *, expected: str, actual: str) -> None:
        self.run_id = run_id
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"run {run_id} does not replay: its journal has {expected}, the agent now asks for {actual}. "
            "The agent's code changed since, or it does not repeat itself (time, chance, or order outside run.call)."
        )


class UnknownRun(Misuse):
    """No run of this id in the journal."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"no run {run_id!r} in this journal; `plimsoll runs list` shows those there are")


class RunErased(Misuse):
    """Somebody has erased this run: what it was asked, did and answered cannot be read any more, by anybody."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} was erased; `plimsoll audit log` tells by whom and why. Nothing was done")


class KeyMissing(Misuse):
    """An encrypted run, whose key is wrapped by a master key that is not here. `master` is that key's id."""

    def __init__(self, run_id: str, *, master: str) -> None:
        self.run_id = run_id
        self.master = master
        super().__init__(
            f"run {run_id} is encrypted under master key {master}, which is not here: "
            "set PLIMSOLL_JOURNAL_KEY, or key_file in the contract's [journal]. Nothing was done"
        )


class UnknownRequest(Misuse):
    """No approval request of this id in the journal."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"no approval request {request_id!r}; `plimsoll approvals list` shows those there are")


class UnknownDependency(Misuse):
    """A call names a model or tool that nobody registered."""

    def __init__(self, dependency: str, *, known: list[str]) -> None:
        self.dependency = dependency
        super().__init__(f"no dependency {dependency!r}; registered: {', '.join(sorted(known)) or 'none'}")


class DecisionRefused(Misuse):
    """A decision that may not be made: by the wrong person, about other arguments, twice, or too late."""

    def __init__(self, request_id: str, *, why: str) -> None:
        self.request_id = request_id
        self.why = why
        super().__init__(f"decision on {request_id} refused: {why}")


class MissingExtra(Misuse):
    """An optional dependency is not installed. `extra` is what to install."""

    def __init__(self, package: str, *, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{package} is not installed: pip install 'plimsoll-ai[{extra}]'")


class Unwind(BaseException):
    """Takes a run off the stack. Once it was raised, every further call of that run raises it again."""


class RunParked(Unwind):
    """The run waits: for a person, a child, a time, a signal, the journal, or what its agent depends on.

    `reason` is `approval`, `doubt`, `child`, `timer`, `signal`, `dependencies`, `journal`, `mismatch`, `version` or
    `resumes`; `detail` names what it waits for; `until` is the wall-clock time at which the run may go on by itself, if
    any.
    """

    def __init__(self, reason: str, *, detail: str, until: float | None = None) -> None:
        self.reason = reason
        self.detail = detail
        self.until = until
        super().__init__(f"parked ({reason}): {detail}")


class RunHandedOff(Unwind):
    """A child took over, and has ended. How it ended (an `Ending`), its output and its reason are now this run's."""

    def __init__(self, ending: str, *, output: Any, reason: str) -> None:
        self.ending = ending
        self.output = output
        self.reason = reason
        super().__init__(f"handed off to a run that ended as {ending}{': ' + reason if reason else ''}")


class RunContinued(Unwind):
    """The run goes on as a new run, with `input` (JSON)."""

    def __init__(self, input: Any) -> None:
        self.input = input
        super().__init__("the run goes on as a new one")


class RunHalted(Unwind):
    """The run is stopped for good, by a limit, the kill switch or a detector. `reason` is a sentence for people."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
