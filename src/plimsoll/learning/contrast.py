"""Few examples: an encoder learns to put texts of one label together, by a loss of sentence-transformers.

In a batch that holds several texts of each of its labels, the furthest of the same label is to be nearer than the
nearest of another (Hermans et al. 2017, https://arxiv.org/abs/1703.07737).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.encoder import Embedder, Encoder
from plimsoll.learning.head import fitted_head
from plimsoll.learning.options import FitOptions
from plimsoll.learning.training import Finite, Listener, Tuned, arguments, callbacks, examples, run

try:
    import torch
    from datasets import Dataset
    from sentence_transformers.base.sampler import GroupByLabelBatchSampler
    from sentence_transformers.sentence_transformer.losses import BatchHardSoftMarginTripletLoss
    from transformers import DataCollatorWithPadding, Trainer
except ImportError as error:
    raise MissingExtra(error.name or "sentence-transformers", extra="learning") from error

__all__ = ["contrasted"]


class _Contrast(torch.nn.Module):  # type: ignore[misc]  # torch is untyped to us
    """An encoder, and how far it is from having each label's texts together."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.embedder = embedder
        self._loss = BatchHardSoftMarginTripletLoss(None)

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> dict[str, Any]:
        vectors = self.embedder(input_ids, attention_mask)
        return {"loss": self._loss.compute_loss_from_embeddings([vectors], labels), "vectors": vectors}


class _ContrastTrainer(Finite, Trainer):  # type: ignore[misc]
    """A trainer whose batches hold two texts or more of each of their labels."""

    def get_train_dataloader(self) -> Any:
        labels = Dataset.from_dict({"label": [example["labels"] for example in self.train_dataset]})
        sampler = GroupByLabelBatchSampler(
            labels, self.args.train_batch_size, False, ["label"], torch.Generator(), self.args.seed
        )
        loader = torch.utils.data.DataLoader(
            self.train_dataset, batch_sampler=sampler, collate_fn=self.data_collator, pin_memory=not self.args.use_cpu
        )
        return self.accelerator.prepare(loader)


def contrasted(
    encoder: Encoder,
    *,
    train: tuple[Sequence[str], Any],
    validation: tuple[Sequence[str], Any],
    options: FitOptions,
    work: Path,
    listener: Listener,
    finish: bool = False,
) -> Tuned:
    """Trains the encoder alone, and leaves it where a head over its vectors does best on the validation rows.

    `train` and `validation` are texts and their labels' numbers, two texts a label at least; `finish` as in
    `run`. Raises `TrainingFailed`.
    """

    def measured(given: Any) -> dict[str, float]:
        head = fitted_head(encoder.embed(train[0]), train[1], balanced=options.balanced, seed=options.seed)
        return {"accuracy": float((head.logits(given.predictions).argmax(1) == given.label_ids).mean())}

    model = _Contrast(encoder.embedder)
    trainer = _ContrastTrainer(
        model=model,
        args=arguments(options, work),
        data_collator=DataCollatorWithPadding(encoder.tokenizer),
        train_dataset=examples(encoder, *train),
        eval_dataset=examples(encoder, *validation),
        compute_metrics=measured,
        callbacks=callbacks(options, listener),
    )
    curves = run(trainer, work, finish=finish)
    return Tuned(curves, sum(parameter.numel() for parameter in model.parameters()))
