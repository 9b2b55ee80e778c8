"""Canonical JSON and digests: the same value gives the same bytes, everywhere and always."""

import hashlib
import math
from typing import Any

import msgspec

from plimsoll.core.errors import Misuse

__all__ = ["canonical_json", "digest", "parse_json"]

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


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
