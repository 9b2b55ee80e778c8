"""Fine-tuning by Hugging Face's trainers, in a directory of work that a killed process goes on from.

Each epoch ends in a checkpoint. It counts once it is marked as whole, and the best and the latest are kept.
"""

import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plimsoll.core.errors import MissingExtra, Misuse
from plimsoll.learning.curves import Curve
from plimsoll.learning.encoder import Embedder, Encoder
from plimsoll.learning.errors import TrainingFailed
from plimsoll.learning.linear import Head
from plimsoll.learning.options import FitOptions, Method, Progress

try:
    import numpy as np
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        DataCollatorWithPadding,
        EarlyStoppingCallback,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )
except ImportError as error:
    raise MissingExtra(error.name or "transformers", extra="learning") from error

__all__ = ["Finite", "Listener", "Tuned", "arguments", "callbacks", "examples", "run", "tuned"]

Listener = Callable[[Progress], object]

_WHOLE = "whole"
_ENDED = "ended"
_ACCURACY = "eval_accuracy"
"""What the trainer calls the accuracy on the validation rows."""
_HEAD_RATE = 20.0
"""How much faster the head learns than the encoder under it."""
_WEIGHT_DECAY = 0.01
_LORA = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.1, target_modules="all-linear", exclude_modules=".*pooler.*")


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """How a training went: its epochs, and how many parameters it trained."""

    curves: tuple[Curve, ...]
    parameters: int


class IntentModel(torch.nn.Module):  # type: ignore[misc]  # torch is untyped to us
    """An encoder and a head, and their loss."""

    def __init__(self, embedder: Embedder, head: Head, weights: Any) -> None:
        super().__init__()
        self.embedder = embedder
        self.head = torch.nn.Linear(head.weight.shape[1], head.weight.shape[0])
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(head.weight))
            self.head.bias.copy_(torch.from_numpy(head.bias))
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float32))

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any = None) -> dict[str, Any]:
        logits = self.head(self.embedder(input_ids, attention_mask)).float()
        if labels is None:
            return {"logits": logits}
        return {"loss": torch.nn.functional.cross_entropy(logits, labels, weight=self.weights), "logits": logits}


class Finite:
    """Stops a trainer whose loss is no number, before it spoils the weights."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        result = super().compute_loss(*args, **kwargs)  # type: ignore[misc]  # of the trainer that stands beside
        loss = result[0] if isinstance(result, tuple) else result
        if not torch.isfinite(loss).all():
            state = self.state  # type: ignore[attr-defined]
            raise TrainingFailed(
                f"the loss is no number in step {state.global_step + 1} of {state.max_steps}: take a lower learning "
                "rate. The epochs before are kept, and --finish takes the best of them"
            )
        return result


class _IntentTrainer(Finite, Trainer):  # type: ignore[misc]
    pass


class _Telling(TrainerCallback):  # type: ignore[misc]
    """Tells a listener how far the training is, and marks checkpoints that are whole."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._listener(Progress(what="train", done=state.global_step, total=state.max_steps))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE).touch()
        accuracy = next((entry[_ACCURACY] for entry in reversed(state.log_history) if _ACCURACY in entry), None)
        self._listener(
            Progress(
                what="train",
                done=state.global_step,
                total=state.max_steps,
                epoch=round(state.epoch),
                accuracy=accuracy,
            )
        )


def tuned(
    encoder: Encoder,
    head: Head,
    *,
    train: tuple[Sequence[str], Any],
    validation: tuple[Sequence[str], Any],
    options: FitOptions,
    work: Path,
    listener: Listener,
    finish: bool = False,
) -> tuple[Head, Tuned]:
    """Trains encoder and head together, from `head` on, and leaves the encoder at its best epoch.

    `train` and `validation` are texts and their labels' numbers; `finish` as in `run`. Raises `TrainingFailed`.
    """
    set_seed(options.seed)
    if options.method is Method.LORA:
        encoder.embedder.model = _adapted(encoder.embedder.model)
    model = IntentModel(encoder.embedder, head, _weights(train[1], balanced=options.balanced))
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    trainer = _IntentTrainer(
        model=model,
        args=arguments(options, work, train_sampling_strategy="group_by_length"),
        data_collator=DataCollatorWithPadding(encoder.tokenizer),
        train_dataset=examples(encoder, *train),
        eval_dataset=examples(encoder, *validation),
        compute_metrics=lambda given: {"accuracy": float((given.predictions.argmax(1) == given.label_ids).mean())},
        optimizers=(_optimizer(model, options.rate), None),
        callbacks=callbacks(options, listener),
    )
    curves = run(trainer, work, finish=finish)
    if options.method is Method.LORA:
        encoder.embedder.model = encoder.embedder.model.merge_and_unload()
    weight, bias = (parameter.detach().cpu().numpy() for parameter in (model.head.weight, model.head.bias))
    return Head(weight, bias), Tuned(curves, trained)


