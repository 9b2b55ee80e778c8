"""Rows are read from files of people's own making: whatever is wrong with one is told with its place."""

from collections import Counter
from pathlib import Path

import pytest

from plimsoll.learning.errors import DataError
from plimsoll.learning.rows import MAX_CHARACTERS, OUT_OF_SCOPE, Row, Rows, read_file, read_rows

GOOD = [Row(f"text {number}", label) for label in ("a", "b") for number in range(10)]


def jsonl(*pairs: tuple[str, str]) -> bytes:
    return "".join(f'{{"text": "{text}", "label": "{label}"}}\n' for text, label in pairs).encode()


def written(tmp_path: Path, content: bytes, name: str = "rows.jsonl") -> Path:
    file = tmp_path / name
    file.write_bytes(content)
    return file


def test_json_lines_and_csv_say_the_same(tmp_path: Path) -> None:
    lines = written(tmp_path, jsonl(("where is it", "track"), ("pay, me back", "refund")) + b"\n")
    table = written(tmp_path, b'label,text,note\ntrack,where is it,x\nrefund,"pay, me back",y\n', "rows.csv")
    assert read_file(lines) == read_file(table) == [Row("where is it", "track"), Row("pay, me back", "refund")]


def test_a_mark_of_byte_order_is_no_part_of_the_text(tmp_path: Path) -> None:
    assert read_file(written(tmp_path, b"\xef\xbb\xbftext,label\nhi,a\n", "rows.csv")) == [Row("hi", "a")]


@pytest.mark.parametrize(
    ("content", "name", "line", "said"),
    [
        (jsonl(("a", "x")) + b'{"text": "b"}', "rows.jsonl", 2, "missing required field `label`"),
        (jsonl(("a", "x")) + b"{", "rows.jsonl", 2, "no {"),
        (b'{"text": 3, "label": "x"}', "rows.jsonl", 1, "Expected `str`"),
        (jsonl(("a", "x"), ("b", "x")) + b'{"text": "caf\xe9", "label": "x"}\n', "rows.jsonl", 3, "0xe9"),
        (b"text,label\na,x\nb,caf\xe9\n", "rows.csv", 3, "not UTF-8"),
        (b"words,label\na,x\n", "rows.csv", 1, "column text"),
        (b"", "rows.csv", 1, "column label or text"),
        (b"text,label\na\n", "rows.csv", 2, "too few columns"),
        (b'text,label\n"a,x\n', "rows.csv", 2, "no CSV"),
        (b'"text,label\na,x\n', "rows.csv", 1, "no CSV"),
        (b"text,label\n" + b"x" * 10_000_000 + b",a\n", "rows.csv", 2, "no CSV: field larger than field limit"),
        (jsonl(("a" * 10_000_000, "x")), "rows.jsonl", 1, "10,000,000 characters; 20,000 are the most"),
        (jsonl(("a", "x"), (" ", "x")), "rows.jsonl", 2, "its text is empty"),
        (jsonl(("a", " ")), "rows.jsonl", 1, "its label is empty"),
        (b"\n", "rows.jsonl", 0, "no rows"),
        (b"text", "rows.txt", 0, "neither .jsonl nor .csv"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, content: bytes, name: str, line: int, said: str) -> None:
    file = written(tmp_path, content, name)
    with pytest.raises(DataError) as error:
        read_file(file)
    assert (error.value.file, error.value.line) == (str(file), line)
    assert said in str(error.value)


def test_the_longest_text_is_taken(tmp_path: Path) -> None:
    assert len(read_file(written(tmp_path, jsonl(("a" * MAX_CHARACTERS, "x"))))[0].text) == MAX_CHARACTERS


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_file(tmp_path / "rows.csv")


def test_every_label_gives_up_its_share_and_keeps_the_rest() -> None:
    rows = Rows.of(GOOD, share=0.3, seed=1)
    assert Counter(row.label for row in rows.validation) == {"a": 3, "b": 3}
    assert sorted([*rows.train, *rows.validation], key=GOOD.index) == GOOD
    assert rows == Rows.of(GOOD, share=0.3, seed=1)
    assert rows.digest != Rows.of(GOOD, share=0.3, seed=2).digest


def test_two_rows_of_a_label_are_enough() -> None:
    rows = Rows.of([*GOOD, Row("one", "rare"), Row("two", "rare")], share=0.01)
    assert [row.label for row in rows.validation].count("rare") == 1
    assert [row.label for row in rows.train].count("rare") == 1


def test_out_of_scope_is_no_label_and_is_never_trained_on() -> None:
    rows = Rows.of([*GOOD, Row("the moon", OUT_OF_SCOPE)], validation=[GOOD[0], Row("a poem", OUT_OF_SCOPE)])
    assert rows.labels == ("a", "b")
    assert rows.left_out == 1
    assert OUT_OF_SCOPE not in {row.label for row in rows.train}


def test_validation_rows_that_are_all_out_of_scope_are_joined_by_others() -> None:
    rows = Rows.of(GOOD, validation=[Row("a poem", OUT_OF_SCOPE)])
    assert Counter(row.label for row in rows.validation) == {"a": 2, "b": 2, OUT_OF_SCOPE: 1}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lambda: Rows.of(GOOD[:10]), "1 label to train on"),
        (lambda: Rows.of([Row("x", OUT_OF_SCOPE)], validation=GOOD), "0 label"),
        (lambda: Rows.of([*GOOD, Row("one", "alone")]), "one row each of 'alone'"),
        (lambda: Rows.of(GOOD, test=[Row("x", "new")]), "test has labels that no training row has: 'new'"),
        (lambda: Rows.of(GOOD, validation=[Row("x", f"n{at}") for at in range(7)]), "'n4' and 2 more"),
    ],
)
def test_labels_that_nothing_can_be_learned_of(rows: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        rows()  # type: ignore[operator]


def test_test_rows_that_were_trained_on_are_counted() -> None:
    assert Rows.of(GOOD, validation=GOOD[:1], test=[GOOD[3], Row("new", "a")]).repeated == 1


def test_a_directory_has_splits(tmp_path: Path) -> None:
    written(tmp_path, jsonl(*((row.text, row.label) for row in GOOD)), "train.jsonl")
    written(tmp_path, b"text,label\nyes,a\n", "validation.csv")
    rows = read_rows(tmp_path)
    assert (len(rows.train), rows.validation, rows.test) == (20, (Row("yes", "a"),), ())


def test_a_directory_without_training_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no train\.jsonl"):
        read_rows(tmp_path)


def test_a_split_that_is_there_twice(tmp_path: Path) -> None:
    for name in ("train.csv", "train.jsonl"):
        written(tmp_path, b"", name)
    with pytest.raises(DataError, match=r"both train\.jsonl and train\.csv"):
        read_rows(tmp_path)
