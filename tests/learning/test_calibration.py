"""Confidence is what it says, on rows where the truth is known because it was drawn."""

from pathlib import Path

import numpy as np
import pytest

from plimsoll.core.errors import PlimsollError
from plimsoll.learning.calibration import auroc, calibration_error, fitted_temperature, threshold
from plimsoll.learning.errors import TrainingFailed, WeightsError
from plimsoll.learning.head import fitted_head
from plimsoll.learning.judging import Split, calibrated, scores
from plimsoll.learning.linear import Head, energy, load_head, probabilities, save_head
from plimsoll.learning.rows import OUT_OF_SCOPE, Row

pytestmark = pytest.mark.heavy


def drawn(count: int, *, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that were drawn by the very probabilities that the logits stand for."""
    chance = np.random.default_rng(7)
    logits = chance.normal(size=(count, 4)) * spread
    return logits, np.array([chance.choice(4, p=row) for row in probabilities(logits, 1.0)])


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_takes_back_what_the_logits_exaggerate(factor: float) -> None:
    logits, labels = drawn(4000, spread=2.0)
    assert fitted_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize("rows", [10, 100, 1000])
def test_so_many_right_answers_do_not_make_the_next_one_certain(rows: int) -> None:
    labels = np.arange(rows) % 3
    logits = np.eye(3)[labels] * 2.0
    sure = probabilities(logits, fitted_temperature(logits, labels)).max(1)
    assert sure == pytest.approx((rows + 1) / (rows + 2), abs=1e-3)  # Laplace's rule of succession


def test_one_wrong_answer_is_doubt_enough() -> None:
    labels = np.arange(100) % 3
    logits = np.eye(3)[labels] * 2.0
    labels[0] = 1
    sure = probabilities(logits, fitted_temperature(logits, labels)).max(1)
    assert sure == pytest.approx(0.99, abs=1e-3)


def test_what_was_drawn_by_its_chances_is_calibrated_and_what_is_surer_is_not() -> None:
    logits, labels = drawn(4000, spread=2.0)
    assert calibration_error(probabilities(logits, 1.0), labels) < 0.03
    assert calibration_error(probabilities(logits, 0.2), labels) > 0.1


def test_the_calibration_error_of_always_sure_and_half_right() -> None:
    chances = np.tile([1.0, 0.0], (10, 1))
    assert calibration_error(chances, np.array([0, 1] * 5)) == pytest.approx(0.5)


def test_energy_and_probabilities_bear_the_largest_logits() -> None:
    logits = np.array([[1000.0, 0.0], [0.0, 0.0]])
    assert energy(logits) == pytest.approx([1000.0, np.log(2)])
    assert probabilities(logits, 1.0)[0] == pytest.approx([1.0, 0.0])


def test_the_threshold_rejects_the_share_that_was_asked_for() -> None:
    energies = np.arange(1000.0)
    assert (energies < threshold(energies, rejected=0.05)).mean() == pytest.approx(0.05)


def test_auroc_of_what_is_parted_and_of_what_is_the_same() -> None:
    assert auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1.0
    assert auroc(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0.5


def test_a_head_of_two_labels_has_two_rows() -> None:
    vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]], np.float32)
    head = fitted_head(vectors, np.array([0, 0, 1, 1]), balanced=True, seed=0)
    assert head.weight.shape == (2, 2) and head.bias.shape == (2,)
    assert list(head.logits(vectors).argmax(1)) == [0, 0, 1, 1]


def test_balance_lets_a_rare_label_be_heard() -> None:
    chance = np.random.default_rng(3)
    vectors = np.r_[chance.normal(0, 1, (300, 2)), chance.normal(1.5, 1, (12, 2))].astype(np.float32)
    labels = np.r_[np.zeros(300, int), np.ones(12, int)]
    rare = [
        (fitted_head(vectors, labels, balanced=balanced, seed=0).logits(vectors)[300:].argmax(1) == 1).mean()
        for balanced in (True, False)
    ]
    assert rare[0] > rare[1]


def test_vectors_that_are_no_numbers() -> None:
    with pytest.raises(TrainingFailed, match="no number") as error:
        fitted_head(np.full((2, 2), np.nan), np.array([0, 1]), balanced=False, seed=0)
    assert isinstance(error.value, PlimsollError)


def test_a_head_whose_memory_lies_column_by_column_is_saved_as_it_is(tmp_path: Path) -> None:
    head = Head(np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)), np.zeros(2, np.float32))
    save_head(tmp_path, head)
    assert np.array_equal(load_head(tmp_path, labels=("a", "b")).weight, head.weight)


def test_scores_are_of_these_rows() -> None:
    head = Head(np.eye(2, dtype=np.float32) * 10, np.zeros(2, np.float32))
    inside, outside = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32), np.array([[0.1, 0.1]], np.float32)
    numbers = np.array([0, 1, 0, 0])
    calibration = calibrated(head, inside, numbers, rejected=0.25)
    found = scores(head, calibration, inside=inside, numbers=numbers, outside=outside)
    assert (found.rows, found.accuracy, found.oos_rows, found.oos_recall, found.auroc) == (4, 0.75, 1, 1.0, 1.0)
    none = scores(head, calibration, inside=inside, numbers=numbers, outside=np.empty((0, 2)))
    assert (none.oos_rows, none.oos_recall, none.auroc) == (0, None, None)


def test_a_split_parts_what_is_out_of_scope() -> None:
    split = Split.of([Row("x", "b"), Row("moon", OUT_OF_SCOPE), Row("y", "a")], ("a", "b"))
    assert (split.texts, list(split.numbers), split.outside) == (("x", "y"), [1, 0], ("moon",))


def test_a_head_of_no_numbers_is_not_loaded(tmp_path: Path) -> None:
    for head in (
        Head(np.array([[0.0, np.nan]] * 2, np.float32), np.zeros(2, np.float32)),
        Head(np.zeros((2, 2), np.float32), np.array([0.0, np.inf], np.float32)),
    ):
        save_head(tmp_path, head)
        with pytest.raises(WeightsError, match="holds what is no number: fit it anew"):
            load_head(tmp_path, labels=("a", "b"))
