"""A fit learns, says what it learned, goes on after a kill as if there had been none, and loses nothing by failing."""

import fcntl
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plimsoll.core.clock import ManualClock, SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.learning.encoder import Encoder
from plimsoll.learning.errors import DataError, TrainingFailed, WeightsError
from plimsoll.learning.head import fitted_head
from plimsoll.learning.judging import Split
from plimsoll.learning.linear import load_head
from plimsoll.learning.manifest import Manifest, read_manifest
from plimsoll.learning.options import FitOptions, Method, Progress
from plimsoll.learning.rows import Rows, read_rows
from plimsoll.learning.training import tuned
from plimsoll.learning.transfer import ENCODER, fit
from tests.learning.tiny import some_rows

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

ONE_EPOCH: dict[Method, dict[str, Any]] = {method: {"epochs": 1} for method in Method} | {Method.HEAD: {}}
TUNING = [Method.LORA, Method.FEWSHOT, Method.FULL]


def options(method: Method, **others: Any) -> FitOptions:
    fast: dict[str, Any] = {} if method is Method.HEAD else {"epochs": 4, "learning_rate": 3e-3}
    return FitOptions(method=method, max_tokens=16, batch_size=8, **fast | others)


def fitted(splits: Path, encoder_dir: Path, out: Path, chosen: FitOptions, **others: Any) -> Manifest:
    return fit(read_rows(splits), encoder=encoder_dir, out=out, options=chosen, clock=SystemClock(), **others)


