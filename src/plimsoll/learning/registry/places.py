"""Places: where the registry is, and where what was fetched from it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from plimsoll.learning.errors import RegistryError

__all__ = ["ENVIRONMENT", "Place", "place_of"]

ENVIRONMENT = "MLFLOW_TRACKING_URI"

_FOLDER = ".plimsoll"
_DATABASE = "mlflow.db"
_ARTIFACTS = "mlflow-artifacts"
_CACHE = "models"
_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A registry: MLflow's tracking `uri`, and `cache`, the directory of what was fetched from it."""

    uri: str
    cache: Path

    @property
    def file(self) -> Path | None:
        """Its SQLite file. None: it is a server, or another database."""
        return Path(self.uri.removeprefix(_SQLITE)) if self.uri.startswith(_SQLITE) else None

    @property
    def artifacts(self) -> str | None:
        """Where files go, as a URI: beside a SQLite file; None: where the server says."""
        return None if self.file is None else (self.file.parent / _ARTIFACTS).as_uri()

    def __str__(self) -> str:
        """The registry as it may be shown: without a password."""
        if self.file is not None:
            return str(self.file)
        parts = urlsplit(self.uri)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def place_of(
    tracking_uri: str | None = None, *, root: Path, cache: Path | None = None, environ: Mapping[str, str]
) -> Place:
    """The registry at `tracking_uri`; else at what MLFLOW_TRACKING_URI says; else `.plimsoll/mlflow.db` under `root`.

    `cache` is `.plimsoll/models` under `root` where nothing is said. Raises `RegistryError`.
    """
    uri = tracking_uri or environ.get(ENVIRONMENT) or f"{_SQLITE}{root / _FOLDER / _DATABASE}"
    if uri.startswith(_SQLITE):
        file = (root / uri.removeprefix(_SQLITE)).resolve()
        if "%" in str(file) or "?" in str(file):
            raise RegistryError(f"MLflow cannot use {file}, since % and ? mean something to it: take another")
        uri = f"{_SQLITE}{file}"
    return Place(uri=uri, cache=(cache or root / _FOLDER / _CACHE).resolve())
