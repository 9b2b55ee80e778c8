"""How a version is named, and where the registry is."""

from pathlib import Path

import pytest

from plimsoll.learning.errors import RegistryError
from plimsoll.learning.registry import Reference, is_reference
from plimsoll.learning.registry.places import place_of
from plimsoll.learning.registry.references import checked_name


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("registry:intents@champion", Reference(name="intents", alias="champion")),
        ("intents@candidate", Reference(name="intents", alias="candidate")),
        ("registry:my.intents-2:17", Reference(name="my.intents-2", alias=None, version=17)),
        ("intents", Reference(name="intents", alias="champion")),
    ],
)
def test_a_reference_is_read_and_written(text: str, reference: Reference) -> None:
    assert Reference.parse(text) == reference
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    "text", ["", "registry:", "a b", "a@", "a:", "a:0", "a:-1", "a:x", "a@1", "../a", "a/b", "a@b@c", "a'b", "a:1\n"]
)
def test_what_names_nothing_is_told(text: str) -> None:
    with pytest.raises(RegistryError, match="names no model of the registry: write NAME@champion"):
        Reference.parse(text)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a@b", "'", "x" * 101, "-a"])
def test_a_name_that_no_reference_could_hold_is_refused(name: str) -> None:
    with pytest.raises(RegistryError, match="is no name for a model"):
        checked_name(name)


def test_a_directory_is_no_reference() -> None:
    assert is_reference("registry:intents") and not is_reference("models/intents")


def test_the_registry_is_beside_the_project_where_nothing_is_said(tmp_path: Path) -> None:
    place = place_of(root=tmp_path, environ={})
    assert place.file == tmp_path / ".plimsoll" / "mlflow.db"
    assert place.artifacts == (tmp_path / ".plimsoll" / "mlflow-artifacts").as_uri()
    assert place.cache == tmp_path / ".plimsoll" / "models"


def test_what_is_said_goes_before_the_environment(tmp_path: Path) -> None:
    environ = {"MLFLOW_TRACKING_URI": "http://elsewhere:5000"}
    assert place_of(root=tmp_path, environ=environ).uri == "http://elsewhere:5000"
    said = place_of("sqlite:///other/m.db", root=tmp_path, cache=tmp_path / "kept", environ=environ)
    assert (said.file, said.cache) == (tmp_path / "other" / "m.db", tmp_path / "kept")


@pytest.mark.parametrize("name", ["100%", "what?"])
def test_a_file_that_mlflow_would_take_for_another_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="MLflow cannot use"):
        place_of(root=tmp_path / name, environ={})


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    place = place_of("https://maria:secret@mlflow.shop:5000/team", root=tmp_path, environ={})
    assert str(place) == "https://mlflow.shop:5000/team"
    assert (place.file, place.artifacts) == (None, None)
