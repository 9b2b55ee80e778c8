"""The journal in memory: for the simulator and for tests. It ends with the process."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType

from msgspec.structs import replace

from plimsoll.core.canonical import canonical_json, parse_json
from plimsoll.core.events import Record
from plimsoll.journal.chain import admit, check_expected, follow, word_to_parent
from plimsoll.journal.codec import Encode, encode
from plimsoll.journal.store import Halt, InboxEntry, RunHead, RunState
from plimsoll.journal.waking import Waking

__all__ = ["MemoryStore"]


class MemoryStore:
    """A `Store` that keeps everything in this process. Several owners may share one, as processes share a database.

    An owner lives from its first claim until `kill_owner`. `close` forgets nothing, so that a restart can be played.
    """

    __slots__ = ("_halts", "_heads", "_inbox", "_owners", "_posted", "_records", "_request_ids", "_waking", "inline")

    def __init__(self) -> None:
        self.inline = True
        self._records: dict[str, list[Record]] = {}
        self._heads: dict[str, RunHead] = {}
        self._inbox: dict[str, list[InboxEntry]] = {}
        self._request_ids: set[str] = set()
        self._posted = 0
        self._waking = Waking()
        self._halts: Mapping[str, Halt] = MappingProxyType({})
        self._owners: set[str] = set()

    async def append(self, records: Sequence[Record]) -> frozenset[str]:
        by_run: dict[str, list[Record]] = {}
        for record in records:
            by_run.setdefault(record.run_id, []).append(record)
        return frozenset([run_id for run_id, group in by_run.items() if not self._add(run_id, group)])

    def _add(self, run_id: str, group: list[Record]) -> bool:
        head = self._heads.get(run_id)
        if head is None:
            return False
        stored = self._records[run_id]
        fresh = admit(head, group, known=lambda seq: stored[seq - 1].digest if seq > 0 else None)
        if fresh is None:
            return False
        if fresh:
            self._keep(after := follow(head, fresh))
            stored.extend(fresh)
            word = word_to_parent(head, after)
            if word is not None:
                self._post(word)
        return True

    def _keep(self, head: RunHead) -> None:
        self._heads[head.run_id] = head
        self._waking.keep(head)

    async def claim(self, run_id: str, *, owner: str, at: float, expected: int | None = None) -> RunHead:
        head = self._heads.get(run_id)
        check_expected(run_id, expected, 0 if head is None else head.epoch)
        if head is None:
            self._records[run_id] = []
            sent = self._inbox.get(run_id)
            posted = sent[-1].position if sent else 0
            head = RunHead(run_id=run_id, epoch=1, owner=owner, started_at=at, updated_at=at, posted=posted)
        else:
            head = replace(head, epoch=head.epoch + 1, owner=owner, updated_at=at)
        self._owners.add(owner)
        self._keep(head)
        return head

    def encoder(self, run_id: str) -> Encode:
        return encode

    async def read(self, run_id: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
        return self._records.get(run_id, [])[after : None if limit is None else after + limit]

    async def head(self, run_id: str) -> RunHead | None:
        return self._heads.get(run_id)

    async def heads(
        self, *, state: RunState | None = None, session: str | None = None, limit: int | None = None
    ) -> list[RunHead]:
        newest_claim_first = reversed(self._heads.values())
        found = [head for head in newest_claim_first if state is None or head.state is state]
        found = [head for head in found if session is None or head.session == session]
        found.sort(key=lambda head: -head.started_at)
        return found[:limit]

    async def due(
        self, *, agent: str, fingerprint: str, owner: str, now: float, limit: int | None = None
    ) -> list[RunHead]:
        def may_go_on() -> Iterator[RunHead]:
            for head in self._waking.at(now, fingerprint=fingerprint):
                lives = head.state is RunState.RUNNING and head.owner != owner and self.owner_alive(head.owner)
                if head.agent == agent and not lives:
                    yield head

        return list(islice(may_go_on(), limit))

    def owner_alive(self, owner: str) -> bool:
        return owner in self._owners

    def kill_owner(self, owner: str) -> None:
        """Plays the death of the process that claims runs as `owner`."""
        self._owners.discard(owner)

    async def post(self, entry: InboxEntry) -> bool:
        return self._post(entry)

    def _post(self, entry: InboxEntry) -> bool:
        if entry.request_id in self._request_ids:
            return False
        body = parse_json(canonical_json(entry.body))
        self._request_ids.add(entry.request_id)
        self._posted += 1
        self._inbox.setdefault(entry.run_id, []).append(replace(entry, body=body, position=self._posted))
        head = self._heads.get(entry.run_id)
        if head is not None:
            self._keep(replace(head, posted=self._posted))
        return True

    async def inbox(self, run_id: str, *, after: int = 0) -> list[InboxEntry]:
        return [entry for entry in self._inbox.get(run_id, ()) if entry.position > after]

    def posted(self) -> int:
        return self._posted

    async def engage(self, halt: Halt) -> None:
        self._halts = MappingProxyType({**self._halts, halt.scope: halt})

    async def release(self, scope: str) -> bool:
        left = {name: halt for name, halt in self._halts.items() if name != scope}
        engaged = len(left) < len(self._halts)
        self._halts = MappingProxyType(left)
        return engaged

    def halts(self) -> Mapping[str, Halt]:
        return self._halts

    async def close(self) -> None:
        pass
