"""Resolving: from a reference to a directory, for whoever runs the model: an agent, a service, the command line.

MLflow is imported when the first reference is resolved, and not before: a contract without one needs no extra.
"""

import importlib
import os
from pathlib import Path
from typing import Any

from plimsoll.learning.registry.places import place_of
from plimsoll.learning.registry.references import Reference, is_reference

__all__ = ["RegistrySource", "located", "opened", "resolve"]


def resolve(reference: str, *, tracking_uri: str | None = None, root: Path = Path(), cache: Path | None = None) -> Path:
    """The directory of the model that `reference` names now: `registry:NAME@champion`, `registry:NAME:3`.

    It is fetched once, by its digest, into `cache` (None: `.plimsoll/models` under `root`), and looked at each time:
    every file is as it was registered. The registry is that at `tracking_uri`; None: at MLFLOW_TRACKING_URI, or else
    `.plimsoll/mlflow.db` under `root`. It is asked even where the model was fetched before: an alias may have moved.

    Raises `RegistryError` for what is not there, `RegistryUnavailable` where nobody answers, `WeightsError` for files
    that are not as they were registered, and `MissingExtra`.
    """
    return RegistrySource(reference, tracking_uri=tracking_uri, root=root, cache=cache).current()


def located(model: str, *, root: Path = Path(), tracking_uri: str | None = None) -> Path:
    """Where a model stands, as contracts and commands name it: a directory, from `root`, or a reference."""
    return resolve(model, tracking_uri=tracking_uri, root=root) if is_reference(model) else root / model


class RegistrySource:
    """A model that follows the registry: `current()` is the directory of what the reference names at that moment.

    Arguments as those of `resolve`. It blocks while it asks and fetches; call it in a thread where that matters.
    """

    def __init__(
        self, reference: str, *, tracking_uri: str | None = None, root: Path = Path(), cache: Path | None = None
    ) -> None:
        self.reference = Reference.parse(reference)
        self._place = place_of(tracking_uri, root=root, cache=cache, environ=os.environ)
        self._tracking: Any = None
        self._looked_at: dict[str, Path] = {}

    def current(self) -> Path:
        """The directory of the model. A change of the alias is seen at the next call; the directory that was given
        before stays. Raises as `resolve`: whoever serves a model already goes on with that one."""
        fetching = _leaf("fetching")
        if self._tracking is None:
            self._tracking = _leaf("tracking").Tracking.open(self._place)
        version = fetching.found(self._tracking, self.reference)
        digest = fetching.digest_of_version(version)
        kept = self._looked_at.get(digest)
        if kept is None or not kept.exists():
            kept = self._looked_at[digest] = fetching.cached(self._tracking, version)
        return kept


def opened(
    tracking_uri: str | None = None, *, root: Path = Path(), cache: Path | None = None, make: bool = False
) -> Any:
    """The registry itself, a `Tracking`: made, where it is a SQLite file that is not there yet and `make` says so."""
    place = place_of(tracking_uri, root=root, cache=cache, environ=os.environ)
    return _leaf("tracking").Tracking.open(place, make=make)


def _leaf(name: str) -> Any:
    return importlib.import_module(f"plimsoll.learning.registry.{name}")
