"""Verdicts as JSON files, and back."""

from typing import Any

import msgspec

from plimsoll.core.errors import Misuse
from plimsoll.core.printable import printable
from plimsoll.gate.verdict import Verdict

__all__ = ["load_verdict", "render_json"]


def _foreign(value: Any) -> str:
    # An agent may answer with anything. Its repr may hold an address, which would differ each time.
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _storable(value: Any) -> Any:
    """`value` with text that UTF-8 cannot carry written out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(item) for item in value]
    return value


def _encode(value: Verdict) -> bytes:
    encoder = msgspec.json.Encoder(order="deterministic", enc_hook=_foreign)
    try:
        data = encoder.encode(value)
    except UnicodeEncodeError:
        data = encoder.encode(_storable(msgspec.to_builtins(value, enc_hook=_foreign)))
    except (TypeError, ValueError, RecursionError) as error:
        raise Misuse(f"this {type(value).__name__} cannot be written as JSON: {error}") from error
    return msgspec.json.format(data, indent=2) + b"\n"


def render_json(verdict: Verdict) -> bytes:
    """The verdict as indented JSON: the same verdict gives the same bytes.

    Objects in a trial's output that JSON does not know are written as their type's name. Raises `Misuse` for what JSON
    cannot carry otherwise.
    """
    return _encode(verdict)


def load_verdict(data: bytes, *, name: str = "the file") -> Verdict:
    """The verdict that `render_json` wrote. Raises `Misuse`, which says where `name` is no verdict."""
    try:
        return msgspec.json.decode(data, type=Verdict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Misuse(
            f"{name} is no verdict of the gate: {printable(str(error))}. Make one with `plimsoll gate`."
        ) from error
