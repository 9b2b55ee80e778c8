"""The journal's store as one life of the process has it: it may die at an append, and the disk may fail."""

from collections.abc import Mapping, Sequence

from plimsoll.core.errors import JournalUnavailable
from plimsoll.core.events import Record
from plimsoll.gate.fault_kinds import How
from plimsoll.gate.scene import Life, Planned, Scene
from plimsoll.journal.codec import Encode
from plimsoll.journal.spending import Drawn, Most, Spend
from plimsoll.journal.store import Halt, InboxEntry, Outside, RunHead, RunState

__all__ = ["CrashingStore"]

_OUTAGE_TIMES_PATIENCE = 4.0


class CrashingStore:
    """A `Store` over the trial's own, for one life. Every write to the disk is a site, `append@n` from 1."""

    __slots__ = ("_inner", "_life", "_scene", "inline")

    def __init__(self, scene: Scene, life: Life) -> None:
        self.inline = True
        self._scene = scene
        self._inner = scene.store
        self._life = life

    async def append(self, records: Sequence[Record]) -> frozenset[str]:
        scene = self._scene
        self._life.check()
        self._check_disk()
        scene.batches.append(len(records))
        planned = scene.by_append.get(len(scene.batches))
        if planned is not None and planned.fired_s is None:
            await self._struck(planned, records)
        return await self._inner.append(records)

    async def _struck(self, planned: Planned, records: Sequence[Record]) -> None:
        """Fails, or dies, as planned; returns where the fault cannot strike here."""
        if planned.kind.how is How.OUTAGE:
            self._scene.fire(planned)
            self._scene.batches.pop()  # the same append is made again when the disk is back
            self._break_disk(planned)
        kept = self._kept(planned, len(records))
        if kept is None:
            return
        self._scene.fire(planned)
        if kept:
            await self._inner.append(records[:kept])
        raise self._life.end("the process was killed while it wrote its journal")

    def _kept(self, planned: Planned, count: int) -> int | None:
        """How many of the un-synced events survive; None where that variant makes no sense."""
        match planned.injection.variant:
            case "all":
                return count
            case "prefix":
                return 1 + int(self._scene.rng.random() * (count - 1)) if count > 1 else None
            case _:
                return 0

    def _break_disk(self, planned: Planned) -> None:
        patience_s = self._scene.stage.contract.journal.patience_s
        blip = planned.kind.seconds < 1
        lasts_s = (
            planned.kind.seconds * patience_s
            if blip
            else max(planned.kind.seconds, _OUTAGE_TIMES_PATIENCE * patience_s)
        )
        self._scene.outage_until_s = self._scene.clock.monotonic() + lasts_s
        self._check_disk()

    def _check_disk(self) -> None:
        if self._scene.outage_until_s > self._scene.clock.monotonic():
            raise JournalUnavailable("no space left on device")

    async def begin(self, run_id: str, *, owner: str, at: float) -> RunHead:
        self._life.check()
        self._check_disk()
        return await self._inner.begin(run_id, owner=owner, at=at)

    async def claim(self, run_id: str, *, owner: str, at: float, expected: int | None = None) -> RunHead:
        self._life.check()
        self._check_disk()
        return await self._inner.claim(run_id, owner=owner, at=at, expected=expected)

    def encoder(self, run_id: str) -> Encode:
        return self._inner.encoder(run_id)

    async def read(self, run_id: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
        self._life.check()
        return await self._inner.read(run_id, after=after, limit=limit)

    async def head(self, run_id: str) -> RunHead | None:
        self._life.check()
        return await self._inner.head(run_id)

    async def heads(
        self, *, state: RunState | None = None, session: str | None = None, limit: int | None = None
    ) -> list[RunHead]:
        self._life.check()
        return await self._inner.heads(state=state, session=session, limit=limit)

    async def asking(self) -> list[RunHead]:
        self._life.check()
        return await self._inner.asking()

    async def due(
        self, *, agent: str, fingerprint: str, owner: str, now: float, limit: int | None = None
    ) -> list[RunHead]:
        self._life.check()
        return await self._inner.due(agent=agent, fingerprint=fingerprint, owner=owner, now=now, limit=limit)

    def report(self, owner: str, body: bytes) -> None:
        self._inner.report(owner, body)

    def reports(self) -> Mapping[str, bytes]:
        return self._inner.reports()

    def owner_alive(self, owner: str) -> bool:
        return self._inner.owner_alive(owner)

    async def post(self, entry: InboxEntry, *, among: str | None = None) -> bool:
        self._life.check()
        self._check_disk()
        return await self._inner.post(entry, among=among)

    async def posted(self, request_id: str, *, among: str) -> InboxEntry | None:
        self._life.check()
        return await self._inner.posted(request_id, among=among)

    async def inbox(self, run_id: str, *, after: int = 0) -> list[InboxEntry]:
        self._life.check()
        return await self._inner.inbox(run_id, after=after)

    async def engage(self, halt: Halt) -> None:
        self._life.check()
        await self._inner.engage(halt)

    async def release(self, scope: str, *, by: str = "", at: float = 0.0) -> bool:
        self._life.check()
        return await self._inner.release(scope, by=by, at=at)

    def outside(self) -> Outside:
        return self._inner.outside()

    async def draw(
        self, account: str, day: int, *, owner: str, need: Spend, most: Most, may_pass: bool = False
    ) -> Drawn:
        self._life.check()
        self._check_disk()
        return await self._inner.draw(account, day, owner=owner, need=need, most=most, may_pass=may_pass)

    async def put_back(self, account: str, day: int, *, owner: str, unused: Spend) -> None:
        self._life.check()
        self._check_disk()
        await self._inner.put_back(account, day, owner=owner, unused=unused)

    async def drawn(self, account: str, day: int) -> Spend:
        return await self._inner.drawn(account, day)

    async def close(self) -> None:
        """Nothing: the store belongs to the trial and outlives the process."""
