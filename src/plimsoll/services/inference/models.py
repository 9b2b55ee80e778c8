"""Which model answers: loaded and warmed before it is asked, and exchanged for the next without a request being lost.

What is to answer stands behind a reference that somebody moves: a link to a directory, or a registry's alias. It is
looked at now and then. A model that cannot be loaded is reported, and the one before goes on.
"""

import asyncio
import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from plimsoll.core.clock import Clock
from plimsoll.core.errors import Misuse, PlimsollError
from plimsoll.learning.classifier import Classifier
from plimsoll.learning.errors import WeightsError
from plimsoll.learning.manifest import FILE
from plimsoll.services.inference.batching import Admission, Batcher, BatchOptions, Item, Reading
from plimsoll.services.inference.metrics import Metrics

__all__ = ["ClassifierReader", "DirectorySource", "Model", "ModelSource", "Models", "Rejected", "Stamp"]

_LOG = logging.getLogger("plimsoll.inference")
_BYTES_A_TOKEN = 4
"""Of UTF-8: a letter of Latin is one byte, and a sign of Chinese, which is a token, three."""
_WARMING = ("a", "a text of some words, as people write them", "a longer text " * 40)
_VERSION_DIGITS = 12
_RETRY_S = 30.0
"""After so long, a model that could not be loaded is tried again: somebody may still have been copying it."""


class ModelSource(Protocol):
    """Where the model lies that is to answer now."""

    def current(self) -> Path:
        """Its directory. Raises a `PlimsollError` where there is none."""
        ...


class DirectorySource:
    """A directory, a link to one, or a file whose first line names one (from where the file lies)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def current(self) -> Path:
        try:
            if not self._path.is_file():
                return self._path.resolve(strict=True)
            named = self._path.read_text(encoding="utf-8").strip().partition("\n")[0]
            if not named:
                raise ValueError("it is empty")
            return (self._path.resolve().parent / named).resolve(strict=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(str(self._path), f"it names no model's directory: {error}") from error


class ClassifierReader:
    """A classifier, as a batcher asks it."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._most = classifier.manifest.max_tokens

    def size(self, item: Item) -> int:
        if not isinstance(item, str):
            return len(item)
        return min(self._most, 2 + len(item.encode("utf-8", "replace")) // _BYTES_A_TOKEN)

    def read(self, items: Sequence[Item]) -> list[Reading]:
        rows = [self._classifier.ids(item) if isinstance(item, str) else item for item in items]
        vectors = self._classifier.embed_ids(rows)
        return [Reading(vector, len(row)) for vector, row in zip(vectors, rows, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model that answers. `version` is a digest of all that its answers depend on (SHA-256, its first 12 digits)."""

    directory: Path
    version: str
    classifier: Classifier
    batcher: Batcher


@dataclass(frozen=True, slots=True)
class Stamp:
    """A model's directory as it was seen: its manifest's inode, time of change in ns, and size in bytes."""

    directory: Path
    manifest: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A model that was to answer and cannot: where it lies, and why."""

    directory: str
    reason: str


class Models:
    """The model that answers now. `rejected` is the one that should and cannot, where there is one."""

    def __init__(
        self, source: ModelSource, *, options: BatchOptions, admission: Admission, clock: Clock, metrics: Metrics
    ) -> None:
        self._source = source
        self._options = options
        self._admission = admission
        self._clock = clock
        self._metrics = metrics
        self._current: Model | None = None
        self._answering: Stamp | None = None
        self._failed: Stamp | None = None
        self._retry_at = 0.0
        self._retiring: set[asyncio.Task[None]] = set()
        self.rejected: Rejected | None = None

    @property
    def current(self) -> Model:
        if self._current is None:
            raise Misuse("no model is loaded: the service was not started")
        return self._current

    async def start(self) -> None:
        """Loads the first model, where none is loaded yet. Raises what is wrong with it."""
        if self._current is not None:
            return
        stamp = await asyncio.to_thread(_stamp, self._source)
        self._exchange(await self._loaded(stamp.directory), stamp)

    async def watch(self, *, every_s: float) -> None:
        """Looks every so many seconds whether another model is to answer, until it is cancelled."""
        while True:
            await self._clock.sleep(every_s)
            await self.look()

    async def look(self) -> None:
        """Exchanges the model where another is to answer, and can. Raises nothing: it goes on with the one it has."""
        stamp: Stamp | None = None
        try:
            stamp = await asyncio.to_thread(_stamp, self._source)
            if stamp != self._answering:
                if stamp == self._failed and self._clock.monotonic() < self._retry_at:
                    return
                self._exchange(await self._loaded(stamp.directory), stamp)
        except Exception as error:  # whatever is wrong with a new model, the one before goes on
            self._reject(stamp, error)
        else:
            self._failed = self.rejected = None

    async def close(self) -> None:
        """Waits until every model has answered what it was asked."""
        if self._current is not None:
            self._retire(self._current)
        if self._retiring:
            await asyncio.wait(self._retiring)

    async def _loaded(self, directory: Path) -> Model:
        classifier = await asyncio.to_thread(_warmed, directory)
        batcher = Batcher(
            ClassifierReader(classifier),
            options=self._options,
            admission=self._admission,
            clock=self._clock,
            on_batch=self._metrics.batched,
        )
        version = hashlib.sha256(msgspec.json.encode(classifier.manifest)).hexdigest()[:_VERSION_DIGITS]
        return Model(directory, version, classifier, batcher)

    def _exchange(self, model: Model, stamp: Stamp) -> None:
        before, self._current, self._answering = self._current, model, stamp
        if before is not None:
            self._retire(before)
        self._metrics.loaded(model.version)
        _LOG.info("%s answers: version %s", model.directory, model.version)

    def _reject(self, stamp: Stamp | None, error: Exception) -> None:
        reason = str(error) if isinstance(error, PlimsollError) else f"{type(error).__name__}: {error}"
        rejected = Rejected("" if stamp is None else str(stamp.directory), reason)
        self._failed, self._retry_at = stamp, self._clock.monotonic() + _RETRY_S
        if rejected != self.rejected:
            self._metrics.rejected()
            _LOG.error("the model cannot be exchanged, and version %s goes on: %s", self.current.version, reason)
        self.rejected = rejected

    def _retire(self, model: Model) -> None:
        """Lets the model answer what it was asked, and go."""
        task = asyncio.create_task(model.batcher.close())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


def _stamp(source: ModelSource) -> Stamp:
    directory = source.current()
    try:
        status = (directory / FILE).stat()
    except OSError as error:
        raise WeightsError(
            str(directory), f"it has no {FILE}: `plimsoll learn export` makes such a directory"
        ) from error
    return Stamp(directory, (status.st_ino, status.st_mtime_ns, status.st_size))


def _warmed(directory: Path) -> Classifier:
    """The model, after it has answered some texts: the first ones take longer. Raises `WeightsError`."""
    classifier = Classifier.load(directory)
    for texts in (*([text] for text in _WARMING), _WARMING * 5):
        answers = classifier.classify(texts)
        if not all(math.isfinite(answer.energy) for answer in answers):
            raise WeightsError(str(directory), "what it answers is no number: export the model anew")
    return classifier
