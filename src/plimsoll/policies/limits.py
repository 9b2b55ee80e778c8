"""Limits: what one run may use up, checked before a call with that call's worst case."""

from plimsoll.contract.model import Limits, Model
from plimsoll.contract.pricing import price_of
from plimsoll.core.calls import Effect, Usage
from plimsoll.core.errors import LimitExceeded

__all__ = ["ALL_LIMITS", "NOTHING", "LimitLedger", "add_usage"]

ALL_LIMITS = frozenset({"steps", "seconds", "tokens", "usd", "repeats"})
"""The limits by name. As `observe` it makes a ledger count without ever refusing: for a replay."""

NOTHING = Usage()
"""What a call uses that is no model's."""
_SLACK = 1e-9  # money is added up in floats: a limit of 0.3 is not passed by three times 0.1


class LimitLedger:
    """What one run has used up, has under way, and may still use.

    A call is announced by `before_call` and closed by `settled`. Give both its `key` and its worst case stays
    reserved in between, so that parallel calls cannot pass a limit together; each further attempt, which may be at
    another price, is announced by `before_attempt` and is part of the same step. On replay, make the same calls with
    `observe=ALL_LIMITS`.
    """

    __slots__ = ("_reserved", "_reserved_tokens", "_reserved_usd", "_streaks", "limits", "steps", "tokens", "usd")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.steps = 0
        self.tokens = 0
        self.usd = 0.0
        self._reserved: dict[str, Usage] = {}
        self._reserved_tokens = 0
        self._reserved_usd = 0.0
        self._streaks: dict[tuple[str, str], tuple[str, int, bool]] = {}

    def before_call(
        self,
        *,
        active_s: float,
        worst: Usage = NOTHING,
        key: str | None = None,
        dependency: str | None = None,
        args_digest: str | None = None,
        observe: frozenset[str] = frozenset(),
    ) -> tuple[LimitExceeded, ...]:
        """Counts a step and reserves `worst`, or raises `LimitExceeded` and changes nothing.

        `active_s` are the run's active seconds so far. With `dependency` and `args_digest`, the call that would bring
        the same result once more than `limits.repeats` allows is refused too. The limits named in `observe` are not
        enforced: those that would have been passed are returned.
        """
        again = key is not None and key in self._reserved
        repeated = 0
        if dependency is not None and args_digest is not None and not again:
            streak = self._streaks.get((dependency, args_digest))
            repeated = streak[1] if streak is not None else 0
        passed = self._passed(active_s, worst, key if again else None, 0 if again else 1, repeated)
        for error in passed:
            if error.limit not in observe:
                raise error
        if not again:
            self.steps += 1
        if key is not None:
            if again:
                self._release(key)
            self._reserve(key, worst)
        return passed

    def before_attempt(
        self, *, key: str, worst: Usage, observe: frozenset[str] = frozenset()
    ) -> tuple[LimitExceeded, ...]:
        """Reserves `worst` for one more attempt of the call `key`, or raises `LimitExceeded` and changes nothing.

        `worst` is what the attempt can use at most, together with what the call has used up in its attempts so far: it
        takes the place of what `before_call` reserved. Only `tokens` and `usd` are looked at.
        """
        own = self._reserved.get(key, NOTHING)
        tokens = self.tokens + self._reserved_tokens - own.tokens + worst.tokens
        usd = self.usd + self._reserved_usd - own.usd + worst.usd
        passed = []
        if tokens > self.limits.tokens:
            passed.append(LimitExceeded("tokens", allowed=self.limits.tokens, needed=tokens))
        if usd > self.limits.usd + _SLACK:
            passed.append(LimitExceeded("usd", allowed=self.limits.usd, needed=usd))
        for error in passed:
            if error.limit not in observe:
                raise error
        self._release(key)
        self._reserve(key, worst)
        return tuple(passed)

    def settled(self, usage: Usage | None, *, key: str | None = None) -> None:
        """A call is over and used `usage` (None: nothing). Its reservation is given back."""
        if key is not None:
            self._release(key)
        if usage is not None:
            self.tokens += usage.input_tokens + usage.output_tokens
            self.usd += usage.usd

    def repeated(self, dependency: str, args_digest: str, result_digest: str, *, effect: Effect = Effect.READ) -> int:
        """Counts a tool call's result: how often in a row this very call has now brought it, from 1.

        In a row means between the calls with these arguments, whatever else was called in between, so that a cycle is
        counted as well. A result that differs starts anew (polling is no loop), and so do the reads after anything
        but a read: looking again after a change is no loop either.
        """
        is_read = effect is Effect.READ
        if not is_read:
            self._streaks = {call: streak for call, streak in self._streaks.items() if not streak[2]}
        call = (dependency, args_digest)
        before = self._streaks.get(call)
        count = before[1] + 1 if before is not None and before[0] == result_digest else 1
        self._streaks[call] = (result_digest, count, is_read)
        return count

    def worst_case(self, model: Model, input_tokens: int) -> Usage:
        """What a call of `model` with `input_tokens` can use at most. What is no model's answer uses nothing."""
        if not model.is_model:
            return NOTHING
        most = model.max_output_tokens
        return Usage(input_tokens=input_tokens, output_tokens=most, usd=self.cost(model, input_tokens, most))

    def cost(self, model: Model, input_tokens: int, output_tokens: int) -> float:
        """US dollars for so many tokens at the price of `model`: the contract's, or else the table's."""
        price = price_of(model)
        return 0.0 if price is None else price.usd(input_tokens, output_tokens)

    def _passed(
        self, active_s: float, worst: Usage, key: str | None, step: int, repeated: int
    ) -> tuple[LimitExceeded, ...]:
        """The limits that would be passed. `key` is the call's where it has a reservation, which `worst` replaces."""
        limits = self.limits
        steps = self.steps + step
        tokens = self.tokens + self._reserved_tokens + worst.input_tokens + worst.output_tokens
        usd = self.usd + self._reserved_usd + worst.usd
        if key is not None:
            own = self._reserved[key]
            tokens -= own.tokens
            usd -= own.usd
        if (
            steps <= limits.steps
            and active_s < limits.seconds
            and tokens <= limits.tokens
            and usd <= limits.usd + _SLACK
            and repeated < limits.repeats
        ):
            return ()
        passed = []
        if steps > limits.steps:
            passed.append(LimitExceeded("steps", allowed=limits.steps, needed=steps))
        if active_s >= limits.seconds:
            passed.append(LimitExceeded("seconds", allowed=limits.seconds, needed=active_s))
        if tokens > limits.tokens:
            passed.append(LimitExceeded("tokens", allowed=limits.tokens, needed=tokens))
        if usd > limits.usd + _SLACK:
            passed.append(LimitExceeded("usd", allowed=limits.usd, needed=usd))
        if repeated >= limits.repeats:
            passed.append(LimitExceeded("repeats", allowed=limits.repeats, needed=repeated + 1))
        return tuple(passed)

    def _reserve(self, key: str, worst: Usage) -> None:
        self._reserved[key] = worst
        if worst is not NOTHING:
            self._reserved_tokens += worst.tokens
            self._reserved_usd += worst.usd

    def _release(self, key: str) -> None:
        before = self._reserved.pop(key, None)
        if before is not None and before is not NOTHING:
            self._reserved_tokens -= before.tokens
            # Once nothing is under way nothing is reserved: float residue does not pile up.
            self._reserved_usd = self._reserved_usd - before.usd if self._reserved else 0.0


def add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """Two attempts' consumption together; None where neither consumed anything."""
    if one is None or other is None:
        return one or other
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        usd=one.usd + other.usd,
    )
