"""Which fields are personal: every text in every event is one or the other, and none is lost on the way."""

from typing import Any, get_args

import msgspec
from hypothesis import given

from plimsoll.core.calls import ErrorRecord, Outcome
from plimsoll.core.canonical import canonical_json, parse_json
from plimsoll.core.events import Event, Finding, decode_event, encode_event, event_type
from plimsoll.journal.personal import PERSONAL, fill, join, split
from tests.journal.events import EVENTS, any_event

READABLE = {
    "agent", "answer", "approvers", "by", "contract_digest", "decision", "dependency", "did", "evidence", "fault",
    "fingerprint", "following", "forced_by", "idempotency_key", "key", "kind", "leaves", "name", "new", "old", "parent",
    "reason", "request_id", "rule", "session", "severity", "to", "trace", "turn", "type", "undoes", "within",
}  # fmt: skip
"""Texts that stay as they are. Whoever adds one to an event says here, or in `personal`, which kind it is."""


def texts(kind: type[msgspec.Struct], above: str = "") -> list[str]:
    """The paths of an event's texts, down into its parts."""
    found = []
    for field in msgspec.structs.fields(kind):
        parts = {field.type, *get_args(field.type)}
        path = above + field.name
        found += [path] if str in parts else []
        for part in parts & {Outcome, Finding, ErrorRecord}:
            found += texts(part, f"{path}.")
    return found


def test_every_text_in_every_event_is_personal_or_readable() -> None:
    for name, kind in EVENTS.items():
        undecided = [path for path in texts(kind) if path not in PERSONAL[name] and path.split(".")[-1] not in READABLE]
        assert undecided == [], f"{name}: are these personal? Say so in journal/personal.py, or here in READABLE"


def test_whatever_users_put_into_an_event_is_personal() -> None:
    assert PERSONAL["run_started"][:1] == ("input",)
    assert "outcome.value" in PERSONAL["call_settled"] and "args" in PERSONAL["call_settled"]
    assert PERSONAL["run_resumed"] == ()


def found_at(event: Any, path: str) -> Any:
    for name in path.split("."):
        event = event.get(name) if isinstance(event, dict) else None
    return event


@given(any_event())
def test_what_is_split_joins_again(event: Event) -> None:
    body = encode_event(event)
    public, personal = split(parse_json(body))
    assert all(found_at(public, path) is None for path in PERSONAL[event_type(event)])
    assert canonical_json(join(public, personal)) == body


@given(any_event())
def test_an_event_without_its_personal_fields_is_still_one(event: Event) -> None:
    public, personal = split(parse_json(encode_event(event)))
    shown = decode_event(canonical_json(fill(public, "[erased]")))
    assert type(shown) is type(event)
    there = msgspec.to_builtins(shown)
    assert all(found_at(there, path) == "[erased]" for path in personal)


def test_what_is_no_event_is_left_as_it_is() -> None:
    assert fill({"type": "party"}, "[erased]") == {"type": "party"}
    assert fill({}, "[erased]") == {}


def test_what_an_event_has_no_place_for_is_not_filled_in() -> None:
    assert fill({"type": "call_settled", "outcome": None}, "x") == {
        "type": "call_settled", "outcome": None, "args": "x", "args_digest": "x", "result_digest": "x",
    }  # fmt: skip
    assert split({"type": "call_settled", "outcome": {"error": "?"}}) == (
        {"type": "call_settled", "outcome": {"error": "?"}},
        {},
    )
