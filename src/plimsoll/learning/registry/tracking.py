"""MLflow, and all of it that is used here: runs with their files, versions with their tags, and aliases.

Whatever MLflow raises becomes an error of ours.
"""

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.errors import RegistryError, RegistryUnavailable
from plimsoll.learning.registry.clients import check_file, client_of, make_file
from plimsoll.learning.registry.places import ENVIRONMENT, Place

try:
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError
except ImportError as error:
    raise MissingExtra(error.name or "mlflow", extra="registry") from error

__all__ = ["MODEL", "Model", "Run", "Tracking", "Version"]

MODEL = "model"
"""The folder of a run's files that holds the model's directory."""

_NOT_THERE = "RESOURCE_DOES_NOT_EXIST"
_THERE_ALREADY = "RESOURCE_ALREADY_EXISTS"
_WRONG = frozenset({"INVALID_PARAMETER_VALUE", "INVALID_STATE", "BAD_REQUEST", "PERMISSION_DENIED", "UNAUTHENTICATED"})
_AT_ONCE = 90
"""So many parameters, tags or metrics go in one request: MLflow takes 100."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version as the registry has it. `made_at` is in seconds since 1970."""

    name: str
    number: int
    run_id: str
    made_at: float
    tags: dict[str, str]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A registered model: its tags, and the version that each alias names."""

    name: str
    tags: dict[str, str]
    aliases: dict[str, int]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is to hold. `files` are pairs of a file and its place; `curves` are (epoch, name, value)."""

    name: str
    tags: Mapping[str, str]
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    curves: Sequence[tuple[int, str, float]]
    files: Sequence[tuple[Path, str]]


