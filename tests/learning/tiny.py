"""A transformer of the BERT family that is made in a second, and rows that it can learn: for every test of learning."""

from pathlib import Path

import msgspec
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from plimsoll.core.clock import SystemClock
from plimsoll.core.rng import seeded_rng
from plimsoll.learning.export import export, rows_of
from plimsoll.learning.options import FitOptions, Method
from plimsoll.learning.rows import OUT_OF_SCOPE, Row, read_rows
from plimsoll.learning.transfer import fit

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOPICS = {
    "cancel_order": ["cancel", "stop", "undo"],
    "track_order": ["where", "track", "status"],
    "refund": ["refund", "money", "back"],
}
FILLERS = ["please", "my", "order", "the", "now", "can", "you", "today"]
STRANGE = ["weather", "poem", "planet"]
WORDS = [*SPECIAL, *FILLERS, *STRANGE, *(word for words in TOPICS.values() for word in words)]


def write_encoder(directory: Path, *, seed: int = 0) -> Path:
    """Two layers of 32 dimensions with random weights, and a tokenizer of whole words."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(directory)
    tokenizer = Tokenizer(WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(directory)
    return directory


def some_rows(each: int, *, seed: int, strange: int = 0) -> list[Row]:
    """So many rows of each label, told apart by their words, and so many that are out of scope."""
    rng = seeded_rng(seed)

    def text(words: list[str]) -> str:
        chosen = [words[int(rng.random() * len(words))], *(FILLERS[int(rng.random() * len(FILLERS))] for _ in range(3))]
        return " ".join(sorted(chosen, key=lambda word: rng.random()))

    known = [Row(text(words), label) for label, words in TOPICS.items() for _ in range(each)]
    return known + [Row(text(STRANGE), OUT_OF_SCOPE) for _ in range(strange)]


def write_rows(file: Path, rows: list[Row]) -> Path:
    file.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return file


def write_splits(directory: Path) -> Path:
    """A directory of splits, with rows out of scope in validation and test."""
    directory.mkdir()
    for name, each, strange, seed in (("train", 24, 3, 1), ("validation", 6, 4, 2), ("test", 6, 6, 3)):
        write_rows(directory / f"{name}.jsonl", some_rows(each, strange=strange, seed=seed))
    return directory


def write_model(directory: Path, *, splits: Path, encoder: Path, seed: int = 0) -> Path:
    """A model of those rows, fitted in some seconds, which is right most of the time."""
    options = FitOptions(method=Method.FULL, seed=seed, max_tokens=16, epochs=4, learning_rate=3e-3, batch_size=8)
    fit(read_rows(splits), encoder=encoder, out=directory, options=options, clock=SystemClock())
    return directory


def write_export(directory: Path, *, model: Path, splits: Path) -> Path:
    """The model in int8."""
    export(model, rows=rows_of(model, splits), out=directory)
    return directory
