"""The snippets of the pages about learning run, one after the other, as somebody would type them."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.json import encode

from examples.assistant.injections import main as injections
from plimsoll.cli import main
from tests.learning.decoder.tiny import write_decoder
from tests.learning.shopping import conversations
from tests.learning.tiny import write_rows

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

PAGES = Path(__file__).parents[2] / "docs/patterns"


def snippets(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (PAGES / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    lines = "".join(snippets(page, "sh")).splitlines()
    return [re.findall(r'"[^"]*"|\S+', line.split("#")[0]) for line in lines]


def fit_shopping(command: list[str], encoder: Path, folder: Path) -> None:
    """The page's policy, of conversations of the tests' shop; more sure of itself than its default wants."""
    (folder / "conversations.jsonl").write_bytes(b"".join(encode(each) + b"\n" for each in conversations(24)))
    (folder / "templates.toml").write_text(snippets("transfer-learning.md", "toml")[0])
    more = ["--encoder", str(encoder), "--max-tokens", "32", "--precision", "0.8", "--templates", "templates.toml"]
    ended = CliRunner().invoke(main, [*command[1:], *more])
    assert ended.exit_code == 0, ended.output


def test_the_pages_say_what_is_so(encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (fitting,) = snippets("transfer-learning.md")
    scope: dict[str, object] = {}
    exec(compile(fitting, "transfer-learning.md", "exec"), scope)
    rows = scope["rows"]
    (tmp_path / "intents").rename(tmp_path / "by-hand")
    (tmp_path / "requests").mkdir()
    for split in ("train", "validation"):
        write_rows(tmp_path / "requests" / f"{split}.jsonl", list(getattr(rows, split)))
    fit, full, rows_, to_conversations, policy, *guards, export, classify = commands("transfer-learning.md")
    assert full == [*fit[:5], "--out", "intents-full", "--method", "full"]
    for words in (rows_, to_conversations, *guards[:2]):  # they need a journal: see test_journals.py and its neighbours
        assert CliRunner().invoke(main, [*words[1:], "--help"]).exit_code == 0
    assert guards[2][:3] == ["python", "-m", "examples.assistant.injections"]
    injections(guards[2][3:])
    fit_shopping(policy, encoder_dir, tmp_path)
    for words in (fit, export, classify):
        ended = CliRunner().invoke(main, [word.strip('"') for word in words[1:]])
        assert ended.exit_code == 0, ended.output
    assert "refund" in ended.output
    write_decoder(tmp_path / "models" / "qwen", likes="calls")
    for page in ("transformer-architectures.md", "explanations.md"):
        for snippet in snippets(page):
            exec(compile(snippet, page, "exec"), {})
    for words in commands("explanations.md"):
        ended = CliRunner().invoke(main, [word.strip('"') for word in words[1:]])
        assert ended.exit_code == 0, ended.output
