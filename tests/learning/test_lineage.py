"""Where rows come from is known beside them, and in the directory of whatever is fitted on them."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from plimsoll.cli import main
from plimsoll.learning.errors import DataError, WeightsError
from plimsoll.learning.lineage import (
    FILE,
    JournalLineage,
    Lineage,
    Source,
    lineage_file,
    read_lineage,
    source_of,
    write_lineage,
    write_sources,
)
from plimsoll.learning.rows import Row, Rows, read_rows
from tests.learning.test_journals import journal_of

ROWS = b"".join(
    json.dumps({"text": f"{label} {n}", "label": label}).encode() + b"\n" for label in "ab" for n in range(3)
)


def lineage(content: bytes = ROWS, **chosen: object) -> JournalLineage:
    known = {
        "journal": "j",
        "name": "journal.db",
        "agent": None,
        "runs": ("run-0", "run-1"),
        "rows": 6,
        "left_out": 1,
        "rows_digest": hashlib.sha256(content).hexdigest(),
    }
    return JournalLineage(**(known | chosen))  # type: ignore[arg-type]


def test_the_rows_of_a_journal_leave_the_runs_that_gave_them_and_no_text(tmp_path: Path) -> None:
    path, out = journal_of(tmp_path, "hello", "please fail", "find it", 7), tmp_path / "rows.jsonl"
    told = CliRunner().invoke(main, ["learn", "rows", "--journal", str(path), "--out", str(out), "--json"])
    file = Path(json.loads(told.stdout)["lineage"])
    assert file == lineage_file(out)
    assert file.stat().st_mode & 0o777 == 0o600
    assert "hello" not in file.read_text()
    (source,) = (source_of(out, out.read_bytes()),)
    assert source.lineage is not None and not source.altered
    assert source.lineage.runs == ("run-0", "run-2")
    assert (source.lineage.rows, source.lineage.left_out, source.lineage.name) == (2, 1, "journal.db")


def test_a_journal_keeps_its_identity_when_it_is_moved_and_when_it_grows(tmp_path: Path) -> None:
    def identity(path: Path, out: str) -> str:
        CliRunner().invoke(main, ["learn", "rows", "--journal", str(path), "--out", str(tmp_path / out)])
        return str(json.loads(lineage_file(tmp_path / out).read_bytes())["journal"])

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    path = journal_of(tmp_path / "one", "hello")
    first = identity(path, "first.jsonl")
    assert len(first) == 64
    assert identity(journal_of(tmp_path / "one", "hello", "and more"), "later.jsonl") == first
    moved = path.rename(tmp_path / "elsewhere.db")
    assert identity(moved, "moved.jsonl") == first
    assert identity(journal_of(tmp_path / "two", "other"), "other.jsonl") != first


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    path, out = journal_of(tmp_path, "hello"), tmp_path / "rows.jsonl"
    out.write_text("mine")
    lineage_file(out).write_text("mine, too")
    ended = CliRunner().invoke(main, ["learn", "rows", "--journal", str(path), "--out", str(out)])
    assert ended.exit_code == 1 and "is there already" in ended.stderr
    assert (out.read_text(), lineage_file(out).read_text()) == ("mine", "mine, too")


def test_rows_that_are_read_say_where_they_come_from(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    out.write_bytes(ROWS)
    assert read_rows(out).sources == (Source(file="rows.jsonl", digest=hashlib.sha256(ROWS).hexdigest()),)
    write_lineage(out, lineage())
    (source,) = read_rows(out).sources
    assert source.lineage == lineage() and not source.altered


def test_each_split_has_its_own(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_bytes(ROWS)
    write_lineage(tmp_path / "test.jsonl", lineage())
    assert [(source.file, source.lineage is None) for source in read_rows(tmp_path).sources] == [
        ("train.jsonl", True),
        ("test.jsonl", False),
    ]


def test_rows_that_somebody_put_right_are_still_of_those_runs(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    out.write_bytes(ROWS.replace(b'"b 2", "label": "b"', b'"b 2", "label": "a"'))
    write_lineage(out, lineage())
    (source,) = read_rows(out).sources
    assert source.altered and source.lineage is not None and source.lineage.runs == ("run-0", "run-1")


@pytest.mark.parametrize(
    ("content", "said"), [(b"{", "cannot be read"), (b'{"runs": []}', "cannot be read"), (None, "format is 2")]
)
def test_a_lineage_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, said: str) -> None:
    out = tmp_path / "rows.jsonl"
    out.write_bytes(ROWS)
    if content is None:
        write_lineage(out, lineage(format=2))
    else:
        lineage_file(out).write_bytes(content)
    with pytest.raises(DataError, match=said) as error:
        read_rows(out)
    assert error.value.file == str(lineage_file(out))


def test_a_models_directory_has_all_sources_for_one_person_alone(tmp_path: Path) -> None:
    sources = (Source(file="a", digest="1"), Source(file="b", digest="2", lineage=lineage()))
    write_sources(tmp_path, "data", sources)
    write_sources(tmp_path, "data", sources)  # a fit that was killed here writes it again
    read = read_lineage(tmp_path, data_digest="data")
    assert read == Lineage(data_digest="data", sources=sources)
    assert read.runs == ("run-0", "run-1")
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    with pytest.raises(WeightsError, match="of other rows"):
        read_lineage(tmp_path, data_digest="other")
    (tmp_path / FILE).write_bytes(b"{")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_lineage(tmp_path, data_digest="data")


def test_rows_made_in_python_have_no_source(tmp_path: Path) -> None:
    rows = Rows.of(Row(f"text {n}", "ab"[n % 2]) for n in range(8))
    write_sources(tmp_path, rows.digest, rows.sources)
    assert read_lineage(tmp_path, data_digest=rows.digest) is None
