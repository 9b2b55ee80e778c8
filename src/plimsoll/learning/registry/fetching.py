"""Fetching: a version's files, as they were registered or not at all."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plimsoll.core.errors import Misuse
from plimsoll.learning.errors import RegistryError, RegistryUnavailable, WeightsError
from plimsoll.learning.lineage import FILE as LINEAGE
from plimsoll.learning.manifest import model_digest
from plimsoll.learning.registry.describing import described, files_of, verify
from plimsoll.learning.registry.references import CANDIDATE, CHAMPION, Reference
from plimsoll.learning.registry.tags import MODEL_DIGEST, VERDICT, VERDICT_OF
from plimsoll.learning.registry.tracking import MODEL, Model, Tracking, Version

__all__ = ["cached", "digest_of_version", "fetch", "found", "is_proven"]


def digest_of_version(version: Version) -> str:
    """The digest of a version's model. Raises `RegistryError` for one that was not registered by us."""
    try:
        return version.tags[MODEL_DIGEST]
    except KeyError:
        raise RegistryError(
            f"{version.name}:{version.number} was not made by `plimsoll learn register`, so nobody knows what it is"
        ) from None


def is_proven(version: Version) -> bool:
    """Whether a verdict of the gate stands beside a version that speaks for this very model."""
    return version.tags.get(VERDICT) == "ship" and version.tags.get(VERDICT_OF) == version.tags.get(MODEL_DIGEST)


def found(tracking: Tracking, reference: Reference) -> Version:
    """The version that a reference names now. Raises `RegistryError` where there is none, or where a champion has no
    verdict: somebody moved the alias by hand."""
    if reference.version is not None:
        return tracking.version(reference.name, reference.version)
    model = tracking.model(reference.name)
    number = model.aliases.get(reference.alias or CHAMPION)
    if number is None:
        raise RegistryError(_no_alias(reference, model))
    version = tracking.version(reference.name, number)
    if reference.alias == CHAMPION and not is_proven(version):
        raise RegistryError(
            f"{reference} is version {number}, for which no verdict of the gate speaks: somebody moved the alias by "
            f"hand. `plimsoll learn promote {reference.name} --version {number} --verdict …` says whether it may"
        )
    return version


def fetch(tracking: Tracking, version: Version, out: Path) -> None:
    """Copies a version's model to the directory `out`, which must not be there yet. Raises `Misuse`; `WeightsError`
    where what the registry holds is not what was registered: then there is no `out`."""
    if out.exists():
        raise Misuse(f"{out} is there already, and a model must not be lost: name another directory")
    _bring(tracking, version, out)


def cached(tracking: Tracking, version: Version) -> Path:
    """The directory of a version's model, among those that were fetched before: brought there once, by its digest.

    Looked at each time: a copy that was altered since is brought anew. Raises as `fetch`.
    """
    digest = digest_of_version(version)
    kept = tracking.place.cache / digest
    with _alone(kept):
        for left in kept.parent.glob(f"{_scratch(kept)}*"):  # by a process that was killed at it
            shutil.rmtree(left)
        if kept.exists() and not _is_whole(kept, digest):
            shutil.rmtree(kept)
        if not kept.exists():
            _bring(tracking, version, kept)
    return kept


def _bring(tracking: Tracking, version: Version, out: Path) -> None:
    """Downloads beside `out`, looks at every file, and moves those that are the model's there in one step."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=_scratch(out)) as scratch:
            got, whole = tracking.download(version, MODEL, Path(scratch)), Path(scratch, "whole")
            _check(got, version)
            for name in files_of(got, described(got)):
                (whole / name).parent.mkdir(parents=True, exist_ok=True)
                (got / name).replace(whole / name)
            if (whole / LINEAGE).exists():
                (whole / LINEAGE).chmod(0o600)  # it names runs
            whole.replace(out)
    except OSError as error:
        raise RegistryUnavailable(f"{out} cannot be written: {error.strerror}") from error


def _scratch(out: Path) -> str:
    return f".{out.name}."


def _check(got: Path, version: Version) -> None:
    name = f"{version.name}:{version.number}"
    try:
        if model_digest(got) != digest_of_version(version):
            raise WeightsError(name, "its manifest is not the one that was registered")
        verify(got, described(got).files)
    except WeightsError as error:
        what = str(error).removeprefix(f"{error.directory}: ")
        raise WeightsError(
            name, f"{what}. What the registry holds is not what was registered: register it anew"
        ) from error


def _is_whole(directory: Path, digest: str) -> bool:
    try:
        if model_digest(directory) != digest:
            return False
        verify(directory, described(directory).files)
    except WeightsError:
        return False
    return True


@contextmanager
def _alone(kept: Path) -> Iterator[None]:
    """One process alone brings what is to lie there; the others find it."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        lock = kept.with_name(f"{kept.name}.lock").open("w")
    except OSError as error:
        raise RegistryUnavailable(f"{kept.parent} cannot be written: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _no_alias(reference: Reference, model: Model) -> str:
    there = ", ".join(f"@{alias} (version {number})" for alias, number in sorted(model.aliases.items())) or "none"
    hint = "" if reference.alias != CHAMPION else ": `plimsoll learn promote` makes one"
    if reference.alias == CANDIDATE:
        hint = ": `plimsoll learn register` makes one"
    return f"{reference.name} has no {reference.alias}{hint}. It has {there}"
