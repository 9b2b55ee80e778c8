"""Commands that only read leave the journal as it is, to the byte: also one that this user may not write."""

from pathlib import Path

import pytest

from tests.journal.sqlite.test_looking import files
from tests.journal.sqlite.test_migration import version_1, version_of

from .conftest import User

__all__ = ["version_1"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal lies."""
    return tmp_path / "journals" / "journal.db"


@pytest.mark.parametrize("command", ["runs list", "runs show ended", "approvals list", "status"])
def test_a_journal_of_an_earlier_format_is_read_and_stays_so(user: User, version_1: Path, command: str) -> None:
    before = files(version_1)
    assert user.ok(*command.split(), "--journal", str(version_1))
    assert (version_of(version_1), files(version_1)) == (1, before)
