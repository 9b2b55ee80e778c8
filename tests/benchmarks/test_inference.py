"""The benchmark of inference: its table says what was measured, and every intent that it knows has rows."""

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks.figures import inference
from benchmarks.inference import OWN, rows_of


def test_its_table_says_what_was_measured() -> None:
    arms = ("plimsoll", "bare_ort", "sentence_transformers", "transformers")
    result = {f"{arm}_p{quantile}_ms": 1.25 for arm in arms for quantile in (50, 99)}
    result |= {"texts_per_s": 1234.5, "rss_mb": 150.0, "ready_s": 1.5, "texts": 400, "labels": 150}
    result |= {"faster_than_sentence_transformers": 6.5, "over_bare_ort": 0.125}
    table = inference.inference({**result, "date": "2026-01-01", "machine": {"cores": 2, "cpu": "a", "python": "3.11"}})
    assert "| **Plimsoll's service** | 1.25 | 1.25 | 1,234.5 | 150.0 | 1.5 |" in table
    assert "6.5 times as fast as sentence-transformers, 12 % over" in table.replace("\n", " ")


def test_without_real_data_it_has_texts_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLIMSOLL_REALDATA", raising=False)
    monkeypatch.chdir(tmp_path)
    rows = rows_of(Namespace(data=None, quick=True))
    assert rows.labels == tuple(sorted(OWN))
    assert len(rows.train) + len(rows.validation) == sum(map(len, OWN.values()))
