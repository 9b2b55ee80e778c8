import shutil
from pathlib import Path

import pytest

from tests.journal.helpers import run
from tests.journal.sqlite.audits import filled


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test's journal lies, once somebody makes it."""
    return tmp_path / "deep" / "down" / "journal.db"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal with some of everything. Nobody changes it."""
    path = tmp_path_factory.mktemp("journal") / "journal.db"
    run(filled(path))
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The same, for the test to change."""
    return Path(shutil.copy(whole, tmp_path / "journal.db"))
