"""Describing: what the registry says of a model's directory, whatever kind of model it is."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from plimsoll.learning.errors import WeightsError
from plimsoll.learning.manifest import FILE, digest_of

__all__ = ["Described", "described", "files_of", "verify"]

_FOR_PEOPLE = frozenset({".md", ".svg", ".html"})
_NO_PARAMETERS = frozenset({"files", "data_digest", "base_digest"})
_NOT_IN_A_KEY = re.compile(r"[^\w\-. /]")


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What every manifest says, whatever else it does. `files` are SHA-256 by name; `method`, `seed` and the digests
    are empty where a kind of model has none."""

    kind: str
    files: dict[str, str]
    method: str = ""
    seed: int | None = None
    data_digest: str = ""
    base_digest: str = ""
    parameters: dict[str, str] = {}
    metrics: dict[str, float] = {}


def described(directory: Path) -> Described:
    """What the manifest of a directory says. Its files are not looked at: `verify` does. Raises `WeightsError`."""
    if not directory.is_dir():
        raise WeightsError(str(directory), "there is no such directory")
    try:
        content = (directory / FILE).read_bytes()
        raw = msgspec.json.decode(content, type=dict[str, Any])
        known = msgspec.convert(
            {name: raw[name] for name in Described.__struct_fields__[:-2] if name in raw}, Described
        )
    except FileNotFoundError:
        raise WeightsError(str(directory), f"it has no {FILE}: `plimsoll learn fit` makes such a directory") from None
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise WeightsError(str(directory), f"its {FILE} cannot be read: {error}") from error
    for name in known.files:
        if not _is_inside(name):
            raise WeightsError(
                str(directory), f"its {FILE} names {name!r}, which is no file in it: take it from nobody"
            )
    parameters = {
        name: str(value)
        for name, value in raw.items()
        if isinstance(value, str | int | float) and name not in _NO_PARAMETERS
    }
    return msgspec.structs.replace(known, parameters=parameters, metrics=dict(_metrics(raw, "")))


def verify(directory: Path, files: Mapping[str, str]) -> None:
    """Raises `WeightsError` where the directory does not hold these files, each of its digest."""
    for name, digest in files.items():
        path = directory / name
        if not path.is_file() or path.is_symlink():
            raise WeightsError(str(directory), f"{name} is missing")
        if digest_of(path) != digest:
            raise WeightsError(str(directory), f"{name} is not the file that {FILE} was written for")


def files_of(directory: Path, known: Described) -> tuple[str, ...]:
    """What of a directory goes into the registry and out of it: the files that the manifest names, those for people to
    read, and at last the manifest. Whatever else lies there stays where it is."""
    papers = (
        path.relative_to(directory).as_posix()
        for path in sorted(directory.rglob("*"))
        if path.suffix in _FOR_PEOPLE and path.is_file() and not path.is_symlink()
    )
    return (*dict.fromkeys((*known.files, *papers)), FILE)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name and name != FILE


def _metrics(value: Mapping[str, Any], under: str) -> Iterator[tuple[str, float]]:
    """The numbers in the manifest's tables, by their place: `validation.accuracy`."""
    for name, inner in value.items():
        place = _NOT_IN_A_KEY.sub("_", f"{under}.{name}" if under else name)
        if isinstance(inner, dict):
            yield from _metrics(inner, place)
        elif under and isinstance(inner, int | float) and not isinstance(inner, bool):
            yield place, float(inner)
