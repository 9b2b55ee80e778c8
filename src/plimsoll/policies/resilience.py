"""All policies around any async function, without a contract, a journal or a run:

    retry → hedge → circuit breaker → rate limit → bulkhead → timeout → the function → output check, or else a fallback

>>> ask = ResiliencePipeline("search", retry=RetryPolicy(on=(Fault.CONNECTION,)), hedge=Hedge(), timeout_s=2.0)
>>> answer = await ask.call(search, "laminated maps")
"""

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, wraps
from inspect import isawaitable
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar

from plimsoll.core.calls import Fault
from plimsoll.core.clock import Clock, SystemClock
from plimsoll.core.criticality import current_criticality
from plimsoll.core.errors import CallTimeout, Misuse, OutputRejected, Rejected
from plimsoll.core.rng import Rng, system_rng
from plimsoll.policies.admission import Admission, Protected
from plimsoll.policies.bulkhead import Bulkhead
from plimsoll.policies.circuit_breaker import CircuitBreaker, CircuitChanged
from plimsoll.policies.classify import classify
from plimsoll.policies.hedge import Hedge, HedgeBook
from plimsoll.policies.output_check import OutputProblem
from plimsoll.policies.race import Race
from plimsoll.policies.rate_limit import RateLimit
from plimsoll.policies.retry import RetryBudget, RetryPolicy
from plimsoll.policies.timeout import Expired, within

__all__ = ["ResiliencePipeline"]

P = ParamSpec("P")
T = TypeVar("T")


