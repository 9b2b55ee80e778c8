"""`plimsoll learn`: from a file of rows to an answer, as somebody types it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from plimsoll.cli import main


def ran(*words: object) -> Result:
    return CliRunner().invoke(main, ["learn", *map(str, words)])


def test_rows_that_are_wrong_are_told_with_their_line(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(b'{"text": "a", "label": "x"}\n{"text": "caf\xe9", "label": "x"}\n')
    ended = ran("fit", "--data", data, "--out", tmp_path / "model")
    assert ended.exit_code == 1
    assert f"{data}:2: byte 41 (0xe9) is not UTF-8" in ended.stderr


def test_what_cannot_be_is_wrong_usage(tmp_path: Path) -> None:
    assert ran("fit", "--data", "x", "--out", "y", "--method", "magic").exit_code == 2
    assert ran("fit", "--data", "x", "--out", "y", "--rejected", "0").exit_code == 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.learning.tiny import some_rows, write_rows

    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", some_rows(24, strange=2, seed=1))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.learning.tiny import write_encoder

    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_from_rows_to_an_answer(tmp_path: Path, data: Path, encoder: Path) -> None:
    model, exported = tmp_path / "model", tmp_path / "int8"
    tuning = ("--method", "full", "--epochs", 4, "--learning-rate", 3e-3, "--batch-size", 8, "--max-tokens", 16)
    fitted = ran("fit", "--data", data, "--out", model, "--encoder", encoder, *tuning)
    assert fitted.exit_code == 0, fitted.stderr
    assert "2 training rows were out of scope" in fitted.stdout
    assert "epoch 4: " in fitted.stderr
    assert "3 labels" in fitted.stdout
    said = json.loads(ran("export", model, "--data", data, "--out", exported, "--json").stdout)
    assert said["out"] == str(exported)
    assert said["validation"]["accuracy"] > 0.8 and said["test"] is None
    assert said["bytes"] == sum(file.stat().st_size for file in exported.rglob("*"))
    answered = ran("classify", exported, "please cancel my order", "my money")
    assert [line.split()[0] for line in answered.stdout.splitlines()[1:]] == ["cancel_order", "refund"]
    (answer,) = json.loads(ran("classify", exported, "please cancel my order", "--json").stdout)["answers"]
    assert answer["label"] == "cancel_order" and 0 < answer["probability"] <= 1
    assert set(answer) == {"label", "probability", "out_of_scope", "energy"}


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_an_error_is_one_line_and_leaves_nothing_behind(tmp_path: Path, data: Path) -> None:
    ended = ran("fit", "--data", data, "--out", tmp_path / "model", "--encoder", tmp_path / "nowhere", "--json")
    assert ended.exit_code == 1
    assert "no such directory" in json.loads(ended.stdout)["error"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_the_default_encoder_fits_and_answers(tmp_path: Path) -> None:
    words = {
        "refund": ["I want my money back", "please refund the payment", "give back what I paid", "refund me"],
        "track": ["where is my parcel", "track my package", "when will it arrive", "has it been shipped"],
    }
    data = tmp_path / "rows.csv"
    data.write_text("text,label\n" + "".join(f"{text},{label}\n" for label in words for text in words[label]))
    assert ran("fit", "--data", data, "--out", tmp_path / "model").exit_code == 0
    exported = ran("export", tmp_path / "model", "--data", data, "--out", tmp_path / "int8", "--json")
    assert json.loads(exported.stdout)["bytes"] <= 25_000_000
    asked = (
        "classify",
        tmp_path / "int8",
        "--json",
        "return the money you took",
        "did my delivery leave the warehouse",
    )
    assert [answer["label"] for answer in json.loads(ran(*asked).stdout)["answers"]] == ["refund", "track"]
