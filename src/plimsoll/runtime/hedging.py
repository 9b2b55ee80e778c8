"""Hedging an attempt: where it is late, it is made a second time beside itself, and the first good answer is taken."""

from collections.abc import Coroutine
from functools import partial
from typing import Any

from msgspec.structs import replace

from plimsoll.contract.model import Mode
from plimsoll.core.calls import Effect, Fault, Usage
from plimsoll.policies.circuit_breaker import CircuitState
from plimsoll.policies.hedge import HedgeBook
from plimsoll.policies.limits import add_usage
from plimsoll.policies.race import Race
from plimsoll.runtime.attempts import Attempt, Footing, attempted, would
from plimsoll.runtime.status import report_if_due

__all__ = ["hedged"]


def hedged(footing: Footing, number: int, spent: Usage | None) -> Coroutine[Any, Any, Attempt]:
    """Attempt `number` at what the contract hedges, and the one after it where it is late. `spent` is what the call has
    used up before.

    Only what changes nothing is made twice. The attempt that is returned has the number of the last that was made, and
    tells what both have used up.
    """
    if footing.effect is not Effect.READ:
        return attempted(footing, number)
    book = footing.state.env.hedge_book(footing.site, is_shown=footing.key in footing.state.streams.relays)
    return _by(book, footing, number, spent)


async def _by(book: HedgeBook, footing: Footing, number: int, spent: Usage | None) -> Attempt:
    """As `hedged`, by what is known of the latencies."""
    env = footing.state.env
    began = env.clock.monotonic()
    after_s = book.begin()
    if after_s is None:
        tried = await attempted(footing, number)
        took_s = env.clock.monotonic() - began
    elif env.contract.protections.hedge is Mode.OBSERVE:
        tried = await attempted(footing, number)
        took_s = env.clock.monotonic() - began
        _note_late(footing, book, took_s if tried.first_s is None else tried.first_s, after_s)
    else:
        tried = await _Pair(footing, number, spent, book).raced(after_s)
        took_s = env.clock.monotonic() - began
    if tried.error is None:
        book.observe(took_s if tried.first_s is None else tried.first_s)
    report_if_due(env)
    return tried


def _note_late(footing: Footing, book: HedgeBook, took_s: float, after_s: float) -> None:
    if took_s > after_s and book.spend():
        words = f"it would have been asked a second time after {after_s:.3g} s"
        footing.state.raise_finding(would("hedge", footing.site, Fault.SLOW, words))


class _Pair:
    """Two attempts at the same, and what became of each."""

    def __init__(self, footing: Footing, number: int, spent: Usage | None, book: HedgeBook) -> None:
        self._footing = footing
        self._number = number
        self._spent = spent
        self._book = book
        self._ended: dict[bool, Attempt] = {}
        self._race: Race[Attempt] = Race(self._spare, is_failure=lambda tried: tried.error is not None)

    async def raced(self, after_s: float) -> Attempt:
        """What the faster brought; where both fail, what the first did."""
        began = self._footing.state.env.clock.monotonic()
        tried = await self._race.run(self._contend(False), after_s=after_s)
        if not self._race.has_spare:
            return tried
        spare_won = self._ended.get(True) is tried
        lost_s = self._footing.state.env.clock.monotonic() - began
        self._note_loser(not spare_won, lost_s if spare_won else lost_s - after_s)
        return replace(tried, number=self._number + 1, usage=add_usage(tried.usage, self._lost(not spare_won)))

    async def _contend(self, is_spare: bool) -> Attempt:
        lead = partial(self._race.lead, is_spare=is_spare)
        tried = await attempted(self._footing, self._number + is_spare, lead)
        self._ended[is_spare] = tried
        return tried

    def _spare(self, race: Race[Attempt]) -> Coroutine[Any, Any, Attempt] | None:
        """The second attempt, where it would be let through, its worst case fits the limits, and the cap is not met.

        Of a day's limits only what is in hand counts: nobody waits for a disk to be faster.
        """
        footing = self._footing
        admission = footing.state.env.admissions.get(footing.site)
        if admission is not None:
            circuit, compartment = admission.circuit, admission.compartment
            if circuit is not None and circuit.state is not CircuitState.CLOSED:
                return None
            if compartment is not None and compartment.is_full:
                return None
        first = add_usage(self._spent, footing.worst())
        if not self._book.may_spend or footing.barred(first) is not None:
            return None
        if not footing.fits_today(first):
            footing.barred(self._spent)  # as before: only the first is made
            return None
        self._book.spend()
        return self._contend(True)

    def _note_loser(self, is_spare: bool, duration_s: float) -> None:
        lost = self._ended.get(is_spare)
        number = self._number + is_spare
        if lost is None:
            self._footing.note(number, Fault.OUTRUN, "the other attempt answered first", duration_s)
        elif lost.error is not None:
            self._footing.note(number, lost.error.fault, lost.error.message, lost.duration_s)

    def _lost(self, is_spare: bool) -> Usage | None:
        """What the loser used up: what it says, or else, as far as anybody knows, its prompt."""
        lost = self._ended.get(is_spare)
        return self._footing.prompt() if lost is None else lost.usage
