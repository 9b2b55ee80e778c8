"""How messages to a run stand in a store's inbox: as they are, or sealed with the run's key. They form a chain."""

from typing import Any

import msgspec
from msgspec.structs import astuple

from plimsoll.core.canonical import canonical_json, parse_json
from plimsoll.core.errors import Misuse
from plimsoll.journal.codec import RunKey, Unreadable, is_sealed, seal, unseal
from plimsoll.journal.store import InboxEntry, InboxKind
from plimsoll.journal.trail import linked

__all__ = ["Message", "message_link", "opened_message", "stored_id", "stored_message"]


class Message(msgspec.Struct, frozen=True):
    """A message as it is stored. Its fields are the columns of a row, in their order."""

    request_id: str
    run_id: str
    kind: str
    body: bytes
    by: str
    at: float


def stored_message(entry: InboxEntry, key: RunKey | None) -> Message:
    """The message as it is stored: for a run with a key, its id as the key's tag, and both id and body sealed.

    Ids are often made of digests of what they are about, and of that nobody without the key may try the few there are.
    What a store says itself of a child holds nothing personal.
    """
    at = float(entry.at)
    if key is None or entry.kind is InboxKind.CHILD:
        body = canonical_json(entry.body)
        return Message(entry.request_id, entry.run_id, entry.kind.value, body, entry.by, at)
    body = seal({}, {"request_id": entry.request_id, "body": entry.body}, key)
    return Message(stored_id(entry.request_id, entry.run_id, key), entry.run_id, entry.kind.value, body, entry.by, at)


def stored_id(request_id: str, run_id: str, key: RunKey | None) -> str:
    """The id of a message, as it is stored among those of the run `run_id`, whose key this is."""
    return request_id if key is None else f"{run_id}:{key.tag(request_id)}"


def opened_message(message: Message, position: int, key: RunKey | None) -> InboxEntry:
    """The message as it was posted. Raises `Unreadable`, also where it is sealed and `key` is None."""
    told = _told(message.body, key)
    return InboxEntry(
        request_id=told.get("request_id", message.request_id),
        run_id=message.run_id,
        kind=InboxKind(message.kind),
        body=told["body"],
        by=message.by,
        at=message.at,
        position=position,
    )


def _told(body: bytes, key: RunKey | None) -> dict[str, Any]:
    if is_sealed(body):
        if key is None:
            raise Unreadable("it is sealed, and the run has no key")
        told: dict[str, Any] = unseal(body, key)
        return told
    try:
        return {"body": parse_json(body)}
    except Misuse as error:
        raise Unreadable(str(error)) from error


def message_link(previous: bytes, position: int, message: Message) -> bytes:
    """The digest of the link that a message is in the inbox's chain."""
    return linked(previous, "message", position, *astuple(message))
