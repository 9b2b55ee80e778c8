"""Checks of what a contract names in Python and nobody needs before something went wrong: `verify` and `compensate`.
Is it there?

Without the agent, modules are only looked for, and nothing of theirs is executed. Together with the agent, which is
imported anyway, they are imported too, and asked for the attribute.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path as FilePath

from plimsoll.contract.model import Contract
from plimsoll.contract.notes import Notes
from plimsoll.contract.toml_places import Path

__all__ = ["check_imports"]

_FIX = "mend the name; or is it not installed, or in another folder?"


def check_imports(contract: Contract, notes: Notes, *, folder: FilePath, importing: bool) -> None:
    """Notes what cannot be imported from the import path, the working directory or `folder`, the contract's own.

    `importing` is whether modules may be executed, to see whether they have the attribute.
    """
    folders = [str(FilePath.cwd()), str(folder.resolve())]
    for name, tool in contract.tools.items():
        for field in ("verify", "compensate"):
            reference = getattr(tool, field)
            if reference is not None:
                _check_reference(("tools", name, field), reference, folders, importing, notes)


def _check_reference(here: Path, reference: str, folders: Sequence[str], importing: bool, notes: Notes) -> None:
    module, _, attribute = reference.partition(":")
    if not _is_there(module, folders):
        notes.error(here, f"no module {module} is found", _FIX)
    elif importing and (what := _missing(module, attribute, folders)):
        notes.error(here, what, _FIX)


def _is_there(module: str, folders: Sequence[str]) -> bool:
    """Whether a module of this dotted name can be found. No package around it is imported for that."""
    first, *below = module.split(".")
    if module in sys.modules:
        return True
    try:
        spec = (find_spec(first) if first else None) or PathFinder.find_spec(first, folders)
    except ValueError:  # a module that was made by hand, such as __main__
        return not below
    for part in below:
        if spec is None or spec.submodule_search_locations is None or not part:
            return False
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return spec is not None


def _missing(module: str, attribute: str, folders: Sequence[str]) -> str:
    """What is wrong with `attribute` of `module`, which is imported for it; empty: nothing."""
    try:
        with _on_path(folders):
            found: object = importlib.import_module(module)
    except Exception as error:  # the author's own module, which may raise anything
        return f"importing {module} failed: {type(error).__name__}: {error}"
    for name in attribute.split("."):
        if not hasattr(found, name):
            return f"{module} has no {name}"
        found = getattr(found, name)
    return ""


@contextmanager
def _on_path(folders: Sequence[str]) -> Iterator[None]:
    added = [folder for folder in dict.fromkeys(folders) if folder not in sys.path]
    sys.path.extend(added)
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)
