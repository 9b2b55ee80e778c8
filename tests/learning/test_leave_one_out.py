"""A word's attribution is what the answer loses without it, as asking the model without it shows."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp

from plimsoll.core.errors import Misuse
from plimsoll.learning.classifier import Classifier
from plimsoll.learning.leave_one_out import attributions
from plimsoll.learning.linear import load_head

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

TEXT = "please cancel my order now"


@pytest.fixture(scope="module")
def classifier(exported: Path) -> Classifier:
    return Classifier.load(exported)


def test_it_is_what_asking_without_the_word_shows(classifier: Classifier, exported: Path) -> None:
    head = load_head(exported, labels=classifier.manifest.labels)

    def log_odds(text: str) -> float:
        first, *others = (head.logits(classifier.embed([text]))[0] / classifier.manifest.temperature).tolist()
        return first - float(logsumexp(others))

    explained = attributions(classifier, TEXT)
    whole = log_odds(TEXT)
    words = TEXT.split()
    for at, word in enumerate(explained.words):
        without = " ".join(words[:at] + words[at + 1 :])
        assert word.attribution == pytest.approx(whole - log_odds(without), rel=1e-3, abs=1e-3), word
    assert [word.text for word in explained.words] == words
    assert [TEXT[word.start : word.end] for word in explained.words] == words
    assert max(explained.words, key=lambda word: word.attribution).text == "cancel"


def test_the_answer_is_that_of_the_classifier(classifier: Classifier) -> None:
    explained, (answer,) = attributions(classifier, TEXT), classifier.classify([TEXT])
    assert explained.label == answer.label == "cancel_order"
    assert explained.probability == pytest.approx(answer.probability)
    assert explained.energy == pytest.approx(answer.energy)
    assert explained.out_of_scope is answer.out_of_scope
    assert not explained.cut


def test_another_label_may_be_asked_for(classifier: Classifier) -> None:
    explained = attributions(classifier, TEXT, label="refund")
    assert explained.label == "refund"
    assert explained.probability == pytest.approx(float(classifier.probabilities([TEXT])[0, 1]))
    assert next(word for word in explained.words if word.text == "cancel").attribution < 0


def test_a_text_of_one_word(classifier: Classifier) -> None:
    (word,) = attributions(classifier, " cancel ").words
    assert (word.text, word.start, word.end) == ("cancel", 1, 7)
    assert word.attribution > 0


def test_what_was_not_read_is_not_explained(classifier: Classifier) -> None:
    explained = attributions(classifier, " ".join(["order"] * 20))
    assert explained.cut
    assert len(explained.words) == classifier.manifest.max_tokens - 2


def test_what_takes_a_text_away_leaves_the_models_own_tokens(classifier: Classifier) -> None:
    tokens = classifier.tokens("cancel, please")
    assert [("cancel, please"[start:end]) for start, end in tokens.words] == ["cancel", ",", "please"]
    assert tokens.without({0, 1, 2}) == (tokens.ids[0], tokens.ids[-1])
    assert tokens.without(set()) == tokens.ids
    shorter = classifier.tokens("cancel please")
    assert np.allclose(classifier.embed_ids([tokens.without({1})]), classifier.embed_ids([shorter.ids]))


def test_a_label_that_nobody_knows(classifier: Classifier) -> None:
    with pytest.raises(Misuse, match="no label 'sing'; it has 3, 'cancel_order' first"):
        attributions(classifier, TEXT, label="sing")


def test_nothing_to_explain(classifier: Classifier) -> None:
    with pytest.raises(Misuse, match="is empty"):
        attributions(classifier, " ")


@pytest.mark.parametrize("text", ["\0", "\u200b\u200d", TEXT + "\u200b", TEXT + " \x01"])
def test_what_stands_for_no_token_is_nothing_that_was_cut_away(classifier: Classifier, text: str) -> None:
    """It was told as not read, for want of room, in a text of five words."""
    explained = attributions(classifier, text)
    assert not explained.cut
    assert [word.text for word in explained.words] == (TEXT.split() if TEXT in text else [])
