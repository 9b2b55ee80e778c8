"""The examples of each adapter's page run, one after the other, and print what it says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "adapters"


@pytest.mark.parametrize("page", ["pydantic-ai.md", "langgraph.md", "openai-agents.md", "plain.md"])
def test_the_examples_print_what_the_page_says(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "example"}
    for example in re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL):
        expected = [line.removeprefix("#> ") for line in example.splitlines() if line.startswith("#> ")]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(example, page, "exec"), names)
        assert printed.getvalue().splitlines() == expected
        assert expected
