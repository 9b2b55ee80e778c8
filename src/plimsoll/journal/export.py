"""Exports: runs in a file that shows by itself that they are as they were written.

JSON lines, in UTF-8. The first says what is in the file; then come all checkpoints, and for each run its head, the
proof that a checkpoint covers it, and its events; the last seals the file by a digest of all lines before it:

    {"type":"export", "format":1, "at":…, "runs":[…], "decrypted":false}
    {"type":"checkpoint", "body":{…}, "signature":"…"}
    {"type":"run", "head":{…}, "covered":{"checkpoint":2, "seq":9, "place":0, "proof":["…"]}}
    {"type":"event", "seq":1, "epoch":1, "at":…, "body":"…", "digest":"…", "event":{…}}
    {"type":"end", "lines":14, "digest":"…"}

Bytes stand in base64. `body` is what the chain covers; `event` is what can be read in it.
"""

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256

import msgspec

from plimsoll.core.errors import UnknownRun
from plimsoll.journal.checkpoints import Checkpoint, parse_checkpoint
from plimsoll.journal.codec import RunKey, opened, readable
from plimsoll.journal.evidence import EvidenceStore
from plimsoll.journal.merkle import inclusion_proof
from plimsoll.journal.store import RunHead

__all__ = [
    "FORMAT",
    "CheckpointLine",
    "Covered",
    "EndLine",
    "EventLine",
    "ExportLine",
    "Line",
    "RunLine",
    "export_lines",
    "shown",
    "written",
]

FORMAT = 1


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    pass


class ExportLine(_Line, frozen=True, kw_only=True, tag="export"):
    """What the file holds. `at` is when it was made, in wall-clock seconds."""

    format: int
    at: float
    runs: tuple[str, ...]
    decrypted: bool


class CheckpointLine(_Line, frozen=True, kw_only=True, tag="checkpoint"):
    """A checkpoint of the journal."""

    body: msgspec.Raw
    signature: bytes

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint itself. Raises `ValueError`."""
        return parse_checkpoint(bytes(self.body), self.signature)


class Covered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which checkpoint covers a run, up to which event, and the proof: the leaf's place in its tree and the way up."""

    checkpoint: int
    seq: int
    place: int
    proof: tuple[bytes, ...]


class RunLine(_Line, frozen=True, kw_only=True, tag="run"):
    """A run, whose events follow. `key` is its key, where the file was made to be read by whoever gets it."""

    head: RunHead
    covered: Covered | None
    key: bytes | None = None


class EventLine(_Line, frozen=True, kw_only=True, tag="event"):
    """An event. `event` is the JSON in its body, without what is sealed there, unless the run's `key` is given."""

    seq: int
    epoch: int
    at: float
    body: bytes
    digest: bytes
    event: msgspec.Raw


class EndLine(_Line, frozen=True, kw_only=True, tag="end"):
    """The last line. `lines` counts those before it, and `digest` is SHA-256 over them."""

    lines: int
    digest: bytes


Line = ExportLine | CheckpointLine | RunLine | EventLine | EndLine


async def export_lines(
    store: EvidenceStore, run_ids: Sequence[str], *, at: float, decrypt: bool = False
) -> AsyncIterator[bytes]:
    """The lines of an export of these runs, each with its newline.

    `decrypt` hands over the keys of encrypted runs, and shows what they open. Raises `UnknownRun`, `KeyMissing`, and
    `JournalCorrupt` for what cannot be read.
    """
    count, digest = 0, sha256()
    async for line in _lines(store, run_ids, at=at, decrypt=decrypt):
        whole = written(line)
        count += 1
        digest.update(whole)
        yield whole
    yield written(EndLine(lines=count, digest=digest.digest()))


def written(line: Line) -> bytes:
    """The line as it stands in the file, with its newline."""
    return msgspec.json.encode(line) + b"\n"


async def _lines(store: EvidenceStore, run_ids: Sequence[str], *, at: float, decrypt: bool) -> AsyncIterator[Line]:
    checkpoints = await store.checkpoints()
    yield ExportLine(format=FORMAT, at=at, runs=tuple(run_ids), decrypted=decrypt)
    for checkpoint in checkpoints:
        yield CheckpointLine(body=msgspec.Raw(checkpoint.body), signature=checkpoint.signature)
    covered = await _covered(store, checkpoints, frozenset(run_ids))
    for run_id in run_ids:
        head, records = await store.head(run_id), await store.read(run_id)
        if head is None:
            raise UnknownRun(run_id)
        key = await store.run_key(run_id) if decrypt and head.erased_at is None else None
        yield RunLine(head=head, covered=covered.get(run_id), key=None if key is None else key.secret)
        for record in records[: head.seq]:
            yield EventLine(
                seq=record.seq,
                epoch=record.epoch,
                at=record.at,
                body=record.body,
                digest=record.digest,
                event=msgspec.Raw(shown(record.body, key)),
            )


def shown(body: bytes, key: RunKey | None) -> bytes:
    """What an export shows of a body: what the key opens, or without one what anybody may read. Raises `Unreadable`."""
    return readable(body) if key is None else opened(body, key) or body


async def _covered(
    store: EvidenceStore, checkpoints: Sequence[Checkpoint], run_ids: frozenset[str]
) -> dict[str, Covered]:
    """The latest checkpoint that covers each of the runs, with the proof."""
    latest: dict[str, tuple[int, int, int]] = {}
    for checkpoint in checkpoints:
        for place, leaf in enumerate(await store.leaves(checkpoint.number)):
            if leaf.run_id in run_ids:
                latest[leaf.run_id] = (checkpoint.number, place, leaf.seq)
    covered = {}
    for number in sorted({number for number, _, _ in latest.values()}):
        encoded = [leaf.encoded for leaf in await store.leaves(number)]
        for run_id, (among, place, seq) in latest.items():
            if among == number:
                proof = tuple(inclusion_proof(encoded, place))
                covered[run_id] = Covered(checkpoint=number, seq=seq, place=place, proof=proof)
    return covered
