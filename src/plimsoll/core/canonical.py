"""Canonical JSON and digests: the same value gives the same bytes, everywhere and always."""

import hashlib
import math
from typing import Any

import msgspec

from plimsoll.core.errors import Misuse

__all__ = ["as_recorded", "as_text", "canonical_json", "digest", "is_json", "parse_json"]

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder()


def _refuse_non_finite(value: Any, path: str) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Misuse(f"{path or 'the value'} is {value}, which JSON cannot carry")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_non_finite(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_non_finite(item, f"{path}[{index}]")


def canonical_json(value: Any) -> bytes:
    """JSON bytes with sorted keys and no white space.

    Takes what JSON carries, and dataclasses, enums, datetimes, UUIDs, decimals and msgspec structs, which become what
    they are written as. Raises `Misuse` for anything else, and for NaN and infinities.
    """
    try:
        encoded = _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Misuse(f"not a JSON value: {error}") from error
    if b"null" in encoded:  # msgspec writes NaN and infinities as null, so this is the only case to look into
        _refuse_non_finite(value, "")
    return encoded


def parse_json(data: bytes | str) -> Any:
    """The value that `data` writes. Raises `Misuse` when it is not JSON."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise Misuse(f"not JSON: {error}") from error


def is_json(text: str, *, kind: type[Any] = object) -> bool:
    """Whether `text` is JSON, and its value of this kind (`dict` for an object)."""
    try:
        return isinstance(_decoder.decode(text), kind)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False


def as_recorded(value: Any, *, what: str) -> Any:
    """`value` as it stands in a journal, and as whoever reads that has it. Raises `Misuse`, which says `what` it is."""
    try:
        return parse_json(canonical_json(value))
    except Misuse as error:
        raise Misuse(f"{what} has no JSON form: {error}") from error


def as_text(value: object) -> str:
    """What `value` says of itself, in characters that JSON can carry; its type's name where it cannot say anything."""
    try:
        text = str(value)
    except Exception:
        return type(value).__name__
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
