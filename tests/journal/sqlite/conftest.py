from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test's journal lies, once somebody makes it."""
    return tmp_path / "deep" / "down" / "journal.db"
