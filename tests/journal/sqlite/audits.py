"""A journal with some of everything in it, and what its audit says."""

from pathlib import Path
from typing import Any

from plimsoll.core.errors import PlimsollError
from plimsoll.core.events import RunParkedEvent
from plimsoll.journal import Halt, InboxEntry, InboxKind, SQLiteStore
from plimsoll.journal.audit import AuditReport, audit
from plimsoll.journal.checkpoints import checkpoint_after
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.keys import KeyRing
from plimsoll.journal.signing import verify
from tests.journal.helpers import ENDED, STARTED, journal_on, run, value
from tests.journal.signing import SIGNER

KEYS = MasterKeys([bytes(32)])
PARKED = RunParkedEvent(reason="approval", detail="parked.a1", active_s=1.0, until=99.0)


def message(request_id: str, run_id: str) -> InboxEntry:
    return InboxEntry(
        request_id=request_id, run_id=run_id, kind=InboxKind.DECISION, body={"ok": True}, by="ann", at=3.5
    )


async def recorded(store: SQLiteStore, run_id: str, *events: Any) -> None:
    log = journal_on(store).open(await store.claim(run_id, owner="one", at=1.0))
    for event in events:
        log.append(event)
    await log.durable()


async def filled(path: Path) -> None:
    """A journal with some of everything: plain, sealed, erased and parked runs, messages, acts, two checkpoints."""
    store = SQLiteStore.open(path, owner="one")
    await recorded(store, "plain", STARTED, value("one"), value("two " * 2000), ENDED)
    await store.post(message("q", "plain"))
    await store.close()
    store = SQLiteStore.open(path, owner="one", keys=KEYS)
    await store.claim("claimed", owner="one", at=1.0)
    await recorded(store, "sealed", STARTED, value("secret"), ENDED)
    await recorded(store, "erased", STARTED, value("secret"), ENDED)
    await store.engage(Halt(scope="*", by="ann", reason="enough", at=4.5))
    await store.checkpoint(checkpoint_after(SIGNER, at=5.0))
    await recorded(store, "parked", STARTED, PARKED)
    await store.post(message("parked.a1:x", "parked"))
    await store.erase("erased", by="ann", reason="request 7", at=6.0)
    await store.engage(Halt(scope="parked", by="ann", reason="wait", at=6.5))
    await store.release("parked", by="ann", at=6.75)
    await store.checkpoint(checkpoint_after(SIGNER, at=7.0))
    await store.close()


async def audited(path: Path, *, ring: KeyRing | None = KEYS, **options: Any) -> AuditReport:
    store = SQLiteStore.open(path, keys=ring)
    try:
        return await audit(store, verify=verify, **{"keys": {SIGNER.public}, **options})
    finally:
        await store.close()


def found(path: Path, **options: Any) -> list[str]:
    """What the audit of the journal says, or the error with which it does not open."""
    try:
        report = run(audited(path, **options))
    except PlimsollError as error:
        return [str(error)]
    return [f"{damage.run_id} {damage.seq} {damage.what}" for damage in report.damages]
