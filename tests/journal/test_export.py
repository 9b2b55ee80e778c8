"""Exports: a file that shows by itself that its runs are as they were written."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plimsoll.core.errors import KeyMissing, Misuse, UnknownRun
from plimsoll.core.events import chain_digest
from plimsoll.journal import MemoryStore
from plimsoll.journal.audit import AuditReport
from plimsoll.journal.checkpoints import checkpoint_after
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.evidence import EvidenceStore
from plimsoll.journal.export import export_lines
from plimsoll.journal.export_audit import audit_export
from plimsoll.journal.signing import verify
from tests.journal.conftest import OpenStore
from tests.journal.helpers import ENDED, STARTED, in_loop, journal_on, run, value
from tests.journal.signing import OTHER_SIGNER, SIGNER

KEYS = MasterKeys([bytes(32)])


async def recorded(store: EvidenceStore, run_id: str, *events: Any) -> None:
    log = journal_on(store).open(await store.claim(run_id, owner="one", at=1.0))
    for event in events:
        log.append(event)
    await log.durable()


async def filled(store: EvidenceStore) -> None:
    """Sealed runs, one of which is erased, under two checkpoints, the second of which covers one of them again."""
    for run_id in ("a", "b", "c", "erased"):
        await recorded(store, run_id, STARTED, value("a secret"), value("large " * 2000))
    await store.checkpoint(checkpoint_after(SIGNER, at=5.0))
    for run_id in ("a", "erased"):
        await recorded(store, run_id, ENDED)
    await store.erase("erased", by="ann", reason="", at=6.0)
    await store.checkpoint(checkpoint_after(SIGNER, at=7.0))


async def exported(store: EvidenceStore, *run_ids: str, decrypt: bool = False) -> list[bytes]:
    return [line async for line in export_lines(store, run_ids, at=9.0, decrypt=decrypt)]


async def example(*run_ids: str, decrypt: bool = False) -> list[bytes]:
    store = MemoryStore(keys=KEYS)
    await filled(store)
    return await exported(store, *run_ids, decrypt=decrypt)


LINES = run(example("a", "b", "erased"))
DECRYPTED = run(example("a", "erased", decrypt=True))


def report_of(lines: list[bytes], **options: Any) -> AuditReport:
    return audit_export(lines, **{"verify": verify, "keys": {SIGNER.public}, **options})


def said(lines: list[bytes], **options: Any) -> list[str]:
    try:
        report = report_of(lines, **options)
    except Misuse as error:
        return [str(error)]
    return [f"{damage.run_id} {damage.seq} {damage.what}" for damage in report.damages]


# ------------------------------------------------------------------------------------------------------ what is told


@in_loop
async def test_an_export_verifies_by_itself(open_store: OpenStore) -> None:
    store = open_store("one", keys=KEYS)
    await filled(store)
    lines = await exported(store, "a", "c", "erased")
    await store.close()
    report = report_of(lines)
    assert report.damages == []
    assert (report.runs, report.erased, report.events, report.covered, report.checkpoints) == (3, 1, 11, 11, 2)
    assert b"secret" not in b"".join(lines)
    assert report_of(lines, verify=None, keys=()).damages == []


def test_every_line_is_json_that_says_what_it_is() -> None:
    kinds = [json.loads(line)["type"] for line in LINES]
    assert kinds[:3] == ["export", "checkpoint", "checkpoint"]
    assert kinds[3:] == [*["run", *["event"] * 4], *["run", *["event"] * 3], *["run", *["event"] * 4], "end"]
    first, event = json.loads(LINES[0]), json.loads(LINES[4])
    assert first == {"type": "export", "format": 1, "at": 9.0, "runs": ["a", "b", "erased"], "decrypted": False}
    assert event["event"] == {"type": "run_started", "agent": "shop", "contract_digest": "c", "fingerprint": "f"}


@in_loop
async def test_decrypted_it_shows_what_the_keys_open() -> None:
    lines = await example("a", "erased", decrypt=True)
    assert said(lines) == []
    events = [json.loads(line)["event"] for line in lines if b'"type":"event"' in line[:20]]
    assert events[1]["value"] == "a secret" and events[2]["value"].startswith("large large")
    assert "value" not in events[5], "of an erased run there is nothing left to show"


@in_loop
async def test_events_after_the_last_checkpoint_are_there_and_not_covered(open_store: OpenStore) -> None:
    store = open_store("one", keys=KEYS)
    await filled(store)
    await recorded(store, "b", ENDED)
    report = report_of(await exported(store, "a", "b"))
    assert (report.damages, report.events, report.covered) == ([], 8, 7)
    await recorded(store, "late", STARTED)
    lines = await exported(store, "late")
    assert said(lines) == ["late 0 no checkpoint covers it"]
    assert said(lines, keys=()) == []
    await store.close()


@in_loop
async def test_what_is_not_decrypted_hands_over_no_key() -> None:
    store = MemoryStore(keys=KEYS)
    await recorded(store, "one", STARTED)
    await store.checkpoint(checkpoint_after(SIGNER, at=5.0))
    lines = [line async for line in export_lines(store, ["one"], at=9.0)]
    assert json.loads(lines[0])["decrypted"] is False and json.loads(lines[2]).get("key") is None
    report = report_of(lines)
    assert (report.damages, report.runs, report.events, report.covered) == ([], 1, 1, 1)


@in_loop
async def test_erased_runs_are_counted_wherever_they_stand() -> None:
    report = report_of(await example("erased", "a"))
    assert (report.damages, report.runs, report.erased) == ([], 2, 1)


@in_loop
async def test_what_cannot_be_exported(open_store: OpenStore) -> None:
    store = open_store("one", keys=KEYS)
    await filled(store)
    with pytest.raises(UnknownRun, match="nobody"):
        await exported(store, "nobody")
    await store.close()
    store = open_store("one")
    with pytest.raises(KeyMissing):
        await exported(store, "a", decrypt=True)
    assert said(await exported(store, "a")) == []
    await store.close()


# -------------------------------------------------------------------------------------------------- any single change

many = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.differing_executors])


def test_a_last_line_that_ends_in_another_byte_is_found() -> None:
    assert said([*LINES[:-1], LINES[-1][:-1] + b" "])


@many
@given(st.data())
def test_any_byte_that_is_changed_is_found(data: st.DataObject) -> None:
    content = bytearray(b"".join(data.draw(st.sampled_from([LINES, DECRYPTED]))))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    assert said(bytes(content).splitlines(keepends=True))


@pytest.mark.parametrize("lines", [LINES, DECRYPTED], ids=["sealed", "decrypted"])
def test_any_line_that_is_dropped_doubled_or_moved_is_found(lines: list[bytes]) -> None:
    for place in range(len(lines)):
        assert said([*lines[:place], *lines[place + 1 :]]), f"line {place} dropped"
        assert said([*lines[:place], lines[place], *lines[place:]]), f"line {place} doubled"
        if place:
            moved = [*lines[: place - 1], lines[place], lines[place - 1], *lines[place + 1 :]]
            assert said(moved), f"line {place} moved up"
    assert said([*lines, b"\n"])


def test_a_file_that_is_cut_off_is_found_wherever() -> None:
    content = b"".join(LINES)
    for length in range(0, len(content) - 1, 211):
        assert said(content[:length].splitlines(keepends=True))


CUT_OFF = "* 0 it is cut off: the last line, which seals the others, is not there"
ALTERED = "* 0 it was altered: the lines are not those that its last line seals"
OTHER_RUNS = "* 0 it does not hold the runs that its first line names"


def test_every_damage_is_told_with_its_place() -> None:
    assert said(LINES[:-1]) == [CUT_OFF]
    assert said([*LINES, b"\n"]) == [f"* 0 line {len(LINES) + 1}: something was added after the end"]
    respelled = [*LINES[:-1], LINES[-1].replace(b'"lines":', b'"lines": ')]
    assert said(respelled) == [f"* 0 line {len(LINES)} was altered: it says what it said, in other bytes"]
    (unreadable, *_) = said([*LINES[:-2], b"{nonsense\n", LINES[-1]])
    assert unreadable.startswith(f"* 0 line {len(LINES) - 1} cannot be read: JSON is malformed: ")
    for place, line in ((1, LINES[0]), (1, LINES[4]), (4, LINES[1])):
        kind = json.loads(line)["type"]
        told = said([*LINES[:place], line, *LINES[place:]])
        assert told == [f"* 0 a line of type '{kind}' stands where none may", ALTERED]
    without_the_last = [*LINES[:12], LINES[-1]]
    assert said(without_the_last) == [ALTERED, OTHER_RUNS]
    signed_by_nobody = [line.replace(b'"signature":"', b'"signature":"AAAA', 1) for line in LINES]
    assert said(signed_by_nobody)[0] == ALTERED


# ----------------------------------------------------------------------------------------------------- a careful forger


def forged(change: Callable[[list[dict[str, Any]]], None], lines: list[bytes] = LINES) -> list[bytes]:
    """The export with its lines changed, and sealed again."""
    told = [json.loads(line) for line in lines[:-1]]
    change(told)
    written = [json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in told]
    end = {"type": "end", "lines": len(written), "digest": b64encode(sha256(b"".join(written)).digest()).decode()}
    return [*written, json.dumps(end, separators=(",", ":")).encode() + b"\n"]


def rechained(told: list[dict[str, Any]], run_id: str, *, drop: int | None = None, at: float | None = None) -> None:
    """Rewrites a run's events, and everything in its chain and its head that follows from them."""
    place = next(n for n, line in enumerate(told) if line["type"] == "run" and line["head"]["run_id"] == run_id)
    last = next((n for n in range(place + 1, len(told)) if told[n]["type"] != "event"), len(told))
    events = told[place + 1 : last]
    if drop is not None:
        del events[drop]
    digest = bytes(32)
    for seq, event in enumerate(events, 1):
        event["at"] = event["at"] if at is None else at
        body = b64decode(event["body"])
        digest = chain_digest(digest, run_id=run_id, seq=seq, epoch=event["epoch"], at=event["at"], body=body)
        event |= {"seq": seq, "digest": b64encode(digest).decode()}
    told[place + 1 : last] = events
    told[place]["head"] |= {"seq": len(events), "digest": b64encode(digest).decode()}
    if at is not None:
        told[place]["head"]["started_at"] = at


