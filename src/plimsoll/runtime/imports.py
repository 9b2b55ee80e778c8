"""Objects named in a contract, such as `shop.agent:agent`, found and imported."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse

__all__ = ["functions_of", "load_object", "put_on_path"]


def load_object(path: str, *, directory: str | Path | None = None) -> Any:
    """The object at `module:attribute` (attributes may be dotted).

    `directory` is put on the import path for good, by `put_on_path`. Raises `Misuse` that says which part is missing;
    an error inside the module itself is passed on as it is.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or module_name.startswith(".") or not attribute:
        raise Misuse(f"{path!r} names nothing: write module:attribute, such as shop.agent:agent")
    if directory is not None:
        put_on_path(directory)
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


def functions_of(
    contract: Contract,
    field: Literal["verify", "compensate"],
    *,
    given: Mapping[str, Callable[..., Any]],
    directory: str | Path,
) -> dict[str, Callable[..., Any]]:
    """The functions that are `given`, by tool, and for every other tool the one that the contract names in `field`.

    Only these are imported. Raises `Misuse` for one that is not there.
    """
    named = {name: getattr(tool, field) for name, tool in contract.tools.items() if name not in given}
    found = {name: load_object(path, directory=directory) for name, path in named.items() if path is not None}
    return {**found, **given}


def put_on_path(directory: str | Path) -> None:
    """Puts a folder on the import path for good: the working directory at the front, as `python -m` does; any other at
    the end, so that a `requests.py` beside a contract hides no library."""
    folder = Path(directory).resolve()
    if str(folder) in sys.path:
        return
    sys.path.insert(0 if folder == Path.cwd() else len(sys.path), str(folder))
