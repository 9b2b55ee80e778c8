"""A model of one's own by what a contract calls it: a directory, a server's address, or a name in the registry."""

import importlib
from pathlib import Path
from typing import Any

import msgspec

from plimsoll.learning.errors import WeightsError
from plimsoll.learning.local import LocalModel
from plimsoll.learning.manifest import FILE
from plimsoll.learning.registry import located

__all__ = ["load_local"]

_ADDRESS = ("http://", "https://")
_TRANSFORMERS = "config.json"
"""What stands in the directory of a model that `transformers` knows."""

# Imported when they are first needed: each has an extra of its own.
_SERVED = ("plimsoll.learning.decoder.served", "Served")
_DECODER = ("plimsoll.learning.decoder.causal", "Decoder")
_BY_KIND = {"policy": ("plimsoll.learning.policy", "Policy")}
"""What reads a directory with a manifest, by the manifest's `kind`."""


class _Kind(msgspec.Struct):
    """What every manifest says of itself, whatever else is in it."""

    kind: str


def load_local(reference: str, *, base: Path) -> LocalModel:
    """The model that `reference` names. Directories and the registry are looked for from `base`, the contract's folder.

    Raises `WeightsError` where there is none that can answer, and `MissingExtra` where what reads it is not installed.
    """
    if reference.startswith(_ADDRESS):
        model: LocalModel = _known(_SERVED, reference).at(reference)
        return model
    return _in(located(reference, root=base))


def _in(directory: Path) -> LocalModel:
    """The model in a directory, by what stands there."""
    if not directory.is_dir():
        raise WeightsError(str(directory), "there is no such directory: copy the model there, or mend the contract")
    model: LocalModel = _known(_reader_of(directory), str(directory)).load(directory)
    return model


def _reader_of(directory: Path) -> tuple[str, str]:
    kind = _kind_of(directory)
    if kind is None:
        if not (directory / _TRANSFORMERS).is_file():
            raise WeightsError(str(directory), f"it holds no model: neither {FILE} nor {_TRANSFORMERS}")
        return _DECODER
    if kind not in _BY_KIND:
        known = ", ".join(f"`{each}`" for each in _BY_KIND)
        what = f"it is of kind `{kind}`, which labels texts; a rung must answer a conversation, as does {known}"
        raise WeightsError(str(directory), what)
    return _BY_KIND[kind]


def _kind_of(directory: Path) -> str | None:
    """What the manifest says of itself; None where there is none."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=_Kind).kind
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise WeightsError(str(directory), f"its {FILE} cannot be read: {error}") from error


def _known(where: tuple[str, str], what: str) -> Any:
    """What reads it. Raises `WeightsError` where this version has nothing that does."""
    module, name = where
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("plimsoll."):
            raise
        raise WeightsError(what, f"this version of Plimsoll has no {module}, which reads it") from error
