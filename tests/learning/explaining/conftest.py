"""What tests of explanations share. Without the extra they are not collected: they are all heavy."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent
if importlib.util.find_spec("torch") is None:
    collect_ignore = [file.name for file in HERE.glob("test_*.py")]


@pytest.fixture(scope="session")
def fitted(model: Path) -> object:
    """The tiny model in memory, with its gradients."""
    from plimsoll.learning.explaining.fitted import FittedClassifier

    return FittedClassifier.load(model)
