"""The journal in memory: for the simulator and for tests. It ends with the process."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from itertools import islice
from types import MappingProxyType

from msgspec.structs import replace

from plimsoll.core.errors import Misuse, RunErased, UnknownRun
from plimsoll.core.events import GENESIS, Record
from plimsoll.journal.chain import admit, check_expected, follow, words_at_end
from plimsoll.journal.checkpoints import Checkpoint, Leaf, MakeCheckpoint
from plimsoll.journal.codec import Encode, RunKey, encoder
from plimsoll.journal.evidence import NO_RING, Damage, Erased, check_erasable
from plimsoll.journal.keys import KeyRing, RunReader, WrappedKey, open_key
from plimsoll.journal.messages import Message, message_link, opened_message, stored_id, stored_message
from plimsoll.journal.spending import DAYS_KEPT, Drawn, Most, Spend, share
from plimsoll.journal.store import Halt, InboxEntry, Outside, RunHead, RunState
from plimsoll.journal.trail import Act, ActKind, Mark, act_after
from plimsoll.journal.waking import Waking

__all__ = ["MemoryStore"]

_NOTHING_DONE = Outside(halts=MappingProxyType({}), posted=0)


class MemoryStore:
    """A `Store` that keeps everything in this process. Several owners may share one, as processes share a database.

    An owner lives from its first claim until `kill_owner`. `close` forgets nothing, so that a restart can be played.
    `keys` encrypts, as in any other store.
    """

    __slots__ = (
        "_acts",
        "_checkpoints",
        "_drawn",
        "_heads",
        "_inbox",
        "_inbox_mark",
        "_outside",
        "_owners",
        "_posted",
        "_records",
        "_reports",
        "_waking",
        "_wrapped",
        "inline",
        "keys",
    )  # fmt: skip

    def __init__(self, *, keys: KeyRing | None = None) -> None:
        self.inline = True
        self.keys = keys
        self._wrapped: dict[str, WrappedKey] = {}
        self._records: dict[str, list[Record]] = {}
        self._heads: dict[str, RunHead] = {}
        self._inbox: dict[str, list[tuple[int, Message]]] = {}
        self._inbox_mark = Mark()
        self._posted: dict[str, tuple[int, Message]] = {}
        self._waking = Waking()
        self._outside = _NOTHING_DONE
        self._owners: set[str] = set()
        self._reports: dict[str, bytes] = {}
        self._drawn: dict[tuple[str, int], dict[str, Spend]] = {}
        self._acts: list[Act] = []
        self._checkpoints: list[tuple[Checkpoint, list[Leaf]]] = []

    # ------------------------------------------------------------------------------------------------ runs and records

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
            stored.extend(record if record.opened is None else replace(record, opened=None) for record in fresh)
            for word in words_at_end(head, after, fresh[-1]):
                self._post(stored_message(word, None))
        return True

    def _keep(self, head: RunHead) -> None:
        self._heads[head.run_id] = head
        self._waking.keep(head)

    async def begin(self, run_id: str, *, owner: str, at: float) -> RunHead:
        return await self.claim(run_id, owner=owner, at=at, expected=0)

    async def claim(self, run_id: str, *, owner: str, at: float, expected: int | None = None) -> RunHead:
        head = self._heads.get(run_id)
        check_expected(run_id, expected, 0 if head is None else head.epoch)
        self._run_key(run_id)
        if head is None or head.seq == 0:
            self._give_key(run_id)
        if head is None:
            self._records[run_id] = []
            sent = self._inbox.get(run_id)
            posted = sent[-1][0] if sent else 0
            head = RunHead(run_id=run_id, epoch=1, owner=owner, started_at=at, updated_at=at, posted=posted)
        else:
            head = replace(head, epoch=head.epoch + 1, owner=owner, updated_at=at)
        self._owners.add(owner)
        self._keep(head)
        return head

    def _give_key(self, run_id: str) -> None:
        made = self.keys.make(run_id) if self.keys is not None else None
        if made is not None:
            self._wrapped.setdefault(run_id, made)

    def _run_key(self, run_id: str) -> RunKey | None:
        head = self._heads.get(run_id)
        if head is not None and head.erased_at is not None:
            raise RunErased(run_id)
        wrapped = self._wrapped.get(run_id)
        return None if wrapped is None else open_key(run_id, wrapped, self.keys)

    def encoder(self, run_id: str) -> Encode:
        return encoder(self._run_key(run_id))

    async def read(self, run_id: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
        reader = RunReader(run_id, self.keys, lambda: self._wrapped.get(run_id))
        records = self._records.get(run_id, [])[after : None if limit is None else after + limit]
        return [record if (json := reader(record.body)) is None else replace(record, opened=json) for record in records]

    async def head(self, run_id: str) -> RunHead | None:
        return self._heads.get(run_id)

    async def heads(
        self, *, state: RunState | None = None, session: str | None = None, limit: int | None = None
    ) -> list[RunHead]:
        may_be = self._heads if state in (None, RunState.ENDED) else self._waking.open
        newest_claim_first = reversed(may_be.values())
        found = [head for head in newest_claim_first if state is None or head.state is state]
        found = [head for head in found if session is None or head.session == session]
        found.sort(key=lambda head: -head.started_at)
        return found[:limit]

    async def asking(self) -> list[RunHead]:
        return sorted(self._waking.asking.values(), key=lambda head: (-head.started_at, head.run_id))

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

    def report(self, owner: str, body: bytes) -> None:
        self._reports[owner] = body

    def reports(self) -> Mapping[str, bytes]:
        return {owner: body for owner, body in self._reports.items() if owner in self._owners}

    # -------------------------------------------------------------------------------------------- inbox, kill switches

    async def post(self, entry: InboxEntry, *, among: str | None = None) -> bool:
        message = stored_message(entry, self._run_key(entry.run_id))
        if among is not None:
            with suppress(RunErased):
                message = replace(message, request_id=stored_id(entry.request_id, among, self._run_key(among)))
        return self._post(message)

    def _post(self, message: Message) -> bool:
        if message.request_id in self._posted:
            return False
        posted = self._inbox_mark.count + 1
        self._posted[message.request_id] = (posted, message)
        self._inbox_mark = Mark(count=posted, digest=message_link(self._inbox_mark.digest, posted, message))
        self._outside = replace(self._outside, posted=posted)
        self._inbox.setdefault(message.run_id, []).append((posted, message))
        head = self._heads.get(message.run_id)
        if head is not None:
            self._keep(replace(head, posted=posted))
        return True

    async def posted(self, request_id: str, *, among: str) -> InboxEntry | None:
        try:
            place, message = self._posted[stored_id(request_id, among, self._run_key(among))]
            return opened_message(message, place, self._run_key(message.run_id))
        except (KeyError, RunErased):
            return None

    async def inbox(self, run_id: str, *, after: int = 0) -> list[InboxEntry]:
        found = [(place, message) for place, message in self._inbox.get(run_id, ()) if place > after]
        head = self._heads.get(run_id)
        if not found or (head is not None and head.erased_at is not None):
            return []
        key = self._run_key(run_id)
        return [opened_message(message, place, key) for place, message in found]

    async def engage(self, halt: Halt) -> None:
        self._note(ActKind.ENGAGED, halt.scope, by=halt.by, reason=halt.reason, at=halt.at)
        halts = {**self._outside.halts, halt.scope: halt}
        self._outside = replace(self._outside, halts=MappingProxyType(halts))

    async def release(self, scope: str, *, by: str = "", at: float = 0.0) -> bool:
        if scope not in self._outside.halts:
            return False
        self._note(ActKind.RELEASED, scope, by=by, reason="", at=at)
        left = {name: halt for name, halt in self._outside.halts.items() if name != scope}
        self._outside = replace(self._outside, halts=MappingProxyType(left))
        return True

    def outside(self) -> Outside:
        return self._outside

    # ------------------------------------------------------------------------------------------------ limits of a day

    async def draw(
        self, account: str, day: int, *, owner: str, need: Spend, most: Most, may_pass: bool = False
    ) -> Drawn:
        before = await self.drawn(account, day)
        dealt = share(need, before=before, most=most, may_pass=may_pass)
        if dealt is not None:
            self._add_drawn(account, day, owner, dealt)
        return Drawn(dealt, before)

    async def put_back(self, account: str, day: int, *, owner: str, unused: Spend) -> None:
        self._add_drawn(account, day, owner, Spend().minus(unused))

    def _add_drawn(self, account: str, day: int, owner: str, amount: Spend) -> None:
        if (account, day) not in self._drawn:
            self._drawn = {key: of for key, of in self._drawn.items() if key[0] != account or key[1] >= day - DAYS_KEPT}
        of_day = self._drawn.setdefault((account, day), {})
        of_day[owner] = of_day.get(owner, Spend()).plus(amount)

    async def drawn(self, account: str, day: int) -> Spend:
        return reduce(Spend.plus, self._drawn.get((account, day), {}).values(), Spend())

    # -------------------------------------------------------------------------------------------------------- evidence

    def _note(self, act: ActKind, subject: str, *, by: str, reason: str, at: float) -> Act:
        made = act_after(self._acts_mark(), act, subject, by=by, reason=reason, at=at)
        self._acts.append(made)
        return made

    def _acts_mark(self) -> Mark:
        return Mark(count=len(self._acts), digest=self._acts[-1].digest) if self._acts else Mark()

    async def erase(self, run_id: str, *, by: str, reason: str, at: float) -> Erased:
        head = self._heads.get(run_id)
        if head is None:
            raise UnknownRun(run_id)
        if head.erased_at is not None:
            earlier = next(act for act in self._acts if act.act is ActKind.ERASED and act.subject == run_id)
            return Erased(act=earlier, wiped=True)
        check_erasable(head, encrypted=run_id in self._wrapped)
        del self._wrapped[run_id]
        self._keep(replace(head, erased_at=at))
        return Erased(act=self._note(ActKind.ERASED, run_id, by=by, reason=reason, at=at), wiped=True)

    async def rewrap(self, *, by: str, at: float) -> int:
        ring = self.keys
        if ring is None:
            raise Misuse(NO_RING)
        others = {run_id: key for run_id, key in self._wrapped.items() if key.master != ring.first}
        self._wrapped |= {run_id: ring.rewrap(run_id, key) for run_id, key in others.items()}
        self._note(ActKind.REKEYED, ring.first, by=by, reason=f"{len(others)} run keys", at=at)
        return len(others)

    async def acts(self) -> list[Act]:
        return list(self._acts)

    async def checkpoint(self, make: MakeCheckpoint) -> Checkpoint | None:
        previous = self._checkpoints[-1][0] if self._checkpoints else None
        covered = {leaf.run_id: leaf.seq for _, leaves in self._checkpoints for leaf in leaves}
        moved = [head for head in self._heads.values() if head.seq > covered.get(head.run_id, 0)]
        marks = (self._acts_mark(), self._inbox_mark)
        if not moved and marks == ((previous.acts, previous.inbox) if previous is not None else (Mark(), Mark())):
            return None
        leaves = [Leaf(head.run_id, head.seq, head.digest) for head in moved]
        made = make(previous, leaves, *marks)
        self._checkpoints.append((made, leaves))
        return made

    async def checkpoints(self) -> list[Checkpoint]:
        return [checkpoint for checkpoint, _ in self._checkpoints]

    async def leaves(self, number: int) -> list[Leaf]:
        return list(self._checkpoints[number - 1][1])

    async def run_key(self, run_id: str) -> RunKey | None:
        return self._run_key(run_id)

    async def run_ids(self) -> list[str]:
        return list(self._heads)

    async def inbox_digest(self, count: int) -> bytes | None:
        messages = sorted(each for run in self._inbox.values() for each in run)[:count]
        digest = GENESIS
        for position, message in messages:
            digest = message_link(digest, position, message)
        return digest if len(messages) == count else None

    async def damages(self) -> list[Damage]:
        return []

    async def close(self) -> None:
        pass
