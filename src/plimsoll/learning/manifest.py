"""What stands in a model's directory: one JSON file that says what the others are, and what was measured of them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from plimsoll.learning.errors import WeightsError

__all__ = ["FILE", "Manifest", "Scores", "digest_of", "digests", "model_digest", "read_manifest", "write_manifest"]

FILE = "plimsoll-model.json"
FORMAT = 1
_WEIGHED = frozenset({".json", ".onnx", ".safetensors", ".txt", ".model"})


class Scores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model does on rows that it was not fitted on. Shares are 0 to 1; None: there were no such rows.

    `accuracy` is over in-scope rows, as if none were rejected; `rejected` the share of them that the threshold rejects;
    `calibration_error` the expected calibration error; `oos_recall` the share of out-of-scope rows that the threshold
    rejects; `auroc` how well energy parts the two.
    """

    rows: int
    accuracy: float
    calibration_error: float
    rejected: float
    oos_rows: int = 0
    oos_recall: float | None = None
    auroc: float | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the directory holds.

    `kind` is `model` (PyTorch weights, as fitted) or `export` (int8, for ONNX Runtime). `labels` are the columns of the
    head, in order; logits are divided by `temperature` for probabilities; an energy below `threshold` is out of scope,
    as it was for a share `rejected` of the in-scope validation rows. `data_digest` is of every row and its split,
    `base_digest` of the pre-trained weights, and `files` of everything here that answers depend on, all SHA-256.
    `train_s` are the seconds of the fit since it was last begun.
    """

    kind: str
    labels: tuple[str, ...]
    temperature: float
    threshold: float
    rejected: float
    max_tokens: int
    method: str
    seed: int
    epochs: int
    balanced: bool
    trained_parameters: int
    train_s: float
    data_digest: str
    base_digest: str
    files: dict[str, str]
    validation: Scores
    test: Scores | None = None
    refitted: bool = False
    """The head was fitted anew on the int8 vectors; otherwise the trained one did no worse on the validation rows."""
    batches: bool = False
    """Texts may be read together: none of them changes another's answer. Otherwise each is read alone."""
    format: int = FORMAT


def digests(directory: Path) -> dict[str, str]:
    """SHA-256 of every file under `directory` but the manifest and what is there for people to read."""
    files = (path.relative_to(directory) for path in sorted(directory.rglob("*")) if path.is_file())
    return {
        path.as_posix(): digest_of(directory / path) for path in files if path.suffix in _WEIGHED and path.name != FILE
    }


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Writes it, whole or not at all."""
    scratch = directory / f"{FILE}.new"
    scratch.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    scratch.replace(directory / FILE)


def read_manifest(directory: Path, *, kind: str | None) -> Manifest:
    """The manifest of a directory that must be of this `kind` (None: of any), and hold the files it names, unaltered.

    Raises `WeightsError`.
    """
    if not directory.is_dir():
        raise WeightsError(str(directory), "there is no such directory")
    try:
        manifest = msgspec.json.decode((directory / FILE).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise WeightsError(str(directory), f"it has no {FILE}: `plimsoll learn fit` makes such a directory") from None
    except (OSError, msgspec.DecodeError) as error:
        raise WeightsError(str(directory), f"its {FILE} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise WeightsError(str(directory), f"its format is {manifest.format}; this version reads {FORMAT}")
    if kind is not None and manifest.kind != kind:
        hint = "`plimsoll learn export` makes an export of a model" if kind == "export" else "this wants the model"
        raise WeightsError(str(directory), f"it is of kind `{manifest.kind}`, and `{kind}` is wanted: {hint}")
    _verify(directory, manifest.files)
    return manifest


def model_digest(directory: Path) -> str:
    """What names the very model in a directory: SHA-256 of its manifest, which names the digests of all else.

    Whether the other files are still those is what `read_manifest` looks at. Raises `WeightsError`.
    """
    try:
        return digest_of(directory / FILE)
    except OSError as error:
        raise WeightsError(str(directory), f"its {FILE} cannot be read: {error.strerror}") from error


def _verify(directory: Path, files: Mapping[str, str]) -> None:
    for name, digest in files.items():
        path = directory / name
        if not path.is_file():
            raise WeightsError(str(directory), f"{name} is missing: copy the directory anew")
        if digest_of(path) != digest:
            raise WeightsError(
                str(directory),
                f"{name} is not the file that {FILE} was written for: cut short or exchanged? Copy it anew",
            )


def digest_of(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
