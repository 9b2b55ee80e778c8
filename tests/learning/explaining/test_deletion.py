"""The deletion test finds that explanations hold where they do, and never where they cannot."""

from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from plimsoll.core.rng import seeded_rng
from plimsoll.learning import leave_one_out
from plimsoll.learning.explaining.deletion import deletion_test
from plimsoll.learning.explaining.fitted import FittedClassifier
from plimsoll.learning.explaining.gradients import attributions
from plimsoll.learning.leave_one_out import Explanation
from plimsoll.learning.options import Progress
from tests.learning.tiny import some_rows

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

TEXTS = tuple(row.text for row in some_rows(8, seed=5))


def explaining(classifier: FittedClassifier) -> Callable[[str], Explanation]:
    return lambda text: leave_one_out.attributions(classifier, text)


def at_random(classifier: FittedClassifier) -> Callable[[str], Explanation]:
    """Explanations that know nothing."""
    rng, explain = seeded_rng("words"), explaining(classifier)

    def explained(text: str) -> Explanation:
        known = explain(text)
        words = tuple(msgspec.structs.replace(word, attribution=rng.random()) for word in known.words)
        return msgspec.structs.replace(known, words=words)

    return explained


def test_explanations_by_gradients_hold(fitted: FittedClassifier) -> None:
    told: list[Progress] = []
    found = deletion_test(
        fitted, TEXTS, explain=lambda text: attributions(fitted, text), rng=seeded_rng(1), listener=told.append
    )
    assert found is not None and found.holds
    assert (found.method, found.texts, found.draws) == ("integrated-gradients", len(TEXTS), 10)
    assert [each.words for each in found.curve] == [1, 2, 3]  # texts of four words: one always stays
    first = found.curve[0]
    assert first.top.value > 3 * first.random.value
    for mean in (first.top, first.random, found.difference):
        assert mean.low <= mean.value <= mean.high
    assert (told[-1].what, told[-1].done, told[-1].total) == ("delete", len(TEXTS), len(TEXTS))


def test_explanations_that_know_nothing_do_not_hold(fitted: FittedClassifier) -> None:
    found = deletion_test(fitted, TEXTS, explain=at_random(fitted), rng=seeded_rng(1))
    assert found is not None and not found.holds


def test_a_model_that_ignores_the_text_has_no_words_that_matter(fitted: FittedClassifier) -> None:
    deaf = FittedClassifier(
        fitted.encoder, replace(fitted.head, weight=np.zeros_like(fitted.head.weight)), fitted.manifest
    )
    for explain in (explaining(deaf), lambda text: attributions(deaf, text)):
        found = deletion_test(deaf, TEXTS, explain=explain, rng=seeded_rng(1))
        assert found is not None and not found.holds
        assert found.difference.value == pytest.approx(0, abs=1e-6)


def test_the_same_seed_finds_the_same(fitted: FittedClassifier) -> None:
    one, two, other = (
        deletion_test(fitted, TEXTS[:5], explain=explaining(fitted), rng=seeded_rng(seed)) for seed in (1, 1, 2)
    )
    assert one == two != other


def test_no_more_words_are_taken_than_there_are(fitted: FittedClassifier) -> None:
    assert deletion_test(fitted, ["cancel"], explain=explaining(fitted), rng=seeded_rng(1)) is None
    found = deletion_test(fitted, ["cancel", "cancel order", TEXTS[0]], explain=explaining(fitted), rng=seeded_rng(1))
    assert found is not None and found.texts == 2
    assert [each.texts for each in found.curve] == [2, 1, 1]


def test_no_more_than_was_asked_for(fitted: FittedClassifier) -> None:
    found = deletion_test(fitted, TEXTS[:2], explain=explaining(fitted), rng=seeded_rng(1), most=2)
    assert found is not None and [each.words for each in found.curve] == [1, 2]