def test_sealing_it_again_is_no_secret() -> None:
    assert said(forged(lambda told: None)) == []


def test_who_rewrites_a_whole_chain_is_found_by_the_proof() -> None:
    says = "covers: it, or one before it, was replaced"
    assert any(says in line for line in said(forged(lambda told: rechained(told, "a", at=3.5))))
    (found,) = said(forged(lambda told: rechained(told, "b", drop=2)))
    assert found == "b 3 checkpoint 1 covers 3 events of it, and they are not all there"


def test_a_run_without_its_proof_is_found() -> None:
    def take_it_away(told: list[dict[str, Any]]) -> None:
        rechained(told, "a", at=3.5)
        told[3]["covered"] = None

    assert said(forged(take_it_away)) == ["a 0 no checkpoint covers it"]


def test_a_proof_of_another_run_is_none() -> None:
    def exchange(told: list[dict[str, Any]]) -> None:
        told[3]["covered"], told[12]["covered"] = told[12]["covered"], told[3]["covered"]

    assert len(said(forged(exchange))) == 2


def test_what_is_shown_is_what_the_body_holds() -> None:
    def show_another(told: list[dict[str, Any]]) -> None:
        told[4]["event"]["agent"] = "another"

    assert said(forged(show_another)) == ["a 1 what is shown of it is not what its body holds"]

    def show_another_secret(told: list[dict[str, Any]]) -> None:
        told[5]["event"]["value"] = "another secret"

    assert said(forged(show_another_secret, DECRYPTED)) == ["a 2 what is shown of it is not what its body holds"]


