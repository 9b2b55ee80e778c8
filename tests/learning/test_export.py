"""The exported model answers as the fitted one does, by ONNX Runtime alone."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from plimsoll.core.errors import Misuse, OperationFailed
from plimsoll.learning.classifier import Classifier
from plimsoll.learning.curves import FILE as CURVES
from plimsoll.learning.curves import read_curves
from plimsoll.learning.encoder import Encoder
from plimsoll.learning.errors import DataError, WeightsError
from plimsoll.learning.export import export, rows_of
from plimsoll.learning.lineage import FILE as LINEAGE
from plimsoll.learning.lineage import read_lineage
from plimsoll.learning.manifest import FILE, Manifest, digests, read_manifest, write_manifest
from plimsoll.learning.options import Progress
from plimsoll.learning.rows import Rows, read_rows
from plimsoll.learning.transfer import ENCODER
from tests.learning.tiny import some_rows

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

TEXTS = ["please cancel my order", "where can you track the order now", "my money back today"]


def test_the_vectors_are_nearly_those_of_the_model(model: Path, exported: Path) -> None:
    ours, exact = Classifier.load(exported).embed(TEXTS), Encoder.load(model / ENCODER, max_tokens=16).embed(TEXTS)
    assert ours.shape == (3, 32) and ours.dtype == np.float32
    assert (ours * exact).sum(axis=1).min() > 0.97
    assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


def test_what_is_known_of_its_rows_and_its_training_goes_with_it(model: Path, exported: Path, splits: Path) -> None:
    rows = read_rows(splits)
    for directory, kind in ((model, "model"), (exported, "export")):
        assert {LINEAGE, CURVES} <= set(read_manifest(directory, kind=kind).files)
        lineage = read_lineage(directory, data_digest=rows.digest)
        assert lineage is not None and lineage.sources == rows.sources
        assert (directory / LINEAGE).stat().st_mode & 0o777 == 0o600
        assert [curve.epoch for curve in read_curves(directory)] == [1, 2, 3, 4]


def test_the_scores_are_those_of_what_was_written(model: Path, exported: Path, splits: Path) -> None:
    classifier, rows = Classifier.load(exported), read_rows(splits)
    test = classifier.manifest.test
    assert test is not None
    inside = [row for row in rows.test if row.label in rows.labels]
    answers = classifier.classify([row.text for row in inside])
    right = [answer.label == row.label for answer, row in zip(answers, inside, strict=True)]
    assert test.accuracy == pytest.approx(np.mean(right))
    assert test.rejected == pytest.approx(np.mean([answer.out_of_scope for answer in answers]))
    assert test.accuracy > 0.8
    assert digests(exported) == classifier.manifest.files
    assert {path.name for path in exported.iterdir()} == {FILE, "README.md", *classifier.manifest.files}


def test_probabilities_are_those_of_the_answers(exported: Path) -> None:
    classifier = Classifier.load(exported)
    chances = classifier.probabilities(TEXTS)
    assert np.allclose(chances.sum(axis=1), 1)
    for answer, chance in zip(classifier.classify(TEXTS), chances, strict=True):
        assert answer.probability == pytest.approx(chance.max())
        assert answer.label == classifier.manifest.labels[chance.argmax()]
        assert answer.out_of_scope is (answer.energy < classifier.manifest.threshold)


def test_an_answer_does_not_depend_on_its_neighbours(exported: Path, splits: Path) -> None:
    classifier = Classifier.load(exported)
    assert classifier.manifest.batches
    texts = [*(row.text for row in read_rows(splits).train), "cancel", "please " * 40]
    alone = np.concatenate([classifier.embed([text]) for text in texts])
    assert np.abs(classifier.embed(texts) - alone).max() < 1e-6
    assert np.abs(classifier.embed(texts[::-1])[::-1] - alone).max() < 1e-6


def test_what_does_not_say_so_is_read_alone(exported: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(exported, tmp_path / "earlier")
    told = (directory / FILE).read_text()
    (directory / FILE).write_text(told.replace('"batches": true,', ""))
    classifier = Classifier.load(directory)
    assert np.array_equal(classifier.embed(TEXTS), np.concatenate([classifier.embed([text]) for text in TEXTS]))


ALONE = """
import sys
for name in ("torch", "transformers", "sklearn", "scipy"):
    sys.modules[name] = None
