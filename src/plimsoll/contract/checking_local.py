"""Checks of rungs that ask a model of one's own."""

from collections.abc import Iterator
from pathlib import Path as FilePath
from urllib.parse import urlsplit

from plimsoll.contract.checking_models import PRIMARY
from plimsoll.contract.model import Contract
from plimsoll.contract.notes import Notes
from plimsoll.contract.toml_places import Path
from plimsoll.core.addresses import address_of, is_own

__all__ = ["check_local", "local_problems"]


def check_local(contract: Contract, notes: Notes, *, folder: FilePath | None) -> None:
    """Notes what is wrong with them, which directory is not there, and which server is not one's own. `folder` is the
    contract's own (None: it has no file, so that nothing is looked for)."""
    for path, what, fix in local_problems(contract):
        notes.error(path, what, fix)
    for name, model in contract.models.items():
        local = model.local
        if local is not None and model.is_served:
            _check_address(local, ("models", name, "local"), notes)
        if folder is None or local is None or model.is_served or local.startswith("registry:"):
            continue
        if not (folder / local).is_dir():
            what = f"there is no directory {folder / local}: without it, the agent does not start here"
            notes.warning(("models", name, "local"), what, "copy the model there, or mend the name")


def _check_address(url: str, where: Path, notes: Notes) -> None:
    address = address_of(urlsplit(url).hostname or "")
    if address is not None and not is_own(address):
        what = f"{address} is a public address, and what the agent is told may not leave: it does not start"
        notes.warning(where, what, "name a server of your own, or hand the model to harden with allow_remote=True")


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
