"""What the registry says of a model's directory, and which of its files it takes."""

from pathlib import Path

import msgspec
import pytest

from plimsoll.learning.errors import WeightsError
from plimsoll.learning.manifest import FILE
from plimsoll.learning.registry.describing import described, files_of, verify
from tests.learning.registry.made import write_model


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_model(tmp_path / "model")
    return tmp_path / "model"


def rewritten(directory: Path, **changes: object) -> None:
    raw = msgspec.json.decode((directory / FILE).read_bytes())
    (directory / FILE).write_bytes(msgspec.json.encode({**raw, **changes}))


def test_numbers_are_metrics_by_their_place_and_choices_are_parameters(directory: Path) -> None:
    known = described(directory)
    assert (known.kind, known.method, known.seed, known.data_digest) == ("export", "full", 3, "data")
    assert known.metrics["validation.accuracy"] == 0.9
    assert known.parameters["max_tokens"] == "64" and known.parameters["balanced"] == "True"
    assert "data_digest" not in known.parameters


def test_a_kind_that_is_not_known_here_is_described_too(directory: Path) -> None:
    rewritten(directory, kind="policy", by_tool={"pay (now)": {"right": 0.5, "of": "text"}}, seed=None)
    known = described(directory)
    assert (known.kind, known.seed) == ("policy", None)
    assert known.metrics["by_tool.pay _now_.right"] == 0.5


def test_what_the_manifest_names_and_people_read_goes_and_nothing_else(directory: Path) -> None:
    (directory / "link.md").symlink_to("/etc/passwd")
    assert files_of(directory, described(directory)) == (
        "curves.json",
        "encoder/model.safetensors",
        "lineage.json",
        "README.md",
        FILE,
    )


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "a\\b", "", FILE])
def test_a_manifest_that_names_files_elsewhere_is_refused(directory: Path, name: str) -> None:
    rewritten(directory, files={name: "0"})
    with pytest.raises(WeightsError, match="is no file in it"):
        described(directory)


def test_what_cannot_be_read_is_told(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such directory"):
        described(tmp_path / "nowhere")
    rewritten(directory, files=[1])
    with pytest.raises(WeightsError, match="cannot be read"):
        described(directory)
    (directory / FILE).write_bytes(b"{")
    with pytest.raises(WeightsError, match="cannot be read"):
        described(directory)
    (directory / FILE).unlink()
    with pytest.raises(WeightsError, match="`plimsoll learn fit` makes"):
        described(directory)


def test_files_are_held_against_their_digests(directory: Path) -> None:
    known = described(directory)
    weights = directory / "encoder" / "model.safetensors"
    verify(directory, known.files)
    weights.write_bytes(b"others")
    with pytest.raises(WeightsError, match="is not the file"):
        verify(directory, known.files)
    weights.unlink()
    weights.symlink_to(directory / "README.md")
    with pytest.raises(WeightsError, match="is missing"):
        verify(directory, known.files)
