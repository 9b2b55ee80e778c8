"""`fit`: rows and a pre-trained encoder become a model of your own, in a directory that says what it is.

While it lasts, its work stands beside that directory, under the same name with `.work`. A fit that was killed goes on
from there when it is said again. The model's directory appears at the end, whole; nothing that stands there is ever
replaced.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from plimsoll.core.clock import Clock
from plimsoll.core.errors import MissingExtra, Misuse
from plimsoll.learning.card import write_card
from plimsoll.learning.contrast import contrasted
from plimsoll.learning.curves import Curve, write_curves
from plimsoll.learning.encoder import Encoder
from plimsoll.learning.errors import DataError, TrainingFailed
from plimsoll.learning.head import fitted_head
from plimsoll.learning.judging import Calibration, Split, calibrated, scores
from plimsoll.learning.lineage import write_sources
from plimsoll.learning.linear import Head, load_head, save_head
from plimsoll.learning.manifest import Manifest, Scores, digests, write_manifest
from plimsoll.learning.options import FitOptions, Method, Progress
from plimsoll.learning.rows import Rows
from plimsoll.learning.training import Listener, Tuned, tuned
from plimsoll.learning.work import PLAN, Stopwatch, check_new, locked

try:
    import numpy as np
except ImportError as error:
    raise MissingExtra(error.name or "numpy", extra="learning") from error

__all__ = ["ENCODER", "fit"]

ENCODER = "encoder"
MODEL = "model"
_TUNED = "tuned.json"

_CHUNK = 512
"""So many texts are turned into vectors between two savings of them."""


def fit(
    rows: Rows,
    *,
    encoder: Path,
    out: Path,
    options: FitOptions,
    clock: Clock,
    listener: Listener = lambda told: None,
    finish: bool = False,
) -> Manifest:
    """Fits a model on `rows` over the pre-trained `encoder`, and writes it to `out`, which must not be there yet.

    A fit of the same rows, encoder and options that did not end goes on where it was; `finish` takes the best of the
    epochs that it had reached, and trains no more. Raises `Misuse` where there is something else, or another process
    works at it, `WeightsError` for the encoder, and `TrainingFailed`, after which the whole epochs are kept.
    """
    check_new(out)
    if options.method is Method.FEWSHOT:
        _check_pairs(rows)
    loaded = Encoder.load(encoder, max_tokens=options.max_tokens)
    base = loaded.digest()
    with _work(out, rows, base, options) as work:
        watch = Stopwatch(work, clock)

        def told(now: Progress) -> None:
            watch.keep()
            listener(now)

        session = _Session(loaded, rows, options, work, told, finish=finish)
        fitted = session.fitted()
        write_sources(work / MODEL, rows.digest, rows.sources)
        write_curves(work / MODEL, fitted.tuned.curves)
        manifest = session.manifest(fitted, base=base, train_s=watch.elapsed_s)
        write_manifest(work / MODEL, manifest)
        write_card(work / MODEL, manifest, rows=rows, curves=fitted.tuned.curves)
        (work / MODEL).replace(out)
        shutil.rmtree(work)
    return manifest


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    head: Head
    calibration: Calibration
    tuned: Tuned
    validation: Scores
    test: Scores | None


class _Session:
    """One fit: an encoder that changes, and the rows as numbers."""

    def __init__(
        self, encoder: Encoder, rows: Rows, options: FitOptions, work: Path, listener: Listener, *, finish: bool
    ) -> None:
        self.encoder = encoder
        self.rows = rows
        self.options = options
        self.work = work
        self.listener = listener
        self.finish = finish
        self.train, self.validation, self.test = (
            Split.of(split, rows.labels) for split in (rows.train, rows.validation, rows.test)
        )

    def fitted(self) -> _Fitted:
        made = self._tuned()
        head = load_head(self.work / MODEL, labels=self.rows.labels)
        inside = self._vectors("validation", self.validation.texts)
        calibration = calibrated(head, inside, self.validation.numbers, rejected=self.options.rejected)
        judge = partial(scores, head, calibration)
        outside = self._vectors("validation-outside", self.validation.outside)
        validation = judge(inside=inside, numbers=self.validation.numbers, outside=outside)
        test = None
        if self.test.texts:
            inside, outside = self._vectors("test", self.test.texts), self._vectors("test-outside", self.test.outside)
            test = judge(inside=inside, numbers=self.test.numbers, outside=outside)
        return _Fitted(head, calibration, made, validation, test)

    def _tuned(self) -> Tuned:
        """Leaves the trained encoder and head in the directory of work, or takes them from there."""
        kept = self.work / MODEL
        if not kept.exists():
            (head, made), scratch = self._trained(), self.work / f"{MODEL}.new"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            self.encoder.save(scratch / ENCODER)
            save_head(scratch, head)
            (self.work / _TUNED).write_bytes(msgspec.json.encode((made.curves, made.parameters)))
            scratch.replace(kept)
        self.encoder = Encoder.load(kept / ENCODER, max_tokens=self.options.max_tokens)
        curves, parameters = msgspec.json.decode((self.work / _TUNED).read_bytes(), type=tuple[tuple[Curve, ...], int])
        return Tuned(curves, parameters)

    def _trained(self) -> tuple[Head, Tuned]:
        train, validation = ((split.texts, split.numbers) for split in (self.train, self.validation))
        options = self.options
        told: dict[str, Any] = {
            "options": options,
            "work": self.work,
            "listener": self.listener,
            "finish": self.finish,
        }
        if options.method is Method.FEWSHOT:
            made = contrasted(self.encoder, train=train, validation=validation, **told)
            for stale in self.work.glob("vectors-train-tuned-*"):  # of a life that was killed right here
                stale.unlink()
            return self._head("train-tuned"), made
        head = self._head("train")
        if options.method is Method.HEAD:
            return head, Tuned((), head.weight.size + head.bias.size)
        # A head that already fits keeps the first steps from spoiling what the encoder knows
        # (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).
        return tuned(self.encoder, head, train=train, validation=validation, **told)

    def _head(self, name: str) -> Head:
        vectors = self._vectors(name, self.train.texts)
        return fitted_head(vectors, self.train.numbers, balanced=self.options.balanced, seed=self.options.seed)

    def _vectors(self, name: str, texts: Sequence[str]) -> Any:
        """The texts' vectors, saved as they come, so that a killed process goes on with the next ones."""
        parts: list[Any] = [np.empty((0, self.encoder.dimensions), np.float32)]
        for first in range(0, len(texts), _CHUNK):
            file = self.work / f"vectors-{name}-{first}.npy"
            if not file.exists():
                scratch = file.with_suffix(".new.npy")
                np.save(scratch, self.encoder.embed(texts[first : first + _CHUNK]))
                scratch.replace(file)
            parts.append(np.load(file))
            done = min(first + _CHUNK, len(texts))
            self.listener(Progress(what="embed", done=done, total=len(texts)))
        return np.concatenate(parts)

    def manifest(self, fitted: _Fitted, *, base: str, train_s: float) -> Manifest:
        options = self.options
        return Manifest(
            kind="model",
            labels=self.rows.labels,
            temperature=fitted.calibration.temperature,
            threshold=fitted.calibration.threshold,
            rejected=options.rejected,
            max_tokens=options.max_tokens,
            method=options.method,
            seed=options.seed,
            epochs=len(fitted.tuned.curves),
            balanced=options.balanced,
            trained_parameters=fitted.tuned.parameters,
            train_s=train_s,
            data_digest=self.rows.digest,
            base_digest=base,
            files=digests(self.work / MODEL),
            validation=fitted.validation,
            test=fitted.test,
        )