@pytest.mark.parametrize("method", list(Method))
def test_every_method_makes_a_model_that_stands_by_itself(
    method: Method, splits: Path, encoder_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made" / "model"
    manifest = fitted(splits, encoder_dir, out, options(method))
    assert read_manifest(out, kind="model") == manifest
    assert {file.parent.name for file in out.rglob("model.safetensors")} == {ENCODER}
    assert list(out.parent.iterdir()) == [out]  # nothing is left of its work
    rows = read_rows(splits)
    test = Split.of(rows.test, rows.labels)
    logits = load_head(out, labels=rows.labels).logits(Encoder.load(out / ENCODER, max_tokens=16).embed(test.texts))
    assert manifest.test is not None
    assert (logits.argmax(1) == test.numbers).mean() == pytest.approx(manifest.test.accuracy)
    assert (manifest.test.rows, manifest.test.oos_rows, manifest.validation.oos_rows) == (18, 6, 4)


@pytest.mark.parametrize("method", list(Method))
def test_every_method_learns(method: Method, splits: Path, encoder_dir: Path, tmp_path: Path) -> None:
    manifest = fitted(splits, encoder_dir, tmp_path / "model", options(method))
    assert manifest.test is not None
    assert manifest.test.accuracy > 0.6  # a guess is right once in three times


@pytest.mark.parametrize("method", list(Method))
def test_the_encoder_that_was_given_is_not_changed(
    method: Method, splits: Path, encoder_dir: Path, tmp_path: Path
) -> None:
    before = Encoder.load(encoder_dir, max_tokens=16).digest()
    manifest = fitted(splits, encoder_dir, tmp_path / "model", options(method))
    assert Encoder.load(encoder_dir, max_tokens=16).digest() == manifest.base_digest == before
    changed = Encoder.load(tmp_path / "model" / ENCODER, max_tokens=16).digest() != before
    assert changed is (method is not Method.HEAD)


def test_adapters_train_a_part_of_what_full_does(splits: Path, encoder_dir: Path, tmp_path: Path) -> None:
    few, all_ = (
        fitted(splits, encoder_dir, tmp_path / m, options(m, epochs=1)).trained_parameters
        for m in (Method.LORA, Method.FULL)
    )
    assert few < all_


@pytest.mark.parametrize("method", list(Method))
def test_how_rare_labels_weigh_is_heard_by_every_method(
    method: Method, splits: Path, encoder_dir: Path, tmp_path: Path
) -> None:
    given = read_rows(splits)
    rare = [row for row in given.train if row.label == "refund"][:4]
    rows = Rows.of([row for row in given.train if row.label != "refund"] + rare, validation=given.validation)
    heads = []
    for balanced in (True, False):
        chosen, out = options(method, balanced=balanced, **ONE_EPOCH[method]), tmp_path / str(balanced)
        fit(rows, encoder=encoder_dir, out=out, options=chosen, clock=ManualClock())
        heads.append(weights(out))
    assert not np.allclose(*heads, atol=0.05)


def test_the_card_says_what_was_measured(splits: Path, encoder_dir: Path, tmp_path: Path) -> None:
    manifest = fitted(splits, encoder_dir, tmp_path / "model", options(Method.FULL, epochs=2))
    card = (tmp_path / "model" / "README.md").read_text()
    assert manifest.test is not None
    for said in (
        manifest.base_digest,
        manifest.data_digest,
        f"{manifest.test.accuracy:.2%}",
        "`cancel_order`",
        "24 to 24",
    ):
        assert said in card
    assert "3 training rows were out of scope" in card
    assert (tmp_path / "model" / "curves.svg").read_text().count("<svg") == 1


def test_a_seed_repeats_itself(splits: Path, encoder_dir: Path, tmp_path: Path) -> None:
    one, again, other = (
        weights(fitted_at(splits, encoder_dir, tmp_path / name, seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert np.allclose(one, again, atol=0.05)
    assert not np.allclose(one, other, atol=0.05)


def fitted_at(splits: Path, encoder_dir: Path, out: Path, seed: int) -> Path:
    fitted(splits, encoder_dir, out, options(Method.FULL, epochs=1, seed=seed))
    return out


def weights(model: Path) -> Any:
    return load_head(model, labels=read_manifest(model, kind="model").labels).weight


KILLED = """
import os, signal, sys
from pathlib import Path
from plimsoll.core.clock import SystemClock
from plimsoll.learning.options import FitOptions, Method
from plimsoll.learning.rows import read_rows
from plimsoll.learning.transfer import fit

splits, encoder, out, method, at = sys.argv[1:]

def told(now):
    if at == f"{now.what} {now.epoch if now.what == 'train' else now.done}":
        os.kill(os.getpid(), signal.SIGKILL)

tuning = {} if method == "head" else {"epochs": 4, "learning_rate": 3e-3}
options = FitOptions(method=Method(method), max_tokens=16, batch_size=8, **tuning)
fit(read_rows(Path(splits)), encoder=Path(encoder), out=Path(out), options=options, clock=SystemClock(), listener=told)
"""


@pytest.mark.parametrize(
    ("method", "at"),
    [
        (Method.FULL, "train 2"),
        (Method.LORA, "train 3"),
        (Method.FEWSHOT, "train 1"),
        (Method.HEAD, "embed 72"),
        (Method.FULL, "embed 18"),
    ],
)
def test_a_killed_fit_goes_on_as_if_nothing_had_been(
    method: Method, at: str, splits: Path, encoder_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(splits), str(encoder_dir), str(out), method, at]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not out.exists() and out.with_name("killed.work").is_dir()
    seconds = out.with_name("killed.work") / "seconds"
    assert float(seconds.read_text()) > 0
    seconds.write_text("1000")  # as if it had lived that long
    told: list[Progress] = []
    resumed = fitted(splits, encoder_dir, out, options(method), listener=told.append)
    whole = fitted(splits, encoder_dir, tmp_path / "whole", options(method))
    assert resumed.test == whole.test
    assert resumed.train_s > 1000
    assert np.allclose(weights(out), weights(tmp_path / "whole"), atol=0.05)
    epochs = [now.epoch for now in told if now.epoch is not None]
    if at.startswith("train"):
        assert epochs[0] == int(at.split()[1]) + 1  # what was done is not done again
    else:
        assert epochs == []


def test_a_checkpoint_that_a_kill_cut_short_is_not_gone_on_from(
    splits: Path, encoder_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(splits), str(encoder_dir), str(out), "full", "train 2"]
    subprocess.run(command, check=False)
    newest = max(out.with_name("killed.work").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    (newest / "whole").unlink()
    (newest / "model.safetensors").write_bytes(b"half a")
    resumed = fitted(splits, encoder_dir, out, options(Method.FULL))
    whole = fitted(splits, encoder_dir, tmp_path / "whole", options(Method.FULL))
    assert resumed.test == whole.test
    assert np.allclose(weights(out), weights(tmp_path / "whole"), atol=0.05)


def test_work_of_another_fit_is_not_gone_on_with(splits: Path, encoder_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "model.work").mkdir()
    (tmp_path / "model.work" / "plan.json").write_text("{}")
    with pytest.raises(Misuse, match="of a fit that has not ended"):
        fitted(splits, encoder_dir, tmp_path / "model", options(Method.HEAD))


def test_two_processes_do_not_work_at_one_fit(splits: Path, encoder_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "model.work").mkdir()
    with (tmp_path / "model.work" / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Misuse, match="another process works at it"):
            fitted(splits, encoder_dir, tmp_path / "model", options(Method.HEAD))
    fitted(splits, encoder_dir, tmp_path / "model", options(Method.HEAD))


@pytest.mark.parametrize("method", TUNING)
def test_what_a_fit_has_reached_may_be_taken(method: Method, splits: Path, encoder_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(splits), str(encoder_dir), str(out), method, "train 2"]
    subprocess.run(command, check=False)
    manifest = fitted(splits, encoder_dir, out, options(method), finish=True)
    assert manifest.epochs == 2
    assert manifest.test is not None and manifest.test.accuracy > 0.5


def test_a_place_that_cannot_be_written(splits: Path, encoder_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingFailed, match="Not a directory"):
        fitted(splits, encoder_dir, tmp_path / "file" / "model", options(Method.HEAD))


def test_nothing_reached_is_nothing_to_take(splits: Path, encoder_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="no whole epoch"):
        fitted(splits, encoder_dir, tmp_path / "model", options(Method.FULL), finish=True)


def test_a_model_that_is_there_is_never_replaced(splits: Path, encoder_dir: Path, tmp_path: Path) -> None:
    fitted(splits, encoder_dir, tmp_path / "model", options(Method.HEAD))
    with pytest.raises(Misuse, match="a model must not be lost"):
        fitted(splits, encoder_dir, tmp_path / "model", options(Method.HEAD))


def test_a_loss_that_is_no_number_ends_the_training_and_keeps_the_last_whole_epoch(
    splits: Path, encoder_dir: Path, tmp_path: Path
) -> None:
    rows, encoder = read_rows(splits), Encoder.load(encoder_dir, max_tokens=16)
    train, validation = (Split.of(split, rows.labels) for split in (rows.train, rows.validation))
    head = fitted_head(encoder.embed(train.texts), train.numbers, balanced=True, seed=0)

    def spoil(now: Progress) -> None:
        if now.epoch == 2:
            with torch.no_grad():
                next(encoder.embedder.parameters()).fill_(torch.nan)

    with pytest.raises(TrainingFailed, match="in step 19 of 36"):
        tuned(
            encoder,
            head,
            train=(train.texts, train.numbers),
            validation=(validation.texts, validation.numbers),
            options=options(Method.FULL),
            work=tmp_path,
            listener=spoil,
        )
    kept = [checkpoint for checkpoint in tmp_path.glob("checkpoint-*") if (checkpoint / "whole").exists()]
    assert {checkpoint.name for checkpoint in kept} <= {"checkpoint-9", "checkpoint-18"} and kept


def test_training_ends_early_where_nothing_is_gained(splits: Path, encoder_dir: Path, tmp_path: Path) -> None:
    chosen = options(Method.FULL, epochs=30, patience=2)
    manifest = fitted(splits, encoder_dir, tmp_path / "model", chosen)
    assert 2 < manifest.epochs < 30


@pytest.mark.parametrize("method", TUNING)
def test_a_kill_after_the_training_adds_no_epoch(
    method: Method, splits: Path, encoder_dir: Path, tmp_path: Path
) -> None:
    chosen = options(method, epochs=30, patience=1)
    whole = fitted(splits, encoder_dir, tmp_path / "whole", chosen)
    out = tmp_path / "model"
    judged = 18 if method is not Method.FEWSHOT else 72

    def die(now: Progress) -> None:
        if now.what == "embed" and now.total == judged:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(splits, encoder_dir, out, chosen, listener=die)
    shutil.rmtree(tmp_path / "model.work" / "model", ignore_errors=True)  # as if it had died before that was written
    resumed = fitted(splits, encoder_dir, out, chosen)
    assert resumed.epochs == whole.epochs < 30
    assert resumed.test == whole.test


def test_one_row_of_a_label_is_too_few_to_compare(encoder_dir: Path, tmp_path: Path) -> None:
    rows = some_rows(4, seed=1)
    with pytest.raises(DataError, match="it needs two"):
        fit(
            Rows.of(rows[3:], validation=rows),
            encoder=encoder_dir,
            out=tmp_path / "model",
            options=options(Method.FEWSHOT),
            clock=ManualClock(),
        )


def test_what_is_no_encoder_leaves_nothing_behind(splits: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        fitted(splits, tmp_path / "nowhere", tmp_path / "model", options(Method.HEAD))
    assert list(tmp_path.iterdir()) == []
