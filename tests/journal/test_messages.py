"""Messages as they stand in an inbox: sealed where their run has a key, and opened by it alone."""

import pytest
from msgspec.structs import replace

from plimsoll.journal import InboxEntry, InboxKind
from plimsoll.journal.codec import Unreadable, readable
from plimsoll.journal.encryption import Cipher
from plimsoll.journal.messages import opened_message, stored_message

KEY, OTHER = Cipher(bytes(32)), Cipher(bytes(range(32)))
ENTRY = InboxEntry(request_id="r.a1:4111", run_id="r", kind=InboxKind.DECISION, body={"note": "secret"}, by="ann", at=3)


@pytest.mark.parametrize("kind", [kind for kind in InboxKind if kind is not InboxKind.CHILD])
def test_a_message_to_a_run_with_a_key_is_sealed_with_its_id(kind: InboxKind) -> None:
    entry = replace(ENTRY, kind=kind)
    stored = stored_message(entry, KEY)
    assert stored.request_id == f"r:{KEY.tag('r.a1:4111')}"
    assert (stored.run_id, stored.kind, stored.by, stored.at) == ("r", kind.value, "ann", 3.0)
    assert b"secret" not in stored.body and b"4111" not in stored.body and readable(stored.body) == b"{}"
    assert opened_message(stored, 7, KEY) == replace(entry, position=7)
    for key, says in ((None, "it is sealed, and the run has no key"), (OTHER, "its key does not open it")):
        with pytest.raises(Unreadable, match=says):
            opened_message(stored, 7, key)


@pytest.mark.parametrize(("entry", "key"), [(ENTRY, None), (replace(ENTRY, kind=InboxKind.CHILD), KEY)])
def test_any_other_message_stands_as_it_is(entry: InboxEntry, key: Cipher | None) -> None:
    stored = stored_message(entry, key)
    assert (stored.request_id, stored.body, type(stored.at)) == ("r.a1:4111", b'{"note":"secret"}', float)
    for each in (None, KEY):
        assert opened_message(stored, 7, each) == replace(entry, position=7)


def test_messages_without_a_key_are_read_by_who_has_one() -> None:
    assert opened_message(stored_message(ENTRY, None), 1, KEY).body == {"note": "secret"}


def test_a_message_that_is_no_json_is_unreadable() -> None:
    with pytest.raises(Unreadable, match=r"^not JSON: "):
        opened_message(replace(stored_message(ENTRY, None), body=b"{"), 1, None)
