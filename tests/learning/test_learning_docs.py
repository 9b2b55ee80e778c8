"""The snippets of the pages about learning run, one after the other, as somebody would type them."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from plimsoll.cli import main
from tests.learning.decoder.tiny import write_decoder
from tests.learning.tiny import write_rows

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

PAGES = Path(__file__).parents[2] / "docs/patterns"


def snippets(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (PAGES / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    lines = "".join(snippets(page, "sh")).splitlines()
    return [re.findall(r'"[^"]*"|\S+', line.split("#")[0]) for line in lines]


def test_the_pages_say_what_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (fitting,) = snippets("transfer-learning.md")
    scope: dict[str, object] = {}
    exec(compile(fitting, "transfer-learning.md", "exec"), scope)
    rows = scope["rows"]
    (tmp_path / "intents").rename(tmp_path / "by-hand")
    (tmp_path / "intents").mkdir()
    for split in ("train", "validation"):
        write_rows(tmp_path / "intents" / f"{split}.jsonl", list(getattr(rows, split)))
    (tmp_path / "intents").rename(tmp_path / "data")
    fit, full, rows_, export, classify = commands("transfer-learning.md")
    assert full == [*fit[:5], "--out", "intents-full", "--method", "full"]
    assert CliRunner().invoke(main, [*rows_[1:3], "--help"]).exit_code == 0  # it needs a journal: test_journals.py
    for words in (fit, export, classify):
        told = [{"intents/": "data"}.get(word, word.strip('"')) for word in words[1:]]
        ended = CliRunner().invoke(main, told)
        assert ended.exit_code == 0, ended.output
    assert "refund" in ended.output
    write_decoder(tmp_path / "models" / "qwen", likes="calls")
    for snippet in snippets("transformer-architectures.md"):
        exec(compile(snippet, "transformer-architectures.md", "exec"), {})
