"""Claimed but not done: an answer that says that something was done, while the journal holds no such effect."""

from collections.abc import Iterable, Sequence
from typing import Any

from plimsoll.contract.model import Contract, Mode
from plimsoll.core.calls import CallKind, Status
from plimsoll.core.events import CallSettled, DoubtRaised, DoubtResolved, Event, Finding, RunEnded
from plimsoll.core.guards import text_of
from plimsoll.observability.findings import claim_finding
from plimsoll.observability.wording import Wording

__all__ = ["ClaimDetector"]

_MAX_CHARS = 200_000
_MAX_OPEN = 1000


class ClaimDetector:
    """Holds a run's answer against its effects, by the phrases that the contract's `tools.NAME.claims` give.

    A phrase counts where the answer states it: not in a question, not denied, not only promised or conditional. Tools
    that share a phrase are all cleared by one of them being done. Done is a call that settled as ok, or a doubt that
    was resolved as happened; what a child did, and what `did` says was done before this run, counts too.
    """

    reads: frozenset[type[Any]] = frozenset({CallSettled, DoubtRaised, DoubtResolved, RunEnded})

    def __init__(self, contract: Contract, *, did: Iterable[str] = ()) -> None:
        self._observed = contract.protections.silent_failures is Mode.OBSERVE
        self._tools_of: dict[str, tuple[str, ...]] = {}
        for name, tool in contract.tools.items():
            for phrase in tool.claims:
                self._tools_of[phrase] = (*self._tools_of.get(phrase, ()), name)
        self._wordings = [(Wording(phrase), tools) for phrase, tools in self._tools_of.items()]
        self._done: set[str] = set(did)
        self._doubts: dict[str, str] = {}

    def observe(self, event: Event, *, at: float) -> Sequence[Finding]:
        if isinstance(event, CallSettled):
            if event.outcome.status is Status.OK:
                self._done.add(event.dependency)
            if event.kind is CallKind.RUN and isinstance(event.outcome.value, dict):
                self._done.update(event.outcome.value.get("did", ()))
        elif isinstance(event, DoubtRaised):
            self._doubts[event.key] = event.dependency
            if len(self._doubts) > _MAX_OPEN:
                del self._doubts[next(iter(self._doubts))]
        elif isinstance(event, DoubtResolved):
            dependency = self._doubts.get(event.key)
            if event.answer == "happened" and dependency is not None:
                self._done.add(dependency)
        elif isinstance(event, RunEnded):
            undone = self.undone_in(event.output)
            if undone:
                return (claim_finding(undone, observed=self._observed),)
        return ()

    def restore(self, event: Event) -> None:
        self.observe(event, at=0.0)

    @property
    def done(self) -> tuple[str, ...]:
        """The dependencies whose effect was brought about so far, by name."""
        return tuple(sorted(self._done))

    def undone_in(self, output: Any) -> list[str]:
        """The tools whose effect `output` claims although it was not brought about so far, in the contract's order.

        Of an output that is no text (JSON, as Python's own types), every text in it is read, keys aside.
        """
        text = text_of(output, keys=False)[:_MAX_CHARS]
        undone: dict[str, None] = {}
        for wording, tools in self._wordings:
            if self._done.isdisjoint(tools) and wording.is_stated_in(text):
                undone.update(dict.fromkeys(tools))
        return list(undone)
