"""Without its extra, learning says what to install; and the heavy tests must not pass by not being there."""

import importlib
import subprocess
import sys

import pytest


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
def test_a_missing_library_is_named_with_its_extra(module: str, library: str, extra: str) -> None:
    ended = without(library, f"import plimsoll.learning.{module}")
    assert "MissingExtra" in ended.stderr
    assert f"plimsoll-ai[{extra}]" in ended.stderr


def test_the_command_says_so_in_one_line() -> None:
    asked = "from plimsoll.cli import main; main(['learn', 'classify', 'nowhere', 'a text'])"
    ended = without("numpy", asked)
    assert ended.returncode == 1
    assert "pip install 'plimsoll-ai[inference]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def without(library: str, code: str) -> "subprocess.CompletedProcess[str]":
    """What the code does in a process of its own, where the library is not installed."""
    asked = f"import sys; sys.modules[{library!r}] = None; {code}"
    return subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.heavy
def test_the_heavy_tests_are_collected() -> None:
    for library in ("torch", "transformers", "sklearn", "peft", "onnxruntime", "llguidance", "jsonschema", "mlflow"):
        importlib.import_module(library)
