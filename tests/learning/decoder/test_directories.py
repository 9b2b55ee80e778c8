"""A directory that holds no usable decoder is refused, and said to hold none; nothing in it is run."""

import asyncio
import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, LlamaForCausalLM, T5Config

from plimsoll.learning.decoder.causal import Decoder
from plimsoll.learning.errors import WeightsError
from tests.learning.decoder.tiny import tool, user

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

WEIGHTS = "model.safetensors"


def changed(file: Path, **fields: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def cut_short(directory: Path) -> None:
    (directory / WEIGHTS).write_bytes((directory / WEIGHTS).read_bytes()[:5000])


def as_a_pickle(directory: Path) -> None:
    (directory / WEIGHTS).rename(directory / "pytorch_model.bin")


def of_fewer_layers(directory: Path) -> None:
    kept = {name: tensor for name, tensor in load_file(directory / WEIGHTS).items() if "layers.1." not in name}
    save_file(kept, directory / WEIGHTS, metadata={"format": "pt"})


def of_another_size(directory: Path) -> None:
    changed(directory / "config.json", hidden_size=48)


def that_are_no_numbers(directory: Path) -> None:
    weights = load_file(directory / WEIGHTS)
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = torch.inf
    save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})


def an_encoder(directory: Path) -> None:
    BertConfig().save_pretrained(directory)


def an_encoder_decoder(directory: Path) -> None:
    T5Config().save_pretrained(directory)


def config_of_no_json(directory: Path) -> None:
    (directory / "config.json").write_text("[]")


def no_config(directory: Path) -> None:
    (directory / "config.json").unlink()


def another_models_tokenizer(directory: Path) -> None:
    changed(directory / "config.json", vocab_size=100)


def no_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()


def a_broken_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").write_text('{"version": "1.0"}')


def tokens_that_stand_for_nothing(directory: Path) -> None:
    changed(directory / "tokenizer.json", decoder=None)


def no_end_of_a_text(directory: Path) -> None:
    changed(directory / "tokenizer_config.json", eos_token=None)
    changed(directory / "config.json", eos_token_id=None)
    (directory / "generation_config.json").unlink()


def code_of_its_own(directory: Path) -> None:
    classes = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
    changed(directory / "config.json", model_type="mine", auto_map=classes)
    (directory / "mine.py").write_text(f"open({str(directory / 'was-run')!r}, 'w')\n")


def an_index_of_what_is_not_there(directory: Path) -> None:
    (directory / WEIGHTS).unlink()
    (directory / f"{WEIGHTS}.index.json").write_text('{"weight_map": {"lm_head.weight": "model-1.safetensors"}}')


def an_index_that_leads_outside(directory: Path) -> None:
    (directory / WEIGHTS).rename(directory.parent / WEIGHTS)
    (directory / f"{WEIGHTS}.index.json").write_text(f'{{"weight_map": {{"lm_head.weight": "../{WEIGHTS}"}}}}')


def an_index_of_no_json(directory: Path) -> None:
    (directory / WEIGHTS).unlink()
    (directory / f"{WEIGHTS}.index.json").write_text("[")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut_short, "damaged or cut short"),
        (as_a_pickle, "as a pickle are not read"),
        (of_fewer_layers, "another model's: 9 tensors"),
        (of_another_size, r"does not fit config\.json"),
        (that_are_no_numbers, r"no number in model\.layers\.0"),
        (an_encoder, "model_type is 'bert', which reads texts"),
        (an_encoder_decoder, "model_type is 't5', which does not write texts"),
        (config_of_no_json, r"config\.json cannot be read"),
        (no_config, r"it has no config\.json"),
        (another_models_tokenizer, "and its weights 100: they are of different models"),
        (no_tokenizer, r"no tokenizer: none of tokenizer\.json"),
        (a_broken_tokenizer, "tokenizer cannot be read"),
        (tokens_that_stand_for_nothing, "what its tokenizer's tokens stand for is not known"),
        (no_end_of_a_text, "which token ends a text"),
        (code_of_its_own, r"config\.json cannot be read"),
        (an_index_of_what_is_not_there, r"names model-1\.safetensors, which is not there"),
        (an_index_that_leads_outside, "which is not there"),
        (an_index_of_no_json, r"index\.json cannot be read"),
    ],
)
def test_what_is_no_decoder_is_refused(
    decoder_dir: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    directory = shutil.copytree(decoder_dir, tmp_path / "spoiled")
    spoil(directory)
    with pytest.raises(WeightsError, match=said) as error:
        Decoder.load(directory)
    assert error.value.directory == str(directory)
    assert not (directory / "was-run").exists()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such directory; a decoder is"):
        Decoder.load(tmp_path / "nowhere")


def test_weights_in_parts_are_the_same_model(decoder_dir: Path, decoder: Decoder, tmp_path: Path) -> None:
    directory = shutil.copytree(decoder_dir, tmp_path / "parts")
    (directory / WEIGHTS).unlink()
    LlamaForCausalLM.from_pretrained(decoder_dir).save_pretrained(directory, max_shard_size="30KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 1
    with closing(Decoder.load(directory, max_new_tokens=900)) as other:
        same = [asyncio.run(model.reply(user("hi"), [tool()])) for model in (decoder, other)]
    assert same[0] == same[1]


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, "tokenizer.json", "chat_template.jinja"])
def test_the_digest_is_of_all_that_answers_depend_on(decoder_dir: Path, tmp_path: Path, name: str) -> None:
    def digest(directory: Path) -> str:
        with closing(Decoder.load(directory)) as decoder:
            return decoder.digest

    directory = shutil.copytree(decoder_dir, tmp_path / "other")
    (directory / "README.md").write_text("# A model")
    before = digest(directory)
    assert before == digest(decoder_dir)
    if name == WEIGHTS:
        weights = load_file(directory / WEIGHTS)
        weights["lm_head.weight"][0, 0] += 1
        save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})
    else:
        (directory / name).write_text((directory / name).read_text() + "\n")
    assert digest(directory) != before


def test_a_template_in_a_folder_of_its_own_is_in_the_digest(decoder_dir: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(decoder_dir, tmp_path / "decoder")
    with closing(Decoder.load(directory)) as decoder:
        before = decoder.digest
    template = directory / "additional_chat_templates" / "tool_use.jinja"
    template.parent.mkdir()
    template.write_text("{{ messages[-1].content }}")
    with closing(Decoder.load(directory)) as decoder:
        assert decoder.digest != before
