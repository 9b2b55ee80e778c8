"""The benchmark of transfer learning judges by rows that nothing was fitted on, and draws few examples fairly."""

import json
from collections import Counter
from pathlib import Path

from benchmarks.figures import learning
from benchmarks.transfer import SHOTS, clinc, few, wanted
from plimsoll.learning.options import Method
from plimsoll.learning.rows import OUT_OF_SCOPE, Rows


def data(folder: Path) -> Rows:
    splits = {
        split: [[f"{split} {label} {number}", label] for label in ("a", "b") for number in range(40)]
        for split in ("train", "val", "test")
    }
    outside = {f"oos_{split}": [[f"{split} moon {number}", "oos"] for number in range(5)] for split in splits}
    (folder / "data_full.json").write_text(json.dumps(splits | outside))
    return clinc(folder)


def test_what_judges_is_not_trained_on(tmp_path: Path) -> None:
    rows = data(tmp_path)
    assert {row.text.split()[0] for row in rows.train} == {"train"}
    assert {row.text.split()[0] for row in rows.validation} == {"val"}
    assert {row.text.split()[0] for row in rows.test} == {"test"}
    assert rows.labels == ("a", "b")
    assert Counter(row.label for row in rows.test)[OUT_OF_SCOPE] == 5


def test_few_are_as_many_of_each_label_and_others_with_another_seed(tmp_path: Path) -> None:
    rows = data(tmp_path)
    drawn = few(rows, 10, 0)
    assert Counter(row.label for row in drawn.train) == {"a": 10, "b": 10}
    assert (drawn.validation, drawn.test) == (rows.validation, rows.test)
    assert few(rows, 10, 0) == drawn != few(rows, 10, 1)
    assert few(rows, None, 0) == rows


def test_every_method_is_fitted_at_every_size_but_few_examples_on_all() -> None:
    names = [name for name, _, _ in wanted(())]
    assert len(names) == len(set(names)) == len(Method) * len(SHOTS) - 1
    assert "fewshot" not in names and {"full", "full_30shot", "fewshot_10shot", "head"} <= set(names)
    assert [name for name, _, _ in wanted(("full", "head_10shot"))] == ["full", "head_10shot"]


def test_what_an_explanation_costs_is_told() -> None:
    mean = {"value": 0.5, "low": 0.4, "high": 0.6}
    curve = [{"words": words, "texts": 9, "top": mean, "random": mean} for words in (1, 2, 3)]
    each = {"cpu_s": 0.0411, "answers": 10.4, "sum_off": 0.00012, "holds": True}
    each["deletion"] = {"texts": 9, "curve": curve, "difference": mean}
    result = {
        "methods": {"integrated_gradients": each, "leave_one_out": each | {"sum_off": None, "holds": False}},
        "texts": 50,
        "words": 8.4,
        "labels": 150,
        "date": "2026-01-01",
        "machine": {"cores": 2, "cpu": "a", "python": "3.11"},
    }
    told = learning.explain(result)
    assert "| `leave-one-out` | 41 ms | 10 | 0.500 | 0.500 | 0.500 | 0.500 |" in told
    assert "by leave-one-out are not shown to hold" in told.replace("\n", " ")


def test_its_table_says_what_was_measured() -> None:
    figures = {"in_scope_accuracy": 0.9651, "oos_recall": 0.936, "rejected": 0.052, "auroc": 0.985, "ece": 0.02}
    result = {
        "methods": {"full_10shot": {**figures, "train_s": 1234.0}},
        "shipped": {**figures, "train_s": 1.0, "model": "full-0", "model_bytes": 23_940_000, "p50_ms": 2.5},
        "anchors": {"BERT, as published": {"in_scope_accuracy": 0.969}},
        "seeds": [0],
        "date": "2026-01-01",
        "machine": {"cores": 2, "cpu": "a", "python": "3.11"},
    }
    table = learning.transfer(result)
    assert "| `full`, 10 a label | 96.51% | 93.6% | 5.2% | 0.985 | 0.020 | 1,234 |" in table
    assert "(`full`, all rows), exported: 23.9 MB, 2.5 ms" in table.replace("\n", " ")
