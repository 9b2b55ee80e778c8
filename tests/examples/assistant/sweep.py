"""Every field of the shipped contract, taken out and weakened in every way that its kind allows."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import EnumMeta
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from plimsoll.contract.model import Contract
from plimsoll.contract.toml_places import Path

__all__ = ["Weakened", "weakened"]

_TEN = 10


@dataclass(frozen=True)
class Weakened:
    """One edit: of which field, to what, and the contract as it is then (None: it can no longer be read)."""

    path: Path
    to: str
    contract: Contract | None

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path))} {self.to}"


def weakened(contract: Contract) -> Iterator[Weakened]:
    """Every edit of `contract`."""
    for path, to, value in _of(contract, ()):
        yield Weakened(path, to, _read(_put(contract, path, value)))


def _of(value: Any, path: Path, hint: Any = None) -> Iterator[tuple[Path, str, Any]]:
    if isinstance(value, msgspec.Struct):
        hints = get_type_hints(type(value), include_extras=False)
        for field in msgspec.structs.fields(value):
            here, now = (*path, field.name), getattr(value, field.name)
            if now != field.default and field.default is not msgspec.NODEFAULT:
                yield here, "left out", field.default
            elif now and field.default_factory is not msgspec.NODEFAULT:
                yield here, "left out", field.default_factory()
            yield from _of(now, here, hints[field.name])
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield (*path, name), "left out", _GONE
            yield from _of(item, (*path, name))
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield path, f"without {item}", value[:number] + value[number + 1 :]
    else:
        for other in _others(value, hint):
            if other != value:
                yield path, f"= {other}", other


def _others(value: Any, hint: Any) -> Iterator[Any]:
    kinds = get_args(hint) if get_origin(hint) is types.UnionType else (hint,)
    for kind in kinds:
        if kind is bool:
            yield from (True, False)
        elif isinstance(kind, EnumMeta):
            yield from kind
        elif get_origin(kind) is Literal:
            yield from get_args(kind)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value * _TEN
        yield value // _TEN if isinstance(value, int) else value / _TEN


_GONE = object()


def _put(of: Any, path: Path, value: Any) -> Any:
    """`of` with another value at `path`."""
    head, *rest = path
    if isinstance(of, Mapping):
        if not rest and value is _GONE:
            return {name: item for name, item in of.items() if name != head}
        return {**of, head: _put(of[head], tuple(rest), value) if rest else value}
    changed = _put(getattr(of, str(head)), tuple(rest), value) if rest else value
    return msgspec.structs.replace(of, **{str(head): changed})


def _read(changed: Any) -> Contract | None:
    """The contract as a file would say it; None where no file could."""
    try:
        return msgspec.convert(msgspec.to_builtins(changed), Contract)
    except msgspec.ValidationError:
        return None
