"""Calls, effects and outcomes: what an agent does to the outside world, and what came of it.

See design section 3. Whatever is stored is a frozen `msgspec.Struct`, so that it goes into the journal as it is.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

__all__ = [
    "CallInfo",
    "CallKind",
    "Effect",
    "Ending",
    "ErrorRecord",
    "Fault",
    "Happened",
    "NotHappenedAndCannot",
    "Outcome",
    "Status",
    "Unknown",
    "Usage",
    "Verification",
    "idempotency_key",
]


class CallKind(StrEnum):
    """What kind of dependency is called."""

    MODEL = "model"
    TOOL = "tool"
    HTTP = "http"
    HUMAN = "human"
    RUN = "run"
    """Another agent, as a run of its own: a child of this one."""
    GUARD = "guard"
    """A guard model, asked what a text is. No call of the agent's: it stands in no journal as one."""


class Effect(StrEnum):
    """What a call does to the world, which decides what may follow when nobody knows its outcome."""

    READ = "read"
    """Changes nothing: may be called again, and may descend the fallback ladder."""
    IDEMPOTENT = "idempotent"
    """The dependency deduplicates by idempotency key: sent again with the same key and the same arguments."""
    TRANSACTION = "transaction"
    """The effect and the record of it commit together, in one transaction of the tool's own database: the record tells
    whether it happened, so that it is looked up, and never guessed."""
    WRITE = "write"
    """Must happen exactly once: without a known outcome it is in doubt, and is never retried."""


class Status(StrEnum):
    """How a call came out."""

    OK = "ok"
    FAILED = "failed"
    REJECTED = "rejected"
    IN_DOUBT = "in_doubt"
    ABANDONED = "abandoned"
    """Whoever was shown a streamed answer left before it was whole. Nobody failed."""


class Ending(StrEnum):
    """How a run stands when `run` or `resume` returns. All but `parked` are final."""

    COMPLETE = "complete"
    DEGRADED = "degraded"
    """It ended, and a lower rung of a fallback ladder answered at least once."""
    HALTED = "halted"
    """A limit, the kill switch or a detector stopped it."""
    FAILED = "failed"
    PARKED = "parked"
    """It waits for a person, or for the journal. It costs no memory, and `resume` goes on with it."""
    CONTINUED = "continued"
    """It goes on as a new run with a journal of its own. `run` and `resume` follow it there and never return this."""


class Fault(StrEnum):
    """What was wrong with an attempt: the *cause* that findings name and that the gate injects."""

    TIMEOUT = "timeout"
    SLOW = "slow"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    CONNECTION = "connection"
    CLIENT_ERROR = "client_error"
    EXCEPTION = "exception"
    EMPTY = "empty"
    WHITESPACE = "whitespace"
    TRUNCATED = "truncated"
    FILTERED = "filtered"
    MALFORMED = "malformed"
    WRONG_SHAPE = "wrong_shape"
    ERROR_IN_SUCCESS = "error_in_success"
    STALE = "stale"
    """A success whose date is too old."""
    CRASH = "crash"
    """The process died between sending a write and recording what came of it."""
    REFUSED = "refused"
    """The dependency itself refused, for a reason of its trade, and proved thereby that nothing happened."""
    CIRCUIT_OPEN = "circuit_open"
    """It was not asked: its circuit breaker is open."""
    SHED = "shed"
    """It was not asked: too many calls were under way, and waited."""
    THROTTLED = "throttled"
    """It was not asked: our own rate limit for it was reached."""
    OUTRUN = "outrun"
    """Nothing: another attempt at the same call answered first, and this one was given up."""


class Usage(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What one call consumed. Tokens are counted by the model's provider; `usd` is worked out from the contract."""

    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens


class ErrorRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An error as the journal keeps it: `type` is its class name, `retry_after_s` what the dependency asked for."""

    type: str
    message: str
    fault: Fault = Fault.EXCEPTION
    retry_after_s: float | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What came of a call. `value` is JSON; `rung` is the position on the ladder that answered, 0 being the first.

    The value of a call that was abandoned is what was shown of its answer.
    """

    status: Status
    value: Any = None
    error: ErrorRecord | None = None
    rung: int = 0
    attempts: int = 1
    usage: Usage | None = None

    @property
    def ok(self) -> bool:
        """Whether the call did what was asked."""
        return self.status is Status.OK


class CallInfo(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a tool, or its `verify`, can learn of the call that it serves, by `plimsoll.current_call()`.

    `deadline_s` is the running clock's monotonic time by which the attempt is given up. `sending` counts from 1, and
    rises whenever the call is sent again because it was found not to have happened, whoever sends it: a fencing token.
    `verify` is asked about all sendings up to this one.
    """

    run_id: str
    key: str
    dependency: str
    kind: CallKind
    effect: Effect
    attempt: int
    rung: int
    deadline_s: float
    sending: int = 1

    @property
    def idempotency_key(self) -> str:
        """The same on every attempt, on every rung, on every replay and after a crash: hand it to the dependency."""
        return idempotency_key(self.run_id, self.key)


def idempotency_key(run_id: str, key: str) -> str:
    """The idempotency key of the call `key`: a function of run and call alone."""
    return hashlib.sha256(f"{run_id}\x00{key}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Happened:
    """`verify` found the effect. `result` is what the call would have returned."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class NotHappenedAndCannot:
    """`verify` found no effect, and no request still under way can bring it about. Only this allows sending again."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """`verify` cannot tell. It is asked again soon, unless this is `final`; then the run parks for a person."""

    why: str = ""
    final: bool = False


Verification = Happened | NotHappenedAndCannot | Unknown