@contextmanager
def _work(out: Path, rows: Rows, base: str, options: FitOptions) -> Iterator[Path]:
    """The directory of work beside `out`, a new one or that of the same fit, for this process alone."""
    plan = msgspec.json.encode({"rows": rows.digest, "encoder": base, "options": asdict(options)})
    try:
        with locked(out) as work:
            if not _planned(work, plan):
                raise Misuse(
                    f"{work} is of a fit that has not ended, of other rows, another encoder or other options. "
                    "Say that one again, take its work away, or name another directory"
                )
            yield work
    except OSError as error:
        kept = out.with_name(f"{out.name}.work")
        raise TrainingFailed(f"{error}. What was done is kept in {kept}") from error


def _planned(work: Path, plan: bytes) -> bool:
    """Whether the work is of this plan. What has none yet, gets it."""
    file, scratch = work / PLAN, work / f"{PLAN}.new"
    if not file.exists():
        scratch.write_bytes(plan)
        scratch.replace(file)
    return file.read_bytes() == plan


def _check_pairs(rows: Rows) -> None:
    counts: dict[str, int] = {}
    for row in rows.train:
        counts[row.label] = counts.get(row.label, 0) + 1
    alone = sorted(label for label, count in counts.items() if count < 2)
    if alone:
        raise DataError(
            "the rows", 0, f"{alone[0]!r} has one row to train on; `fewshot` compares texts of one label: it needs two"
        )