class ResiliencePipeline:
    """The policies of one dependency, and their state: make one for each, and share it among all who call that.

    Each policy may be left out. `timeout_s` is of one attempt, in seconds. `check` says what is wrong with an answer,
    which counts as a failure then. Where a call failed for good, `fallback` is called with the same arguments, and its
    answer is taken: another provider, with a pipeline and a fallback of its own, or an honest fixed text. A fallback,
    and a `hedge`, which sends what is late a second time, are only for what changes nothing. Where the `rate_limit` is
    of tokens, `tokens` says how many a call takes, by its arguments. The `budget` is that of retries. `on_change` is
    told how the circuit changes. What matters least is shed first by the `bulkhead`: see `plimsoll.core.criticality`.
    Raises `Misuse` for values that make no sense.
    """

    def __init__(
        self,
        dependency: str,
        *,
        retry: RetryPolicy | None = None,
        hedge: Hedge | None = None,
        circuit_breaker: CircuitBreaker | None = None,
        rate_limit: RateLimit | None = None,
        bulkhead: Bulkhead | None = None,
        timeout_s: float | None = None,
        check: Callable[[Any], OutputProblem | None] | None = None,
        fallback: Callable[..., Awaitable[Any]] | None = None,
        tokens: Callable[..., int] | None = None,
        budget: RetryBudget | None = None,
        clock: Clock | None = None,
        rng: Rng | None = None,
        on_change: Callable[[CircuitChanged], None] | None = None,
    ) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise Misuse(f"timeout_s is {timeout_s!r}; it is a positive number of seconds, or None")
        if rate_limit is not None and rate_limit.tokens_per_minute is not None and tokens is None:
            raise Misuse(
                "rate_limit.tokens_per_minute limits nothing where nobody says how many a call takes: set tokens"
            )
        self.dependency = dependency
        self._retry = retry
        self._clock = clock or SystemClock()
        self._rng = rng or system_rng()
        self._timeout_s = timeout_s
        self._check = check
        self._fallback = fallback
        self._tokens = tokens
        self._budget = budget or RetryBudget()
        self.hedging = None if hedge is None else HedgeBook(hedge)
        protected = Protected(circuit_breaker=circuit_breaker, rate_limit=rate_limit, bulkhead=bulkhead)
        self.admission = Admission(protected, dependency=dependency, clock=self._clock, on_change=on_change)

    def __call__(self, function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """As a decorator: the function, called through the policies."""

        @wraps(function)
        async def protected(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.call(function, *args, **kwargs)

        return protected

    async def call(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` answers, or else its fallback. Raises what that raises; without one, the last attempt's own
        error, `CallTimeout` or `OutputRejected` where that failed, and `CircuitOpen`, `RateLimited` or `Shed` where
        nothing was sent; and `Misuse` for what is not async."""
        send = partial(function, *args, **kwargs)
        tokens = 0 if self._tokens is None else self._tokens(*args, **kwargs)
        number = 0
        while True:
            number += 1
            try:
                answer = await self._hedged(send, tokens)
            except Misuse:
                raise
            except Exception as error:
                delay_s = self._delay_s(number, error)
                if delay_s is None:
                    if self._fallback is None:
                        raise
                    instead: T = await _coroutine(self._fallback(*args, **kwargs), of=self.dependency)
                    return instead
            else:
                self._budget.succeeded()
                return answer
            await self._clock.sleep(delay_s)

    def _delay_s(self, number: int, error: Exception) -> float | None:
        """Seconds until the next attempt, after attempt `number` failed; None where there is none."""
        record = classify(error, now=self._clock.now())
        if not isinstance(error, Rejected) and record.fault is not Fault.CLIENT_ERROR:  # not sent; our own mistake
            self._budget.failed()
        if self._retry is None or not self._retry.retries(record.fault, number) or not self._budget.allows():
            return None
        return self._retry.delay_s(number, rng=self._rng, retry_after_s=record.retry_after_s)

    async def _hedged(self, send: Callable[[], Coroutine[Any, Any, T]], tokens: int) -> T:
        hedging = self.hedging
        if hedging is None:
            return await self._attempt(send, tokens)
        began_s = self._clock.monotonic()
        after_s = hedging.begin()
        if after_s is None:
            answer = await self._attempt(send, tokens)
        else:
            race: Race[T] = Race(lambda race: self._spare(hedging, send, tokens))
            answer = await race.run(self._attempt(send, tokens), after_s=after_s)
        hedging.observe(self._clock.monotonic() - began_s)
        return answer

    def _spare(
        self, hedging: HedgeBook, send: Callable[[], Coroutine[Any, Any, T]], tokens: int
    ) -> Coroutine[Any, Any, T] | None:
        return self._attempt(send, tokens) if self.admission.is_free and hedging.spend() else None

    async def _attempt(self, send: Callable[[], Coroutine[Any, Any, T]], tokens: int) -> T:
        admitted = await self.admission.enter(criticality=current_criticality(), tokens=tokens)
        began_s = self._clock.monotonic()
        try:
            answer: T = await within(self._timeout_s, _coroutine(send(), of=self.dependency))
            problem = None if self._check is None else self._check(answer)
            if problem is not None:
                raise OutputRejected(self.dependency, fault=problem.fault, detail=problem.detail)
        except Misuse:
            admitted.cancelled()
            raise
        except Expired as error:
            timed_out = CallTimeout(self.dependency, timeout_s=self._timeout_s or 0.0)
            admitted.failed(classify(timed_out).fault, self._clock.monotonic() - began_s)
            raise timed_out from error
        except Exception as error:
            admitted.failed(classify(error).fault, self._clock.monotonic() - began_s)
            raise
        except BaseException:
            admitted.cancelled()
            raise
        admitted.succeeded(self._clock.monotonic() - began_s)
        return answer


def _coroutine(work: Any, *, of: str) -> Coroutine[Any, Any, Any]:
    """What a function returned, as a coroutine. Raises `Misuse` where it cannot be awaited."""
    if isinstance(work, CoroutineType):
        return work
    if not isawaitable(work):
        what = f"an async function is to be called, and this one returned a {type(work).__name__}"
        raise Misuse(f"{of} was not protected: {what}")
    return _awaited(work)


async def _awaited(work: Awaitable[T]) -> T:
    return await work
