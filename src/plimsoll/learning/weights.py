"""A transformer's directory, as `transformers` writes it: what is read from it, and how it is found to be unusable.

Nothing is ever downloaded, weights as a pickle, which may run code, are refused, and so is code beside the weights.
"""

import json
from pathlib import Path
from typing import Any

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.errors import WeightsError

try:
    import torch
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig, AutoTokenizer
except ImportError as error:
    raise MissingExtra(error.name or "torch", extra="learning") from error

__all__ = ["ENCODERS", "read_config", "read_model", "read_tokenizer", "said", "weight_files"]

ENCODERS = frozenset(
    {"albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta"}
    | {"xlm-roberta"}
)
"""The architectures of BERT's family, as `model_type` in `config.json` names them."""

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "sentencepiece.bpe.model", "spm.model", "tokenizer.model", "vocab.json")
_LEAST_SHARE_OF_VOCABULARY = 0.9
"""Weights are padded to a round number of rows, so that a tokenizer may have a few tokens less."""


def read_config(directory: Path, *, kind: str) -> Any:
    """The configuration of a model, `kind` of which is wanted (`an encoder`). Raises `WeightsError`."""
    if not directory.is_dir():
        raise WeightsError(str(directory), f"there is no such directory; {kind} is a directory with config.json")
    if not (directory / "config.json").is_file():
        raise WeightsError(str(directory), "it has no config.json")
    weight_files(directory)
    try:
        return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # what a field of it is found to be wrong by is up to each architecture
        raise WeightsError(str(directory), f"its config.json cannot be read: {said(error)}") from error


def weight_files(directory: Path) -> list[Path]:
    """The files with the weights: one, or the parts that an index names. Raises `WeightsError`."""
    if (directory / _WEIGHTS).is_file():
        return [directory / _WEIGHTS]
    if not (directory / _INDEX).is_file():
        pickled = "weights as a pickle are not read: save them as safetensors"
        raise WeightsError(str(directory), f"it has no {_WEIGHTS} ({pickled})")
    try:
        names = sorted({str(name) for name in json.loads((directory / _INDEX).read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise WeightsError(str(directory), f"{_INDEX} cannot be read: {said(error)}") from error
    for name in names:
        if not name.endswith(".safetensors") or Path(name).name != name or not (directory / name).is_file():
            raise WeightsError(str(directory), f"{_INDEX} names {name}, which is not there: copy it anew")
    return [directory / name for name in names]


def read_tokenizer(directory: Path, config: Any) -> Any:
    """The tokenizer, which has to be that of the weights. Raises `WeightsError`."""
    if not any((directory / name).is_file() for name in _TOKENIZERS):
        raise WeightsError(str(directory), f"it has no tokenizer: none of {', '.join(_TOKENIZERS)} is there")
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers' own errors are plain Exceptions
        raise WeightsError(str(directory), f"its tokenizer cannot be read: {said(error)}") from error
    known, rows = len(tokenizer), config.get_text_config().vocab_size
    if known > rows or known < _LEAST_SHARE_OF_VOCABULARY * rows:
        raise WeightsError(
            str(directory),
            f"its tokenizer knows {known:,} tokens, and its weights {rows:,}: they are of different models",
        )
    return tokenizer


def read_model(directory: Path, config: Any, *, kind: Any, dtype: Any = None, may_lack: str | None = None) -> Any:
    """The weights as a model of `kind` (a class such as `AutoModel`), in evaluation mode. Raises `WeightsError`.

    `dtype` is that of the weights in memory; None: as they are stored. What has `may_lack` in its name may be missing
    from the file.
    """
    names = _check_files(directory)
    try:
        model, loaded = kind.from_pretrained(
            directory,
            config=config,
            dtype=dtype or "auto",
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # the same
        raise WeightsError(str(directory), f"{names} does not fit config.json: {said(error)}") from error
    missing = sorted(name for name in loaded["missing_keys"] if may_lack is None or may_lack not in name)
    if missing:
        raise WeightsError(
            str(directory),
            f"{names} is another model's: {len(missing)} tensors that config.json asks for are not in it, "
            f"{missing[0]} among them",
        )
    if broken := next((name for name, tensor in model.named_parameters() if not torch.isfinite(tensor).all()), None):
        raise WeightsError(str(directory), f"{names} has what is no number in {broken}: take an earlier copy")
    return model.eval()


def _check_files(directory: Path) -> str:
    """What the weights' files are called, once each can be opened."""
    files = weight_files(directory)
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                str(directory), f"{file.name} is damaged or cut short ({said(error)}): copy it anew"
            ) from error
    return files[0].name if len(files) == 1 else f"the {len(files)} files of {_INDEX}"


def said(error: BaseException) -> str:
    """The first line of what an error says."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