def test_a_key_that_does_not_open_is_found() -> None:
    def other_key(told: list[dict[str, Any]]) -> None:
        told[3]["key"] = b64encode(bytes(32)).decode()

    def no_key(told: list[dict[str, Any]]) -> None:
        told[3]["key"] = b64encode(b"short").decode()

    assert said(forged(other_key, DECRYPTED)) == [
        "a 0 an event cannot be read: its key does not open it: it was altered"
    ]
    assert "a 0 an event cannot be read: its key is none" in said(forged(no_key, DECRYPTED))[0]


def test_a_head_that_tells_something_else_is_found() -> None:
    def another_ending(told: list[dict[str, Any]]) -> None:
        told[3]["head"]["ending"] = "complete"

    assert said(forged(another_ending)) == ["a 4 its head was altered: its events say otherwise of its ending"]


def test_checkpoints_by_another_key_are_found() -> None:
    assert said(LINES, keys={OTHER_SIGNER.public}) == [
        "* 0 checkpoint 1 is signed by a key that is not among those given",
        "* 0 checkpoint 2 is signed by a key that is not among those given",
    ]


def test_another_signature_is_found() -> None:
    def another(told: list[dict[str, Any]]) -> None:
        told[2]["signature"] = b64encode(OTHER_SIGNER.sign(b"x")).decode()

    assert "* 0 checkpoint 2 is forged: its signature is not that of its key" in said(forged(another))


@pytest.mark.parametrize("content", [b"", b"Dear diary,\n", LINES[1], b"\xff\xfe\n"], ids=range(4))
def test_what_is_no_export_is_refused(content: bytes) -> None:
    assert said(content.splitlines(keepends=True)) == ["this is no export of a journal: its first line does not say so"]


def test_an_export_of_a_newer_plimsoll_is_refused() -> None:
    def newer(told: list[dict[str, Any]]) -> None:
        told[0]["format"] = 2

    (found,) = said(forged(newer))
    assert found.startswith("this export was made by a newer Plimsoll (its format is 2, this one knows 1): upgrade")
