"""The report judges a model by rows that it was not fitted on, and says which."""

import csv
from pathlib import Path

import msgspec
import pytest

from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.learning import leave_one_out
from plimsoll.learning.classifier import Classifier
from plimsoll.learning.errors import DataError
from plimsoll.learning.explaining.fitted import FittedClassifier
from plimsoll.learning.explaining.report import Judging, judging_rows, model_report
from plimsoll.learning.options import FitOptions, Progress
from plimsoll.learning.rows import OUT_OF_SCOPE, Row, read_file, read_rows
from plimsoll.learning.transfer import fit
from tests.learning.tiny import some_rows, write_rows

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import


def test_the_scores_are_those_of_the_card(exported: Path, splits: Path) -> None:
    classifier = Classifier.load(exported)
    judging = judging_rows(classifier.manifest, splits)
    assert judging.rows_from == "test rows" and judging.rows == tuple(read_file(splits / "test.jsonl"))
    report = model_report(classifier, judging, explain=None)
    assert report.scores == classifier.manifest.test
    assert (report.kind, report.method, report.labels, report.deletion) == ("export", "full", 3, None)
    assert sum(each.rows for each in report.reliability) == report.scores.rows
    right = sum(each.right for each in report.reliability)
    assert right / report.scores.rows == pytest.approx(report.scores.accuracy)
    assert sum(each.rows for each in report.slices if each.by == "characters") == report.scores.rows


def test_what_is_confused_is_told_with_its_texts(fitted: FittedClassifier) -> None:
    wrong = [Row("cancel my order", "refund"), Row("cancel the order", "refund"), Row("my money", "track_order")]
    rows = (*some_rows(2, seed=3), *wrong, Row("cancel it", OUT_OF_SCOPE))
    manifest = msgspec.structs.replace(fitted.manifest, threshold=-1e9)  # nothing is rejected
    bold = FittedClassifier(fitted.encoder, fitted.head, manifest)
    found = model_report(bold, Judging(rows=rows, rows_from="these"), explain=None).confusions
    first = found[0]
    assert (first.label, first.answered, first.rows) == ("refund", "cancel_order", 2)
    assert first.examples == ("cancel my order", "cancel the order")
    assert (OUT_OF_SCOPE, "cancel_order") in {(each.label, each.answered) for each in found}
    timid = FittedClassifier(fitted.encoder, fitted.head, msgspec.structs.replace(manifest, threshold=1e9))
    rejected = model_report(timid, Judging(rows=rows, rows_from="these"), explain=None)
    assert OUT_OF_SCOPE not in {each.label for each in rejected.confusions}, "what is rejected is not confused"
    assert rejected.scores.rejected == rejected.scores.oos_recall == 1


def test_slices_are_by_what_was_asked_for(fitted: FittedClassifier, tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    with data.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("country", "text", "label"))
        writer.writerows(
            ("FI" if number % 2 else "", row.text, row.label) for number, row in enumerate(some_rows(4, seed=3))
        )
    judging = judging_rows(fitted.manifest, data, columns=("country",))
    assert "all rows of the file" in judging.rows_from
    report = model_report(fitted, judging, explain=None, patterns=("money|refund",))
    assert {(each.by, each.value) for each in report.slices} >= {
        ("country", "FI"),
        ("country", "(none)"),
        ("/money|refund/", "found"),
        ("/money|refund/", "not found"),
    }
    with pytest.raises(DataError, match="no row has a column 'city'"):
        judging_rows(fitted.manifest, data, columns=("city",))
    with pytest.raises(Misuse, match="no regular expression"):
        model_report(fitted, judging, explain=None, patterns=("(",))


def test_of_the_file_that_it_was_fitted_on_only_what_was_held_out_judges(encoder_dir: Path, tmp_path: Path) -> None:
    rows = some_rows(10, seed=1)
    data = tmp_path / "rows.jsonl"
    lines = [{"text": row.text, "label": row.label, "group": f"g{number}"} for number, row in enumerate(rows)]
    data.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    options = FitOptions(max_tokens=16, seed=4)
    manifest = fit(
        read_rows(data, seed=4), encoder=encoder_dir, out=tmp_path / "m", options=options, clock=SystemClock()
    )
    judging = judging_rows(manifest, data, columns=("group",))
    assert judging.rows == read_rows(data, seed=4).validation
    assert "validation rows" in judging.rows_from
    for row, group in zip(judging.rows, judging.columns["group"], strict=True):
        assert rows[int(group[1:])] == row
    folder = tmp_path / "folder"
    folder.mkdir()
    data.rename(folder / "train.jsonl")
    assert judging_rows(manifest, folder).rows == judging.rows


def test_validation_rows_judge_where_there_are_no_others(fitted: FittedClassifier, tmp_path: Path) -> None:
    write_rows(tmp_path / "validation.jsonl", some_rows(2, seed=3))
    judging = judging_rows(fitted.manifest, tmp_path)
    assert len(judging.rows) == 6 and judging.rows_from == "validation rows, which the model was chosen by"


def test_a_file_of_one_row_is_enough(fitted: FittedClassifier, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [Row("cancel", "cancel_order")])
    report = model_report(
        fitted,
        judging_rows(fitted.manifest, data),
        explain=lambda text: leave_one_out.attributions(fitted, text),
    )
    assert report.scores.rows == 1 and report.deletion is None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [Row("x", "sing"), Row("y", "refund")],
            "the model has no label 'sing': call such rows out_of_scope, or fit it",
        ),
        ([Row("x", OUT_OF_SCOPE)], "no row has a label of the model"),
    ],
)
def test_rows_of_other_labels(fitted: FittedClassifier, tmp_path: Path, rows: list[Row], said: str) -> None:
    with pytest.raises(DataError, match=said):
        judging_rows(fitted.manifest, write_rows(tmp_path / "rows.jsonl", rows))


def test_rows_that_are_not_there(fitted: FittedClassifier, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no test\.jsonl"):
        judging_rows(fitted.manifest, tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        judging_rows(fitted.manifest, tmp_path / "rows.jsonl")


def test_explanations_are_tested_on_texts_drawn_by_the_seed(fitted: FittedClassifier, splits: Path) -> None:
    asked: list[str] = []

    def explain(text: str) -> leave_one_out.Explanation:
        asked.append(text)
        return leave_one_out.attributions(fitted, text)

    judging, told = judging_rows(fitted.manifest, splits), list[Progress]()
    report = model_report(fitted, judging, explain=explain, texts=4, seed=1, listener=told.append)
    assert report.deletion is not None and report.deletion.texts == 4
    first = list(asked)
    assert model_report(fitted, judging, explain=explain, texts=4, seed=1) == report
    model_report(fitted, judging, explain=explain, texts=4, seed=2)
    assert asked[4:8] == first != asked[8:]
    assert not {row.text for row in judging.rows if row.label == OUT_OF_SCOPE} & set(asked)
    assert {each.what for each in told} == {"judge", "delete"}
