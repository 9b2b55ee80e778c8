"""`plimsoll learn explain` and `report`, as somebody types them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from plimsoll.cli import main
from tests.learning.tiny import some_rows, write_rows

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

TEXT = "please cancel my order now"


def ran(*words: object) -> Result:
    return CliRunner().invoke(main, ["learn", *map(str, words)])


@pytest.mark.parametrize(("kind", "method"), [("model", "integrated-gradients"), ("exported", "leave-one-out")])
def test_the_word_that_decides_stands_first(request: pytest.FixtureRequest, kind: str, method: str) -> None:
    ended = ran("explain", request.getfixturevalue(kind), TEXT)
    assert ended.exit_code == 0, ended.stderr
    label, text, _, first, *_ = ended.stdout.splitlines()
    assert label.startswith("cancel_order, ") and text == TEXT
    assert first.split()[0].startswith("+") and first.split()[-1] == "cancel"
    assert f"by {method}" in ended.stdout
    assert ("the sum is off by" in ended.stdout) is (kind == "model")


def test_both_methods_explain_a_fitted_model(model: Path) -> None:
    (found,) = json.loads(ran("explain", model, TEXT, "--method", "leave-one-out", "--json").stdout)["explanations"]
    assert found["method"] == "leave-one-out" and found["delta"] is None
    assert max(found["words"], key=lambda word: word["attribution"])["text"] == "cancel"


def test_another_label_may_be_explained(exported: Path) -> None:
    (found,) = json.loads(ran("explain", exported, TEXT, "--label", "refund", "--json").stdout)["explanations"]
    assert found["label"] == "refund"
    assert set(found) == {"label", "probability", "out_of_scope", "energy", "words", "cut", "method", "delta", "unread"}


def test_what_was_not_read_is_told(exported: Path) -> None:
    long = "cancel " + " ".join(["order"] * 20) + " end"
    assert "not read: the model reads no further than here: order order" in ran("explain", exported, long).stdout
    (found,) = json.loads(ran("explain", exported, long, "--json").stdout)["explanations"]
    assert found["cut"] and found["unread"].endswith("end")


def test_the_page_is_for_one_person_alone(exported: Path, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    for text in (TEXT, "my <b>money</b> back"):
        assert ran("explain", exported, text, "--html", page).exit_code == 0
    assert "&lt;" in page.read_text() and "cancel" not in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("train", "rows that the model was fitted on, which it knows"),
        ("validation", "validation rows, which the model was chosen by"),
        ("test", "test rows"),
    ],
)
def test_one_of_the_files_that_it_was_fitted_on_is_told(exported: Path, splits: Path, split: str, said: str) -> None:
    ended = ran("report", exported, "--data", splits / f"{split}.jsonl", "--texts", 0)
    assert ended.exit_code == 0, ended.stderr
    assert f"rows: {said}" in ended.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fine", " "), "text 2 is empty"),
        ((TEXT, "--label", "sing"), "no label 'sing'"),
        ((TEXT, "--method", "integrated-gradients"), "is an export, and has no gradients: name the fitted model"),
        ((TEXT, "--html", "rows.jsonl"), "does not end in .html"),
        ((TEXT, "--html", "no/where/x.html"), "there is no directory no/where"),
    ],
)
def test_what_cannot_be_explained(exported: Path, words: tuple[str, ...], said: str) -> None:
    ended = ran("explain", exported, *words)
    assert ended.exit_code == 1 and said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_directory_that_holds_no_model(tmp_path: Path) -> None:
    ended = ran("explain", tmp_path, TEXT)
    assert ended.exit_code == 1 and "has no plimsoll-model.json" in ended.stderr
    assert ran("explain", tmp_path, TEXT, "--method", "guess").exit_code == 2


def test_a_report_in_words_in_json_and_as_a_page(exported: Path, splits: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    ended = ran("report", exported, "--data", splits, "--words", "money|back", "--texts", 10, "--html", page)
    assert ended.exit_code == 0, ended.stderr
    assert "Judged by 24 rows: test rows." in ended.stdout
    assert "Explanations hold: " in ended.stdout and "/money|back/" in ended.stdout
    assert "reliability" in page.read_text().lower() and page.read_text().count("<svg") == 2
    assert page.stat().st_mode & 0o777 == 0o600
    found = json.loads(ran("report", exported, "--data", splits, "--texts", 0, "--json").stdout)
    assert found["scores"]["rows"] == 18 and found["deletion"] is None
    assert {each["by"] for each in found["slices"]} == {"characters"}


def test_a_report_of_a_fitted_model(model: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", some_rows(2, seed=8))
    ended = ran("report", model, "--data", data, "--texts", 3, "--html", tmp_path / "report.html")
    assert ended.exit_code == 0, ended.stderr
    assert "integrated-gradients" in ended.stdout


def test_a_report_on_rows_of_other_labels(exported: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("text,label\nsing a song,music\n")
    ended = ran("report", exported, "--data", data, "--json")
    assert ended.exit_code == 1
    assert "the model has no label 'music'" in json.loads(ended.stdout)["error"]
    assert ran("report", exported, "--data", tmp_path / "none.csv").exit_code == 1
