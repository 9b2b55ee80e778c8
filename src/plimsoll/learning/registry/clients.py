"""MLflow's client, quiet and impatient; and SQLite files, looked at before MLflow gets them.

MLflow would make its tables in any database, and move an older one to its own version without being asked.
"""

import os
import shutil
import sqlite3
import tempfile
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.errors import RegistryError, RegistryUnavailable

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing is told to anybody
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what goes wrong is said once, by the error
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # it would try for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}.items():
    os.environ.setdefault(_name, _value)  # read when MLflow is imported; what a user has set stays

try:
    from alembic.script import ScriptDirectory
    from mlflow import MlflowClient
    from mlflow.store.db.utils import _get_alembic_config
except ImportError as error:
    raise MissingExtra(error.name or "mlflow", extra="registry") from error

__all__ = ["check_file", "client_of", "make_file"]


def client_of(uri: str) -> Any:
    """A client of what is at `uri`. Raises what MLflow and SQLAlchemy raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of what it does itself
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def make_file(file: Path) -> None:
    """Makes an empty registry at `file`, whole or not at all, for one person alone: it will name runs.

    It takes some hundred steps: beside, so that a life that is killed at it leaves nothing half-made.
    """
    if file.exists():
        return
    for left in file.parent.glob(f"{file.name}.*/"):  # by a process that was killed right here
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f"{file.name}.") as scratch:
        made, whole = Path(scratch, "made.db"), Path(scratch, "whole.db")
        client_of(f"sqlite:///{made}")  # keeps it open: what is moved is a copy
        shutil.copyfile(made, whole)
        whole.chmod(0o600)
        whole.replace(file)


def check_file(file: Path) -> None:
    """Raises for a SQLite file that is no database, not MLflow's, or of another version of MLflow. It is only read."""
    found = _schema(file)
    known = ScriptDirectory.from_config(_get_alembic_config(f"sqlite:///{file}"))
    head = known.get_current_head()
    if found == head:
        return
    if any(script.revision == found for script in known.walk_revisions()):
        raise RegistryError(
            f"{file} is of an earlier MLflow (schema {found}, this one has {head}). It stays as it is: copy it, and "
            f"then say `mlflow db upgrade sqlite:///{file}`"
        )
    raise RegistryError(
        f"{file} is of a later MLflow (schema {found}, this one has {head}). It stays as it is: "
        "use the version of Plimsoll that wrote it, or name another file"
    )


def _schema(file: Path) -> str:
    """What MLflow's migrations have noted in the file."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"alembic_version", "experiments"} <= tables:
                raise RegistryError(f"{file} is no registry, and stays as it is: name another file")
            (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("none",)
            return str(found)
    except sqlite3.Error as error:
        raise RegistryUnavailable(f"{file} cannot be read as a registry: {error}. Bring it back from a copy") from error
