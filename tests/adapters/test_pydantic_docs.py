"""The page's example runs and prints what it says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "adapters" / "pydantic-ai.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    expected = [line.removeprefix("#> ") for line in example.splitlines() if line.startswith("#> ")]
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, "pydantic-ai.md", "exec"), {"__name__": "example"})
    assert printed.getvalue().splitlines() == expected
    assert expected
