"""Which fields of an event are personal: what an agent was asked, what it sent and was told, and whatever can quote it.

Types, keys, dependencies, effects, times, endings and the names of those who decided stay readable: they say what
happened. Digests of arguments are personal, too: most arguments are few enough that somebody could try them all.
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import msgspec

from plimsoll.core.events import Event

__all__ = ["PERSONAL", "fill", "join", "split"]

_TEXTS: Mapping[str, tuple[str, ...]] = {
    "call_intended": ("args_digest", "decision_id"),
    "attempt_settled": ("message",),
    "call_settled": ("args_digest", "result_digest", "outcome.error.message"),
    "approval_requested": ("args_digest",),
    "approval_decided": ("args_digest", "decision_id", "note"),
    "doubt_raised": ("message",),
    "doubt_resolved": ("note",),
    "finding_raised": ("finding.message",),
    "signal_received": ("signal_id",),
    "cancel_requested": ("reason",),
    "run_parked": ("detail",),
    "run_ended": ("reason",),
}
"""The texts that can quote something personal, or be a digest of it. Ids of decisions are made of such digests."""


def _anything(kind: Any, above: str = "") -> Iterator[str]:  # pragma: no mutate block -- runs at import alone
    """The paths of the fields that hold any JSON at all, which is where users' own data goes."""
    for field in msgspec.structs.fields(kind):
        if field.type is Any:
            yield above + field.name
        for part in (field.type, *get_args(field.type)):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                yield from _anything(part, f"{above}{field.name}.")


_KINDS = {str(kind.__struct_config__.tag): kind for kind in get_args(Event)}
PERSONAL: Mapping[str, tuple[str, ...]] = {
    name: (*_anything(kind), *_TEXTS.get(name, ())) for name, kind in _KINDS.items()
}
"""The paths of the personal fields, by the type of the event."""


def split(event: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An event's JSON object without its personal fields, and these by their paths. Takes `event` apart to do so."""
    personal: dict[str, Any] = {}
    for path in PERSONAL[event["type"]]:
        place, name = _place(event, path)
        if place is not None and name in place:
            personal[path] = place.pop(name)
    return event, personal


def join(event: dict[str, Any], personal: Mapping[str, Any]) -> dict[str, Any]:
    """The event's JSON object with its personal fields in their places again."""
    for path, value in personal.items():
        place, name = _place(event, path)
        if place is not None:
            place[name] = value
    return event


def fill(event: dict[str, Any], missing: str) -> dict[str, Any]:
    """The event's JSON object with `missing` in the place of each personal field that it may have had."""
    return join(event, dict.fromkeys(PERSONAL.get(event.get("type", ""), ()), missing))


def _place(event: dict[str, Any], path: str) -> tuple[dict[str, Any] | None, str]:
    """The object in which the last name of `path` stands, None where there is no such object."""
    *above, name = path.split(".")
    place: Any = event
    for step in above:
        place = place.get(step) if isinstance(place, dict) else None
    return (place if isinstance(place, dict) else None), name