class Tracking:
    """An open registry. Its methods raise `RegistryError` for what it does not have, else `RegistryUnavailable`."""

    def __init__(self, client: Any, place: Place) -> None:
        self._client = client
        self.place = place

    @classmethod
    def open(cls, place: Place, *, make: bool = False) -> "Tracking":
        """The registry at `place`. A SQLite file that is not there is made where `make` says so, and never else."""
        tracking = cls(None, place)
        with tracking._told():
            if place.file is not None and not place.file.exists():
                if not make:
                    raise RegistryError(f"there is no registry at {place}: `plimsoll learn register` makes one")
                place.file.parent.mkdir(parents=True, exist_ok=True)
                with tracking.alone():
                    make_file(place.file)
            if place.file is not None:
                check_file(place.file)
            tracking._client = client_of(place.uri)
        return tracking

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else does what is done under this meanwhile: with a SQLite file. A server has no such lock."""
        if self.place.file is None:
            yield
            return
        with self._told():
            lock = self.place.file.with_name(f"{self.place.file.name}.lock").open("w")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def record(self, name: str, run: Run) -> str:
        """Writes a run of the model `name`, all of it, and returns its id. What fails leaves a run marked as failed."""
        with self._told():
            made = self._client.create_run(self._experiment(name), run_name=run.name, tags=dict(run.tags))
            run_id: str = made.info.run_id
            status = "FAILED"
            try:
                for file, place in run.files:
                    folder = f"{MODEL}/{place}".rpartition("/")[0]
                    self._client.log_artifact(run_id, str(file), folder)
                self._numbers(run_id, run, at_ms=made.info.start_time)
                status = "FINISHED"
            finally:
                self._client.set_terminated(run_id, status)
        return run_id

    def _numbers(self, run_id: str, run: Run, *, at_ms: int) -> None:
        metrics = [Metric(name, value, at_ms, 0) for name, value in run.metrics.items()]
        metrics += [Metric(name, value, at_ms, epoch) for epoch, name, value in run.curves]
        for first in range(0, len(metrics), _AT_ONCE):
            self._client.log_batch(run_id, metrics=metrics[first : first + _AT_ONCE])
        parameters = [Param(name, value) for name, value in run.parameters.items()]
        for first in range(0, len(parameters), _AT_ONCE):
            self._client.log_batch(run_id, params=parameters[first : first + _AT_ONCE])

    def make_version(self, name: str, run_id: str, *, tags: Mapping[str, str]) -> int:
        """Makes a version of the files of a run, with all its tags at once, and says its number."""
        with self._told():
            self._ignoring(_THERE_ALREADY, lambda: self._client.create_registered_model(name))
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{MODEL}"
            return int(self._client.create_model_version(name, source, run_id, tags=dict(tags)).version)

    def attach(self, version: Version, place: str, text: str, *, tags: Mapping[str, str]) -> None:
        """Puts a file beside those of a version, and then tags on the version and its run."""
        with self._told():
            self._client.log_text(version.run_id, text, place)
            self._client.log_batch(version.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            for key, value in tags.items():
                self._client.set_model_version_tag(version.name, str(version.number), key, value)

    def models(self) -> tuple[Model, ...]:
        """Every registered model, by name."""
        with self._told():
            return tuple(_model(found) for found in self._pages(self._client.search_registered_models))

    def model(self, name: str) -> Model:
        with self._told(f"there is no model {name!r} in {self.place}: `plimsoll learn models` lists those there are"):
            return _model(self._client.get_registered_model(name))

    def versions(self, name: str) -> tuple[Version, ...]:
        """Every version of a model, the latest first."""
        with self._told():
            found = self._pages(self._client.search_model_versions, filter_string=f"name='{name}'")
            return tuple(sorted((_version(each) for each in found), key=lambda version: -version.number))

    def version(self, name: str, number: int) -> Version:
        with self._told(f"{name} has no version {number} in {self.place}: `plimsoll learn models {name}` lists them"):
            return _version(self._client.get_model_version(name, str(number)))

    def metrics(self, version: Version) -> dict[str, float]:
        """What was measured of a version; of a learning curve, its end. Empty where somebody deleted its run."""
        with self._told():
            try:
                return dict(self._client.get_run(version.run_id).data.metrics)
            except MlflowException as error:
                if error.error_code == _NOT_THERE:
                    return {}
                raise

    def set_alias(self, name: str, alias: str, number: int) -> None:
        with self._told():
            self._client.set_registered_model_alias(name, alias, str(number))

    def tag(self, name: str, key: str, value: str) -> None:
        """Puts a tag on a registered model."""
        with self._told():
            self._client.set_registered_model_tag(name, key, value)

    def download(self, version: Version, place: str, into: Path) -> Path:
        """Copies a file or folder of a version's run into the directory `into`, and says where it is."""
        what = f"{place} of {version.name}:{version.number} is not in the registry any more: register the model anew"
        with self._told(what):
            return Path(self._client.download_artifacts(version.run_id, place, str(into)))

    def _experiment(self, name: str) -> str:
        title = f"plimsoll/{name}"
        self._ignoring(
            _THERE_ALREADY, lambda: self._client.create_experiment(title, artifact_location=self.place.artifacts)
        )
        found = self._client.get_experiment_by_name(title)
        if found.lifecycle_stage != "active":
            raise RegistryError(
                f"somebody deleted the experiment {title!r} of {self.place}: "
                f"`mlflow experiments restore -x {found.experiment_id}` brings it back"
            )
        return str(found.experiment_id)

    def _ignoring(self, code: str, work: Callable[[], object]) -> None:
        try:
            work()
        except MlflowException as error:
            if error.error_code != code:
                raise

    def _pages(self, search: Callable[..., Any], **chosen: Any) -> Iterator[Any]:
        token = None
        while True:
            page = search(page_token=token, **chosen)
            yield from page
            token = page.token
            if not token:
                return

    @contextmanager
    def _told(self, not_there: str = "") -> Iterator[None]:
        """Turns what MLflow raises into errors of ours: `not_there` says what it means that something is not."""
        try:
            yield
        except MlflowException as error:
            if error.error_code == _NOT_THERE and not_there:
                raise RegistryError(not_there) from error
            if error.error_code in _WRONG:
                raise RegistryError(f"{self.place} refuses: {self._hidden(error)}") from error
            raise self._unavailable(error) from error
        except (SQLAlchemyError, OSError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> RegistryUnavailable:
        hint = "Is it writable, and is there room?" if self.place.file else f"Does it run, and is {ENVIRONMENT} right?"
        return RegistryUnavailable(f"the registry {self.place} cannot be used: {self._hidden(error)}. {hint}")

    def _hidden(self, error: Exception) -> str:
        """The first line of what an error says, without what the URI may hold of a password."""
        said = (str(error).splitlines() or [type(error).__name__])[0]
        return said.replace(self.place.uri, str(self.place))[:400].rstrip(".")


def _model(found: Any) -> Model:
    aliases = {alias: int(number) for alias, number in found.aliases.items()}
    return Model(name=found.name, tags=dict(found.tags), aliases=aliases)


def _version(found: Any) -> Version:
    return Version(
        name=found.name,
        number=int(found.version),
        run_id=found.run_id,
        made_at=found.creation_timestamp / 1000,
        tags=dict(found.tags),
    )
