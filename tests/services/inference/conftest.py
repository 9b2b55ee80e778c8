"""A tiny exported model, and a second version of it. Without the extras, nothing here is collected."""

import importlib.util
import os
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # every test process has libraries that would take all cores
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in 8 bits."""
    from tests.learning.tiny import write_encoder, write_export, write_model, write_splits

    work = tmp_path_factory.mktemp("inference")
    splits = write_splits(work / "splits")
    model = write_model(work / "model", splits=splits, encoder=write_encoder(work / "encoder"))
    return write_export(work / "first", model=model, splits=splits)


@pytest.fixture(scope="session")
def second(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another version, for which nothing is in scope."""
    from tests.services.inference.serving import version_of

    return version_of(exported, tmp_path_factory.mktemp("other") / "second", threshold=1e9)
