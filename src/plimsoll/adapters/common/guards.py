"""The guards of an agent: given, or the models that its contract names."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plimsoll.contract.model import Contract
from plimsoll.core.guards import Guard

__all__ = ["guards_of"]

_LEAF = "plimsoll.learning.guards"


def guards_of(contract: Contract, given: Mapping[str, Guard], *, directory: Path) -> dict[str, Guard]:
    """What judges for each of the contract's guards, by name: what was given, and for the others the model that the
    contract names, from `directory` on.

    Raises `WeightsError` for one that is not there or is none, and `MissingExtra` where none can be asked.
    """
    left = [name for name in contract.guards if name not in given]
    if not left:
        return dict(given)
    leaf: Any = importlib.import_module(_LEAF)
    loaded: dict[str, Guard] = leaf.load_guards(contract, directory=directory, names=left)
    return {**loaded, **given}
