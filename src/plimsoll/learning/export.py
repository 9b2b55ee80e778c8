"""Export: a fitted model in int8 for ONNX Runtime, in a directory that says what it is.

Weights are rounded to 8 bits, and so is what they are multiplied with, by scales found on the training rows. This moves
the vectors a little, so what was fitted on them is fitted again on the rounded ones: a head beside the trained one
(whichever does better on the validation rows is taken), the temperature, and the threshold.
"""

import shutil
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.card import write_card
from plimsoll.learning.classifier import ONNX, TOKENIZER, Vectors
from plimsoll.learning.curves import FILE as CURVES
from plimsoll.learning.encoder import Embedder, Encoder
from plimsoll.learning.errors import DataError, WeightsError
from plimsoll.learning.head import fitted_head
from plimsoll.learning.judging import Split, calibrated, scores
from plimsoll.learning.lineage import FILE as LINEAGE
from plimsoll.learning.linear import Head, load_head, save_head
from plimsoll.learning.manifest import Manifest, digests, read_manifest, write_manifest
from plimsoll.learning.options import Progress
from plimsoll.learning.rounding import write_rounded
from plimsoll.learning.rows import Rows, read_rows
from plimsoll.learning.training import Listener
from plimsoll.learning.transfer import ENCODER
from plimsoll.learning.work import check_new, emptied

try:
    import torch
except ImportError as error:
    raise MissingExtra(error.name or "torch", extra="learning") from error

__all__ = ["export", "rows_of", "write_onnx"]

_OPSET = 17
_CARRIED = (LINEAGE, CURVES)
"""What an export has of its model as it stands: where its rows come from, and how its training went."""
_CALIBRATING = 1000
"""So many training texts, spread over all of them, are read for the scales."""


def rows_of(model: Path, data: Path) -> Rows:
    """The rows at `data`, parted as when `model` was fitted. Raises `DataError` where they are others."""
    manifest = read_manifest(model, kind="model")
    rows = read_rows(data, seed=manifest.seed)
    if rows.digest != manifest.data_digest:
        raise DataError(str(data), 0, f"these are not the rows that {model} was fitted on, whose digest its card names")
    return rows


def export(model: Path, *, rows: Rows, out: Path, listener: Listener = lambda told: None) -> Manifest:
    """Writes the model of the directory `model` to `out`, which must not be there yet, as int8.

    `rows` are those that it was fitted on. Raises `Misuse`, `DataError` for other rows, `WeightsError`, and
    `OperationFailed` where `out` cannot be written.
    """
    check_new(out)
    manifest = read_manifest(model, kind="model")
    if rows.digest != manifest.data_digest:
        raise DataError("the rows", 0, f"they are not those that {model} was fitted on")
    with emptied(out) as scratch:
        encoder = Encoder.load(model / ENCODER, max_tokens=manifest.max_tokens)
        write_onnx(encoder, [row.text for row in rows.train], scratch)
        for name in _CARRIED:
            if (model / name).exists():
                shutil.copy(model / name, scratch / name)
        made = _refitted(scratch, model, manifest, rows, listener)
        write_manifest(scratch, made)
        write_card(scratch, made, rows=rows, curves=())
        scratch.replace(out)
    return made


class _WithTokens(torch.nn.Module):  # type: ignore[misc]  # torch is untyped to us
    """An encoder that gives the vector of each token, of shape (texts, tokens, dimensions), beside the texts' own.

    They are those of the middle layer, with mean 0 and variance 1: which word is a name or a number is clearer there
    than in the last layer, which is made for the text as a whole (Tenney et al. 2019, https://arxiv.org/abs/1905.05950).
    """

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.embedder = embedder

    def forward(self, input_ids: Any, attention_mask: Any) -> tuple[Any, Any]:
        layers = self.embedder.model(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
        ).hidden_states
        middle = layers[len(layers) // 2]
        tokens = torch.nn.functional.layer_norm(middle, (self.embedder.model.config.hidden_size,))
        return self.embedder.pooled(layers[-1], attention_mask), tokens


def write_onnx(encoder: Encoder, texts: Sequence[str], directory: Path, *, tokens: bool = False) -> None:
    """Writes encoder and tokenizer into `directory`, in int8, by scales from `texts`, some of those it was fitted on.

    With `tokens`, each token's vector is an output, too. Raises `WeightsError` for a tokenizer that cannot be written.
    """
    if not encoder.tokenizer.is_fast:
        raise WeightsError(str(encoder.directory), f"its tokenizer cannot be written as {TOKENIZER}")
    encoder.tokenizer.backend_tokenizer.save(str(directory / TOKENIZER))
    exact = directory / "exact.onnx"
    example = encoder.tokens(["an example", "and another one"], padding=True, return_tensors="pt")
    axes, embedder = {0: "texts", 1: "tokens"}, encoder.embedder.to("cpu")
    with warnings.catch_warnings():  # the exporter that traces needs no further library; it says that there is another
        warnings.simplefilter("ignore")
        torch.onnx.export(
            (_WithTokens(embedder) if tokens else embedder).eval(),
            (example["input_ids"], example["attention_mask"]),
            str(exact),
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors", "tokens"][: 1 + tokens],
            dynamic_axes={name: axes for name in ("input_ids", "attention_mask", "tokens")} | {"vectors": {0: "texts"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    spread = texts[:: -(-len(texts) // _CALIBRATING)]
    write_rounded(exact, directory / ONNX, encoder.tokens(spread)["input_ids"])
    exact.unlink()


def _refitted(directory: Path, model: Path, manifest: Manifest, rows: Rows, listener: Listener) -> Manifest:
    train, validation, test = (Split.of(split, rows.labels) for split in (rows.train, rows.validation, rows.test))
    embed = _told(Vectors(directory, max_tokens=manifest.max_tokens, batches=True), listener)
    inside = embed(validation.texts)

    def right(head: Head) -> float:
        return float((head.logits(inside).argmax(1) == validation.numbers).mean())

    trained = load_head(model, labels=manifest.labels)
    fresh = fitted_head(embed(train.texts), train.numbers, balanced=manifest.balanced, seed=manifest.seed)
    head, refitted = (fresh, True) if right(fresh) >= right(trained) else (trained, False)
    save_head(directory, head)
    calibration = calibrated(head, inside, validation.numbers, rejected=manifest.rejected)
    judge = partial(scores, head, calibration)
    return msgspec.structs.replace(
        manifest,
        kind="export",
        batches=True,
        refitted=refitted,
        temperature=calibration.temperature,
        threshold=calibration.threshold,
        files=digests(directory),
        validation=judge(inside=inside, numbers=validation.numbers, outside=embed(validation.outside)),
        test=judge(inside=embed(test.texts), numbers=test.numbers, outside=embed(test.outside)) if test.texts else None,
    )


def _told(vectors: Vectors, listener: Listener) -> Callable[[tuple[str, ...]], Any]:
    """`vectors.embed`, with a listener that is told after each text."""

    def embed(texts: tuple[str, ...]) -> Any:
        done = 0

        def one_more() -> None:
            nonlocal done
            done += 1
            listener(Progress(what="embed", done=done, total=len(texts)))

        return vectors.embed(texts, on_text=one_more)

    return embed
