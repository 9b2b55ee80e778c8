"""Objects named in a contract, such as `shop.agent:agent`, found and imported."""

import importlib
import sys
from pathlib import Path
from typing import Any

from plimsoll.core.errors import Misuse

__all__ = ["load_object"]


def load_object(path: str, *, directory: str | Path | None = None) -> Any:
    """The object at `module:attribute` (attributes may be dotted).

    `directory` is put at the front of the import path for good, as `python -m` does with the working directory. Raises
    `Misuse` that says which part is missing; an error inside the module itself is passed on as it is.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise Misuse(f"{path!r} names nothing: write module:attribute, such as shop.agent:agent")
    if directory is not None and str(Path(directory).resolve()) not in sys.path:
        sys.path.insert(0, str(Path(directory).resolve()))
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise Misuse(f"no module {error.name!r} for {path!r}; are you in its folder, or is it installed?") from error
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise Misuse(f"{module_name} has no {name!r}, which {path!r} asks for") from error
    return found