from pathlib import Path
from plimsoll.learning.classifier import Classifier
print(Classifier.load(Path(sys.argv[1])).classify(["please cancel my order"])[0].label)
"""


def test_it_needs_onnx_runtime_alone(exported: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", ALONE, str(exported)], capture_output=True, text=True, check=False)
    assert ended.stdout == "cancel_order\n", ended.stderr


def test_nothing_asked_is_nothing_answered(exported: Path) -> None:
    assert Classifier.load(exported).classify([]) == []
    assert Classifier.load(exported).embed([]).shape == (0, 32)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "text 2 is empty"),
        (" \n", "text 2 is empty"),
        ("x" * 10_000_000, "text 2 has 10,000,000 characters; 20,000 are the most"),
        ("\ud800", "no Unicode text"),
    ],
    ids=["empty", "blank", "10 MB", "half a character"],
)
def test_a_text_that_is_none(exported: Path, text: str, said: str) -> None:
    with pytest.raises(Misuse, match=said):
        Classifier.load(exported).classify(["fine", text])


def test_progress_is_told(model: Path, splits: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    export(model, rows=rows_of(model, splits), out=tmp_path / "int8", listener=told.append)
    assert (told[0].what, told[0].done, told[17].done, told[17].total) == ("embed", 1, 18, 18)
    assert list(tmp_path.iterdir()) == [tmp_path / "int8"]


def test_other_rows_than_it_was_fitted_on(model: Path, encoder_dir: Path, tmp_path: Path) -> None:
    from tests.learning.tiny import write_rows

    data = write_rows(tmp_path / "other.jsonl", some_rows(5, seed=9))
    with pytest.raises(DataError, match="not the rows that"):
        rows_of(model, data)
    with pytest.raises(DataError, match="not those that"):
        export(model, rows=Rows.of(some_rows(5, seed=9)), out=tmp_path / "int8")


def test_what_is_there_is_never_replaced(model: Path, splits: Path, exported: Path) -> None:
    with pytest.raises(Misuse, match="a model must not be lost"):
        export(model, rows=rows_of(model, splits), out=exported)


def test_the_work_of_a_fit_that_has_not_ended_is_not_taken_away(model: Path, splits: Path, tmp_path: Path) -> None:
    work = tmp_path / "int8.work"
    (work / "checkpoint-9").mkdir(parents=True)
    (work / "plan.json").write_text("{}")
    with pytest.raises(Misuse, match="of a fit that has not ended"):
        export(model, rows=rows_of(model, splits), out=tmp_path / "int8")
    assert (work / "checkpoint-9").is_dir()


def test_two_exports_do_not_write_to_one_directory(model: Path, splits: Path, tmp_path: Path) -> None:
    out, rows = tmp_path / "int8", rows_of(model, splits)
    refused: list[str] = []

    def meanwhile(told: Progress) -> None:
        if not refused:
            with pytest.raises(Misuse, match="another process works at it") as error:
                export(model, rows=rows, out=out)
            refused.append(str(error.value))

    export(model, rows=rows, out=out, listener=meanwhile)
    assert refused
    assert Classifier.load(out).classify(["my money back"])


def test_an_export_to_where_nothing_can_be_written(model: Path, splits: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperationFailed, match="Not a directory"):
        export(model, rows=rows_of(model, splits), out=tmp_path / "file" / "int8")


def cut_short(directory: Path) -> None:
    file = directory / "model.onnx"
    file.write_bytes(file.read_bytes()[:1000])


def exchanged(directory: Path) -> None:
    (directory / "tokenizer.json").write_text("{}")


def rewritten(directory: Path, name: str, content: bytes) -> None:
    """Spoils a file, and the manifest says that it is right."""
    (directory / name).write_bytes(content)
    manifest = read_manifest_unchecked(directory)
    write_manifest(directory, manifest)


def read_manifest_unchecked(directory: Path) -> Manifest:
    import msgspec

    manifest = msgspec.json.decode((directory / FILE).read_bytes(), type=Manifest)
    return msgspec.structs.replace(manifest, files=digests(directory))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut_short, r"model\.onnx is not the file"),
        (exchanged, r"tokenizer\.json is not the file"),
        (
            lambda directory: rewritten(directory, "model.onnx", b"none"),
            r"model\.onnx or tokenizer\.json cannot be read",
        ),
        (lambda directory: rewritten(directory, "head.safetensors", b"none"), r"head\.safetensors cannot be read"),
    ],
)
def test_what_is_damaged_is_refused(exported: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    directory = shutil.copytree(exported, tmp_path / "spoiled")
    spoil(directory)
    with pytest.raises(WeightsError, match=said):
        Classifier.load(directory)


def test_a_head_of_other_labels(exported: Path, tmp_path: Path) -> None:
    import msgspec

    directory = shutil.copytree(exported, tmp_path / "other")
    manifest = read_manifest(directory, kind="export")
    write_manifest(directory, msgspec.structs.replace(manifest, labels=("a", "b")))
    with pytest.raises(WeightsError, match="is for 3 labels, and not for 2"):
        Classifier.load(directory)


def test_a_model_is_no_export(model: Path) -> None:
    with pytest.raises(WeightsError, match="kind `model`, and `export` is wanted"):
        Classifier.load(model)
