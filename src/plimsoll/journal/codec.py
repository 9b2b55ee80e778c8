"""How events stand in a store. The first byte of a body tells its form:

    {        canonical JSON, as it is
    \\x01     zlib over canonical JSON: large bodies
    \\x02     sealed: what anybody may read, as JSON, and behind it the personal fields, which only the run's key opens

The hash chain covers the bodies as they stand, so that it verifies without any key, and after a key was destroyed.
"""

import zlib
from collections.abc import Callable
from struct import Struct
from typing import Any, Protocol

from plimsoll.core.canonical import canonical_json, parse_json
from plimsoll.core.errors import Misuse
from plimsoll.core.events import Event, encode_event
from plimsoll.journal.personal import fill, join, split

__all__ = [
    "ERASED",
    "SEALED",
    "Encode",
    "RunKey",
    "Unreadable",
    "encode",
    "encoder",
    "is_sealed",
    "opened",
    "readable",
    "seal",
    "unseal",
]

Encode = Callable[[Event], tuple[bytes, bytes | None]]
"""Makes an event's body, and its JSON where that is something else."""

ERASED = "[erased]"
"""Stands for a personal field whose run was erased."""
SEALED = "[sealed]"
"""Stands for a personal field whose key is not at hand."""

COMPRESSED_FROM_BYTES = 4096
"""Below, compression saves less than it costs."""
_MOST_BYTES = 1 << 28
"""No body is compressed that has more, so none that claims to have more is decompressed."""
_PLAIN, _ZLIB, _SEALED = b"{", b"\x01", b"\x02"
_LENGTH = Struct(">I")


class Unreadable(ValueError):
    """A body that is none: damaged, altered, or of a form that this version does not know."""


class RunKey(Protocol):
    """The key of one run."""

    @property
    def secret(self) -> bytes:
        """The key itself."""
        ...

    def seal(self, plain: bytes, *, bound: bytes) -> bytes:
        """Encrypts `plain`, and binds it to `bound`: with anything else in its place it does not open."""
        ...

    def unseal(self, sealed: bytes, *, bound: bytes) -> bytes:
        """What was sealed. Raises `Unreadable` when it, or `bound`, is not what it was."""
        ...

    def tag(self, text: str) -> str:
        """A name for `text`, always the same, that nobody can make or try out without the key: 64 digits."""
        ...


# ------------------------------------------------------------------------------------------------------------ writing


def encode(event: Event) -> tuple[bytes, bytes | None]:
    """The body of an event of a run without a key."""
    json = encode_event(event)
    if len(json) < COMPRESSED_FROM_BYTES:
        return json, None
    body = _squeezed(json)
    return body, None if body is json else json


def encoder(key: RunKey | None) -> Encode:
    """What makes the bodies of a run with this key; None for one without."""
    if key is None:
        return encode
    the_key = key

    def encode_sealed(event: Event) -> tuple[bytes, bytes | None]:
        json = encode_event(event)
        public, personal = split(parse_json(json))
        return (seal(public, personal, the_key), json) if personal else (json, None)

    return encode_sealed


def seal(public: Any, personal: Any, key: RunKey) -> bytes:
    """A sealed body: `public` (a JSON object) can be read by anybody, `personal` by who has the key."""
    head = canonical_json(public)
    frame = _SEALED + _LENGTH.pack(len(head)) + head
    return frame + key.seal(_squeezed(canonical_json(personal)), bound=frame)


def _squeezed(json: bytes) -> bytes:
    if not COMPRESSED_FROM_BYTES <= len(json) <= _MOST_BYTES:
        return json
    return _ZLIB + zlib.compress(json, 1)  # of JSON that long, any at all becomes less


# ------------------------------------------------------------------------------------------------------------ reading


def is_sealed(body: bytes) -> bool:
    """Whether `body` has personal fields that only a key opens."""
    return body[:1] == _SEALED


def readable(body: bytes) -> bytes:
    """The JSON in `body` that anybody may read: all of it, or all but the personal fields. Raises `Unreadable`."""
    return _frame(body)[1] if is_sealed(body) else _expanded(body)


def opened(body: bytes, key: RunKey | None, *, missing: str = SEALED) -> bytes | None:
    """The JSON in `body`, None where that is the body itself. Raises `Unreadable`.

    Without the key, `missing` stands for each personal field.
    """
    match body[:1]:
        case b"{":
            return None
        case b"\x02":
            frame, public, sealed = _frame(body)
            if key is None:
                return canonical_json(fill(_parsed(public), missing))
            personal = _expanded(key.unseal(sealed, bound=frame))
            return canonical_json(join(_parsed(public), _parsed(personal)))
        case _:
            return _expanded(body)


def unseal(body: bytes, key: RunKey) -> Any:
    """What `seal` was given as `personal`. Raises `Unreadable`."""
    frame, _, sealed = _frame(body)
    return _parsed(_expanded(key.unseal(sealed, bound=frame)))


def _frame(body: bytes) -> tuple[bytes, bytes, bytes]:
    """A sealed body's parts: all that is bound, the readable JSON in it, what is sealed."""
    begin = 1 + _LENGTH.size
    if len(body) < begin or body[:1] != _SEALED:
        raise Unreadable("it is no sealed body")
    end = begin + _LENGTH.unpack_from(body, 1)[0]
    if end > len(body):
        raise Unreadable("it is cut off")
    return body[:end], body[begin:end], body[end:]


def _expanded(data: bytes) -> bytes:
    if data[:1] == _PLAIN:
        return data
    if data[:1] != _ZLIB:
        raise Unreadable(f"its form is not known here (it begins with {data[:1]!r})")
    stream = zlib.decompressobj()
    try:
        json = stream.decompress(data[1:], _MOST_BYTES)
    except zlib.error as error:
        raise Unreadable(f"it does not decompress ({error})") from error
    if not stream.eof or stream.unused_data:
        raise Unreadable("it does not decompress (it is cut off, or too large)")
    return json


def _parsed(json: bytes) -> Any:
    try:
        return parse_json(json)
    except Misuse as error:
        raise Unreadable(str(error)) from error
