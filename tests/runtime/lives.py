"""The lives of one process: whoever tests crashes begins one after the other, over a store that survives them all."""

from typing import Any

from plimsoll.core.clock import Clock, LoopClock
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.journal.memory import MemoryStore
from plimsoll.observability.findings import MemorySink
from plimsoll.runtime.exchange import NoInterceptor
from plimsoll.runtime.surroundings import Surroundings


class Lives:
    """A store, whoever is alerted, and as many lives of the process as a test wants."""

    def __init__(self, *, intercept: Any = None, clock: Clock | None = None) -> None:
        self.store: Any = MemoryStore()
        self.sink = MemorySink()
        self.intercept = intercept
        self.clock = clock
        self.lives = 0

    def surroundings(self, store: Any = None) -> Surroundings:
        """Those of a new life of the process; those before it are dead."""
        self.store.kill_owner(f"life-{self.lives}")
        self.lives += 1
        return Surroundings(
            store=store or self.store,
            owner=f"life-{self.lives}",
            clock=self.clock or LoopClock(),
            rng=seeded_rng(self.lives),
            ids=SequentialIds(),
            sinks=(self.sink,),
            interceptor=self.intercept or NoInterceptor(),
        )

    def kinds(self) -> list[tuple[str, str | None, str | None]]:
        """What was alerted: kind, dependency, fault."""
        return [(finding.kind, finding.dependency, finding.fault) for _, _, finding in self.sink.entries]