def _adapted(model: Any) -> Any:
    with warnings.catch_warnings():  # peft 0.21 asks by a name that transformers 5 is about to drop
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        return get_peft_model(model, _LORA)


def arguments(options: FitOptions, work: Path, **others: Any) -> Any:
    """What every training here is told: an evaluation and a checkpoint each epoch, seeds, and no report to anybody."""
    gpu = torch.cuda.is_available()
    return TrainingArguments(
        bf16=torch.cuda.is_bf16_supported(including_emulation=False) if gpu else _has_bfloat16(),
        output_dir=str(work),
        num_train_epochs=options.most_epochs,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=options.rate,
        warmup_steps=0.1,
        weight_decay=_WEIGHT_DECAY,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        seed=options.seed,
        use_cpu=not gpu,
        dataloader_pin_memory=gpu,
        disable_tqdm=True,
        report_to="none",
        **others,
    )


def _has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16 by itself: more than twice as fast, to the same accuracy."""
    return any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def callbacks(options: FitOptions, listener: Listener) -> list[Any]:
    """Early stopping, and whoever wants to know how far it is."""
    return [_Telling(listener), EarlyStoppingCallback(early_stopping_patience=options.patience)]


def run(trainer: Any, work: Path, *, finish: bool) -> tuple[Curve, ...]:
    """Trains from the latest whole checkpoint in `work`, or from the beginning, to the best epoch's weights.

    `finish` takes the best of the epochs that are whole, and trains no more. Raises `Misuse` where there is none.
    """
    latest, ended = _latest(work), work / _ENDED
    if finish or ended.exists():
        if latest is None:
            raise Misuse(f"{work} has no whole epoch yet: there is nothing to take")
        trainer.args.max_steps = int(latest.rpartition("-")[2])
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=latest)
    ended.touch()  # killed from here on, it would train an epoch more than it would have otherwise
    log = trainer.state.log_history
    losses = {entry["epoch"]: entry["loss"] for entry in log if "loss" in entry}
    return tuple(
        Curve(entry["epoch"], losses[entry["epoch"]], entry[_ACCURACY])
        for entry in log
        if _ACCURACY in entry and entry["epoch"] in losses
    )


def _latest(work: Path) -> str | None:
    """The newest checkpoint that is whole. One that a kill cut short is taken away."""
    whole = []
    for checkpoint in work.glob("checkpoint-*"):
        if (checkpoint / _WHOLE).exists():
            whole.append((int(checkpoint.name.rpartition("-")[2]), str(checkpoint)))
        else:
            shutil.rmtree(checkpoint)
    return max(whole)[1] if whole else None


def examples(encoder: Encoder, texts: Sequence[str], labels: Any) -> list[dict[str, Any]]:
    tokens = encoder.tokens(texts)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": int(label)}
        for ids, mask, label in zip(tokens["input_ids"], tokens["attention_mask"], labels, strict=True)
    ]


def _weights(labels: Any, *, balanced: bool) -> Any:
    """What each label counts: one, or in inverse proportion to how often it occurs, and one on average."""
    counts = np.bincount(labels)
    return len(labels) / (len(counts) * counts) if balanced else np.ones(len(counts))


def _optimizer(model: IntentModel, rate: float) -> Any:
    under = [parameter for parameter in model.embedder.parameters() if parameter.requires_grad]
    groups = [{"params": under, "lr": rate}, {"params": list(model.head.parameters()), "lr": _HEAD_RATE * rate}]
    return torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY, fused=True)
