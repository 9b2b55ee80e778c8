"""What tests of the registry share: a database of MLflow, made once, since it takes MLflow many seconds."""

import importlib.util
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from plimsoll.learning.registry.places import ENVIRONMENT, Place, place_of
from tests.learning.registry.made import WEIGHTS, write_model

LIGHT = {"test_describing.py", "test_references.py", "test_verdicts.py"}
HERE = Path(__file__).parent
if importlib.util.find_spec("mlflow") is None:
    collect_ignore = [file.name for file in HERE.glob("test_*.py") if file.name not in LIGHT]


@pytest.fixture(autouse=True)
def no_registry_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)


@pytest.fixture(scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Nobody pulls the plug of a test: SQLite does not wait for the disk at each of MLflow's many writes."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def quick(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", quick)
    yield
    event.remove(Engine, "connect", quick)


@pytest.fixture(scope="session")
def database(no_waiting_for_the_disk: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty registry, made by two at the same moment."""
    from plimsoll.learning.registry.tracking import Tracking

    place = place_of(root=tmp_path_factory.mktemp("database"), environ={})
    (place.cache.parent / "mlflow.db.killed").mkdir(parents=True)
    with ThreadPoolExecutor(2) as both:
        for opened in [both.submit(Tracking.open, place, make=True) for _ in range(2)]:
            assert opened.result().models() == ()
    assert place.file is not None
    assert place.file.stat().st_mode & 0o777 == 0o600
    assert {file.name for file in place.file.parent.iterdir()} == {"mlflow.db", "mlflow.db.lock"}
    return place.file


@pytest.fixture(scope="session")
def filled_database(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with the versions 1, 2 and 3 of `intents`, each another model."""
    from plimsoll.learning.registry.registering import register
    from plimsoll.learning.registry.tracking import Tracking

    root = tmp_path_factory.mktemp("filled")
    tracking = Tracking.open(copied(database, root))
    for weights in WEIGHTS:
        write_model(root / weights.decode(), weights)
        register(tracking, root / weights.decode(), name="intents")
    assert tracking.place.file is not None
    return tracking.place.file


def copied(database: Path, root: Path) -> Place:
    made = place_of(root=root, environ={})
    assert made.file is not None
    made.file.parent.mkdir()
    shutil.copy(database, made.file)
    return made


@pytest.fixture
def place(tmp_path: Path, database: Path) -> Place:
    """An empty registry."""
    return copied(database, tmp_path)


@pytest.fixture
def tracking(place: Place) -> Any:
    """An empty registry, opened."""
    from plimsoll.learning.registry.tracking import Tracking

    return Tracking.open(place)


@pytest.fixture
def filled(tmp_path: Path, filled_database: Path) -> Any:
    """A registry of three models, opened. Their files are those of all tests: they stay as they are."""
    from plimsoll.learning.registry.tracking import Tracking

    return Tracking.open(copied(filled_database, tmp_path))


@pytest.fixture
def digests(filled: Any) -> list[str]:
    """The digests of the three models."""
    return [filled.version("intents", number).tags["plimsoll.model_digest"] for number in (1, 2, 3)]
