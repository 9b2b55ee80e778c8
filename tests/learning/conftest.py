"""What tests of learning share. Without its extra, those that need it are not collected: they are all heavy."""

import importlib.util
import os
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # every test process has libraries that would take all cores
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

LIGHT = {
    "test_conversations.py",
    "test_extra.py",
    "test_fit_journal.py",
    "test_guard_rows.py",
    "test_journals.py",
    "test_lineage.py",
    "test_manifest.py",
    "test_options.py",
    "test_rows.py",
    "test_work.py",
}
HERE = Path(__file__).parent
if importlib.util.find_spec("torch") is None:
    collect_ignore = [file.name for file in HERE.glob("test_*.py") if file.name not in LIGHT]


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder. Tests that spoil it make one of their own."""
    from tests.learning.tiny import write_encoder

    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows in a directory of splits."""
    from tests.learning.tiny import write_splits

    return write_splits(tmp_path_factory.mktemp("rows") / "splits")


@pytest.fixture(scope="session")
def model(splits: Path, encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, fitted on the rows."""
    from tests.learning.tiny import write_model

    return write_model(tmp_path_factory.mktemp("model") / "model", splits=splits, encoder=encoder_dir)


@pytest.fixture(scope="session")
def exported(model: Path, splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export in int8."""
    from tests.learning.tiny import write_export

    return write_export(tmp_path_factory.mktemp("exported") / "int8", model=model, splits=splits)
