"""A model's directory says what it is, and what is no longer that is not taken for it."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from plimsoll.learning.errors import WeightsError
from plimsoll.learning.manifest import FILE, Manifest, Scores, digests, model_digest, read_manifest, write_manifest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "README.md").write_text("for people")
    write_manifest(tmp_path, manifest(tmp_path))
    return tmp_path


def manifest(directory: Path) -> Manifest:
    return Manifest(
        kind="model",
        labels=("a", "b"),
        temperature=1.5,
        threshold=2.0,
        rejected=0.05,
        max_tokens=64,
        method="head",
        seed=0,
        epochs=0,
        balanced=True,
        trained_parameters=10,
        train_s=1.0,
        data_digest="d",
        base_digest="b",
        files=digests(directory),
        validation=Scores(rows=2, accuracy=1.0, calibration_error=0.1, rejected=0.0),
    )


def test_it_is_read_as_it_was_written(directory: Path) -> None:
    assert read_manifest(directory, kind="model") == manifest(directory)
    assert set(manifest(directory).files) == {"encoder/model.safetensors"}


def test_what_people_read_may_change(directory: Path) -> None:
    (directory / "README.md").write_text("more for people")
    read_manifest(directory, kind="model")


def test_a_models_digest_is_that_of_its_manifest(directory: Path) -> None:
    made = model_digest(directory)
    assert made == hashlib.sha256((directory / FILE).read_bytes()).hexdigest()
    (directory / "encoder" / "model.safetensors").write_bytes(b"others")
    write_manifest(directory, manifest(directory))
    assert model_digest(directory) != made


def test_what_has_no_manifest_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"plimsoll-model\.json cannot be read: No such file"):
        model_digest(tmp_path)


def damage(directory: Path, kind: str) -> None:
    file, weights = directory / FILE, directory / "encoder" / "model.safetensors"
    match kind:
        case "cut short":
            weights.write_bytes(b"weigh")
        case "gone":
            weights.unlink()
        case "no json":
            file.write_bytes(file.read_bytes()[:-10])
        case "of another version":
            file.write_bytes(msgspec.json.encode(msgspec.json.decode(file.read_bytes()) | {"format": 2}))
        case "unknown field":
            file.write_bytes(msgspec.json.encode(msgspec.json.decode(file.read_bytes()) | {"new": 2}))
        case "no manifest":
            file.unlink()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("cut short", "model.safetensors is not the file"),
        ("gone", "model.safetensors is missing"),
        ("no json", "cannot be read"),
        ("of another version", "its format is 2; this version reads 1"),
        ("unknown field", "unknown field `new`"),
        ("no manifest", "`plimsoll learn fit` makes"),
    ],
)
def test_what_is_damaged_is_told(directory: Path, kind: str, said: str) -> None:
    damage(directory, kind)
    with pytest.raises(WeightsError, match=said) as error:
        read_manifest(directory, kind="model")
    assert error.value.directory == str(directory)


def test_a_model_is_no_export(directory: Path) -> None:
    with pytest.raises(WeightsError, match="`plimsoll learn export` makes"):
        read_manifest(directory, kind="export")


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such directory"):
        read_manifest(tmp_path / "nowhere", kind="model")
