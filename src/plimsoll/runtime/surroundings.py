"""The surroundings of a process: everything that a harness takes from outside and that the gate replaces."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from plimsoll.core.clock import Clock, SystemClock
from plimsoll.core.ids import Ids, RandomIds
from plimsoll.core.rng import Rng, system_rng
from plimsoll.journal.checkpointing import Checkpointer
from plimsoll.journal.store import Store
from plimsoll.observability.findings import AlertSink, LogSink
from plimsoll.observability.listening import Telemetry
from plimsoll.runtime.exchange import Interceptor, NoInterceptor
from plimsoll.runtime.underway import UnderWay

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where a process lives: its journal's store, its clocks, its sources of chance, its alert sinks.

    `owner` names the process in the journal. The defaults are the machine's own; the gate puts simulated ones in their
    place and an `interceptor` that injects faults.
    """

    store: Store
    owner: str
    clock: Clock = field(default_factory=SystemClock)
    rng: Rng = field(default_factory=system_rng)
    ids: Ids = field(default_factory=RandomIds)
    sinks: Sequence[AlertSink] = (LogSink(),)
    interceptor: Interceptor = field(default_factory=NoInterceptor)
    telemetry: Telemetry | None = None
    """Who is told what runs do, as they do it; None: nobody is, and it costs nothing."""
    checkpointer: Checkpointer | None = None
    """Who makes the journal's checkpoints as its events become durable; None: nobody does."""
    active: set[str] = field(default_factory=set, init=False)
    """The runs that some harness in these surroundings is advancing now."""
    left: dict[str, float] = field(default_factory=dict, init=False)
    """The runs that this process has let go of in the middle without writing so, by the first of their chain, and the
    active seconds that they have used up."""
    under_way: UnderWay = field(default_factory=UnderWay, init=False)
    """What outlived its attempt, and is still running in this process."""
    reported: dict[str, bytes] = field(default_factory=dict, init=False)
    """What this process last said of itself, by agent, as JSON: parent and children share its name in the store."""
