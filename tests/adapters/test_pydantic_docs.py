"""The page's examples run, one after the other, and print what it says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "adapters" / "pydantic-ai.md").read_text(encoding="utf-8")


def test_the_examples_print_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "example"}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        expected = [line.removeprefix("#> ") for line in example.splitlines() if line.startswith("#> ")]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(example, "pydantic-ai.md", "exec"), names)
        assert printed.getvalue().splitlines() == expected
        assert expected
