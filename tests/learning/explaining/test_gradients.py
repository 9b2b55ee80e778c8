"""Integrated gradients: the word that decides has the most, and all of them sum to what the text adds to no text."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from transformers import RobertaConfig, RobertaModel

from plimsoll.core.errors import Misuse
from plimsoll.learning import leave_one_out
from plimsoll.learning.classifier import Classifier
from plimsoll.learning.encoder import Encoder
from plimsoll.learning.errors import WeightsError
from plimsoll.learning.explaining.fitted import FittedClassifier
from plimsoll.learning.explaining.gradients import attributions
from plimsoll.learning.manifest import digests, read_manifest, write_manifest
from tests.learning.tiny import WORDS, write_encoder

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

DECIDED = (
    ("please cancel my order now", "cancel_order", "cancel"),
    ("can you track the order today", "track_order", "track"),
    ("the money now please", "refund", "money"),
)


@pytest.mark.parametrize(("text", "label", "word"), DECIDED)
def test_the_word_that_decides_has_the_most_by_both_methods(
    fitted: FittedClassifier, text: str, label: str, word: str
) -> None:
    for explain in (attributions, leave_one_out.attributions):
        explained = explain(fitted, text)
        assert explained.label == label
        assert max(explained.words, key=lambda each: each.attribution).text == word, explained.method


@pytest.mark.parametrize("label", [None, "refund", "track_order"])
def test_they_sum_to_the_log_odds_of_the_text_less_those_of_the_padding(
    fitted: FittedClassifier, label: str | None
) -> None:
    explained = attributions(fitted, "please cancel my order now", label=label)
    tokens = fitted.tokens("please cancel my order now")
    padding = [0 if word is not None else token for token, word in zip(tokens.ids, tokens.word_of, strict=True)]
    with torch.inference_mode():
        vectors = fitted.encoder.embedder(torch.tensor([tokens.ids, padding]), torch.ones(2, len(padding))).numpy()
    column = fitted.manifest.labels.index(explained.label)
    logits = fitted.head.logits(vectors) / fitted.manifest.temperature
    text, nothing = logits[:, column] - logsumexp(np.delete(logits, column, axis=1), axis=1)
    assert explained.delta is not None and explained.delta < 0.05 * abs(text - nothing)
    assert sum(word.attribution for word in explained.words) == pytest.approx(
        text - nothing, abs=explained.delta + 1e-3
    )


def test_the_answer_is_that_of_the_model(fitted: FittedClassifier) -> None:
    explained, (answer,) = attributions(fitted, "cancel my order"), fitted.classify(["cancel my order"])
    assert (explained.label, explained.out_of_scope) == (answer.label, answer.out_of_scope)
    assert explained.probability == pytest.approx(answer.probability)
    assert explained.energy == pytest.approx(answer.energy)
    assert explained.method == "integrated-gradients"


def test_a_model_answers_as_its_export_does(fitted: FittedClassifier, exported: Path) -> None:
    texts = [text for text, _, _ in DECIDED]
    ours, theirs = fitted.classify(texts), Classifier.load(exported).classify(texts)
    assert [answer.label for answer in ours] == [answer.label for answer in theirs]
    assert fitted.classify([texts[1]])[0].probability == pytest.approx(ours[1].probability)  # alone or among others
    assert fitted.embed([]).shape == (0, 32)


def test_pieces_of_a_word_are_one_word(model: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(model, tmp_path / "model")
    file = directory / "encoder" / "tokenizer.json"
    file.write_text(file.read_text().replace('"weather"', '"##led"'))
    write_manifest(directory, msgspec.structs.replace(read_manifest_of(directory), files=digests(directory)))
    classifier = FittedClassifier.load(directory)
    assert len(classifier.tokens("cancelled, please").ids) == 6  # cancel ##led [UNK] please, and the model's own two
    explained = attributions(classifier, "cancelled, please")
    assert [word.text for word in explained.words] == ["cancelled", ",", "please"]
    assert explained.words[0].attribution == max(word.attribution for word in explained.words)


def read_manifest_of(directory: Path) -> object:
    from plimsoll.learning.manifest import FILE, Manifest

    return msgspec.json.decode((directory / FILE).read_bytes(), type=Manifest)


def test_places_that_are_counted_by_what_is_no_padding_are_those_of_the_text(
    fitted: FittedClassifier, tmp_path: Path
) -> None:
    directory = write_encoder(tmp_path / "encoder")
    torch.manual_seed(1)
    config = RobertaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
        pad_token_id=0,
        initializer_range=0.3,
    )
    RobertaModel(config).save_pretrained(directory)
    other = FittedClassifier(Encoder.load(directory, max_tokens=16), fitted.head, fitted.manifest)
    explained = attributions(other, "please cancel my order now")
    assert explained.delta is not None
    assert explained.delta < 0.01 * max(abs(word.attribution) for word in explained.words)


def test_a_text_without_any_token(fitted: FittedClassifier) -> None:
    explained = attributions(fitted, "\u200b")
    assert explained.words == () and not explained.cut


def test_what_was_not_read_is_not_explained(fitted: FittedClassifier) -> None:
    explained = attributions(fitted, " ".join(["order"] * 20))
    assert explained.cut and len(explained.words) == fitted.manifest.max_tokens - 2


def test_what_cannot_be_explained(fitted: FittedClassifier) -> None:
    with pytest.raises(Misuse, match="is empty"):
        attributions(fitted, " ")
    with pytest.raises(Misuse, match="no label 'sing'; it has 3, 'cancel_order' first"):
        attributions(fitted, "cancel", label="sing")


def test_an_export_has_no_gradients(exported: Path) -> None:
    with pytest.raises(WeightsError, match="kind `export`, and `model` is wanted"):
        FittedClassifier.load(exported)
    assert read_manifest(exported, kind=None).kind == "export"


def test_a_tokenizer_without_padding(model: Path) -> None:
    classifier = FittedClassifier.load(model)
    classifier.encoder.tokenizer.pad_token = None
    with pytest.raises(WeightsError, match="has no padding"):
        attributions(classifier, "cancel")
