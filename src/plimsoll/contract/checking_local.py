"""Checks of rungs that ask a model of one's own."""

from collections.abc import Iterator
from pathlib import Path as FilePath

from plimsoll.contract.checking_models import PRIMARY
from plimsoll.contract.model import Contract
from plimsoll.contract.notes import Notes
from plimsoll.contract.toml_places import Path

__all__ = ["check_local", "local_problems"]


def check_local(contract: Contract, notes: Notes, *, folder: FilePath | None) -> None:
    """Notes what is wrong with them, and which directory is not there. `folder` is the contract's own (None: it has no
    file, so that nothing is looked for)."""
    for path, what, fix in local_problems(contract):
        notes.error(path, what, fix)
    for name, model in contract.models.items():
        local = model.local
        if folder is None or local is None or model.is_served or local.startswith("registry:"):
            continue
        if not (folder / local).is_dir():
            what = f"there is no directory {folder / local}: without it, the agent does not start here"
            notes.warning(("models", name, "local"), what, "copy the model there, or mend the name")


def local_problems(contract: Contract) -> Iterator[tuple[Path, str, str]]:
    """Why a `local` cannot be meant: the field, what is wrong with it, and what would be right."""
    for name, model in contract.models.items():
        here: Path = ("models", name)
        if model.local is None:
            continue
        if model.id is not None:
            yield (*here, "id"), "a local model has no id of a provider", "keep local, or this"
        if name == PRIMARY:
            what = "the first model is the agent's own, and this is what it falls back to"
            yield (*here, "local"), what, "a rung of its own, which models.primary names in its fallback"
