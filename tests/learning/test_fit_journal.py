"""A fit on a journal: its rows are a file first, and a fit that is said again goes on from that very file."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from plimsoll.cli import main
from plimsoll.cli.learn.journals import journal_at, rows_file
from plimsoll.core.errors import Misuse
from plimsoll.learning.rows import read_file
from tests.learning.test_journals import journal_of

ASKED = ("hello", "please find it", "find me now", "hello you", "find the order", "hello again", "find my money", "bye")
MORE = ("please find the order", "can you find it")
CONTRACT = Path("plimsoll.toml")


def ran(*words: object) -> Result:
    return CliRunner().invoke(main, ["learn", *map(str, words)])


def elsewhere(folder: Path, *asked: str) -> Path:
    """A journal in a folder of its own."""
    folder.mkdir()
    return journal_of(folder, *asked)


def test_a_journal_is_known_by_what_it_is(tmp_path: Path) -> None:
    path = journal_of(tmp_path, "hello")
    renamed = path.rename(tmp_path / "runs.jsonl")  # whatever its name
    assert journal_at(renamed) == (CONTRACT, renamed)
    assert journal_at(tmp_path) is None
    (tmp_path / "plimsoll.toml").write_text("")
    assert journal_at(tmp_path) == journal_at(tmp_path / "plimsoll.toml") == (tmp_path / "plimsoll.toml", None)
    (tmp_path / "train.csv").write_text("text,label\n")
    assert journal_at(tmp_path) is None, "rows that stand there were meant"
    assert journal_at(tmp_path / "train.csv") is None
    assert journal_at(tmp_path / "nowhere") is None


def test_the_rows_are_written_once(tmp_path: Path) -> None:
    path, out = journal_of(tmp_path, *ASKED[:3]), tmp_path / "made" / "model"
    first = rows_file(CONTRACT, path, agent=None, out=out)
    assert (first.path, first.earlier) == (tmp_path / "made" / "model.rows.jsonl", False)
    assert first.path.stat().st_mode & 0o777 == 0o600
    assert len(read_file(first.path)) == 3
    journal_of(tmp_path, *MORE, first=3)
    again = rows_file(CONTRACT, path, agent=None, out=out)
    assert again.earlier and len(read_file(again.path)) == 3, "runs that came in between are not these rows"
    assert sorted(path.name for path in out.parent.iterdir()) == ["model.rows.jsonl", "model.rows.jsonl.lineage.json"]


def test_labels_that_were_put_right_stay(tmp_path: Path) -> None:
    path, out = journal_of(tmp_path, *ASKED[:3]), tmp_path / "model"
    file = rows_file(CONTRACT, path, agent=None, out=out).path
    file.write_bytes(file.read_bytes().replace(b'"find"', b'"search"'))
    assert {row.label for row in read_file(rows_file(CONTRACT, path, agent=None, out=out).path)} == {"answer", "search"}


def test_rows_of_another_journal_are_not_these(tmp_path: Path) -> None:
    path, out = journal_of(tmp_path, "hello"), tmp_path / "model"
    other = elsewhere(tmp_path / "other", "bye")
    rows_file(CONTRACT, path, agent=None, out=out)
    with pytest.raises(
        Misuse, match=r"model\.rows\.jsonl is there already, and is not of .*other/journal\.db: fit from"
    ):
        rows_file(CONTRACT, other, agent=None, out=out)
    with pytest.raises(Misuse, match=r"is not of .*journal\.db and shop"):
        rows_file(CONTRACT, path, agent="shop", out=out)


def test_rows_that_nobody_knows_are_not_these(tmp_path: Path) -> None:
    path, out = journal_of(tmp_path, "hello"), tmp_path / "model"
    mine = tmp_path / "model.rows.jsonl"
    mine.write_text("{}\n")
    with pytest.raises(Misuse, match="is there already"):
        rows_file(CONTRACT, path, agent=None, out=out)
    assert mine.read_text() == "{}\n"


def test_a_write_that_was_killed_is_made_again(tmp_path: Path) -> None:
    path, out = journal_of(tmp_path, *ASKED[:3]), tmp_path / "model"
    (tmp_path / "model.rows.jsonl.new").write_text('{"text": "hel')
    assert len(read_file(rows_file(CONTRACT, path, agent=None, out=out).path)) == 3
    assert not (tmp_path / "model.rows.jsonl.new").exists()


def test_nothing_is_written_where_a_model_is(tmp_path: Path) -> None:
    path, out = journal_of(tmp_path, "hello"), tmp_path / "model"
    out.mkdir()
    before = sorted(tmp_path.iterdir())
    ended = ran("fit", "--data", path, "--out", out)
    assert ended.exit_code == 1 and "a model must not be lost" in ended.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_an_agent_is_of_a_journal(tmp_path: Path) -> None:
    ended = ran("fit", "--data", tmp_path / "rows.jsonl", "--agent", "shop", "--out", tmp_path / "model")
    assert ended.exit_code == 1 and "--agent is for a journal" in ended.stderr


def test_a_journal_of_one_label_keeps_its_rows(tmp_path: Path) -> None:
    ended = ran("fit", "--data", journal_of(tmp_path, "hello", "hello you"), "--out", tmp_path / "model")
    assert ended.exit_code == 1 and "there must be two at least" in ended.stderr
    assert (tmp_path / "model.rows.jsonl").exists()


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_from_a_journal_to_an_answer(tmp_path: Path, encoder_dir: Path) -> None:
    journal_of(tmp_path, *ASKED)
    out, contract = tmp_path / "model", tmp_path / "plimsoll.toml"
    contract.write_text('[agent]\nname = "shop"\n[journal]\npath = "journal.db"\n')
    fitted = ran("fit", "--data", contract, "--out", out, "--encoder", encoder_dir, "--max-tokens", 16, "--json")
    assert fitted.exit_code == 0, fitted.stderr
    file = tmp_path / "model.rows.jsonl"
    assert json.loads(fitted.stdout)["rows_from"] == str(file)
    exported = ran("export", out, "--data", file, "--out", tmp_path / "int8")
    assert exported.exit_code == 0, exported.stderr
    assert json.loads(ran("classify", tmp_path / "int8", "find it", "--json").stdout)["answers"]


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_a_fit_that_did_not_end_goes_on_from_the_rows_of_its_beginning(tmp_path: Path, encoder_dir: Path) -> None:
    path, out = journal_of(tmp_path, *ASKED), tmp_path / "model"
    broken = ran("fit", "--data", path, "--out", out, "--encoder", tmp_path / "nowhere")
    assert broken.exit_code == 1 and "no such directory" in broken.stderr
    journal_of(tmp_path, *MORE, first=len(ASKED))
    ended = ran("fit", "--data", path, "--out", out, "--encoder", encoder_dir, "--max-tokens", 16)
    assert ended.exit_code == 0, ended.stderr
    assert "The fit goes on from it: the journal gave it earlier" in ended.stdout
    assert len(read_file(tmp_path / "model.rows.jsonl")) == len(ASKED)
