"""Without its extra, learning says what to install; and the heavy tests must not pass by not being there."""

import importlib
import sys

import pytest
from click.testing import CliRunner

from plimsoll.cli import main
from plimsoll.core.errors import MissingExtra


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("encoder", "torch", "learning"),
        ("linear", "numpy", "inference"),
        ("classifier", "numpy", "inference"),
        ("guards", "tokenizers", "inference"),
        ("calibration", "numpy", "learning"),
        ("transfer", "torch", "learning"),
        ("decoder.tools", "jsonschema", "served"),
        ("registry.clients", "mlflow", "registry"),
        ("registry.tracking", "mlflow", "registry"),
        ("policy", "numpy", "inference"),
        ("policy.model", "jsonschema", "inference"),
        pytest.param("policy.fitting_pointers", "torch", "learning", marks=pytest.mark.heavy),
        pytest.param("explaining.gradients", "captum.attr", "learning", marks=pytest.mark.heavy),
        ("explaining.plots", "matplotlib", "learning"),
        ("explaining.html", "numpy", "inference"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    module: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("plimsoll.learning.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf"plimsoll-ai\[{extra}\]"):
        importlib.import_module(f"plimsoll.learning.{module}")


def test_the_command_says_so_in_one_line(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("plimsoll.learning.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    ended = CliRunner().invoke(main, ["learn", "classify", "nowhere", "a text"])
    assert ended.exit_code == 1
    assert "pip install 'plimsoll-ai[inference]'" in ended.stderr


@pytest.mark.heavy
def test_the_heavy_tests_are_collected() -> None:
    for library in ("torch", "transformers", "sklearn", "peft", "onnxruntime", "llguidance", "jsonschema", "mlflow"):
        importlib.import_module(library)
