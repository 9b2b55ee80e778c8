"""The model card: what was fitted on what, how well it does, where it may not be used; and its learning curves."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.curves import Curve
from plimsoll.learning.manifest import Manifest, Scores
from plimsoll.learning.rows import Rows

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtra(error.name or "matplotlib", extra="learning") from error

__all__ = ["CURVES", "card_text", "write_card"]

CURVES = "curves.svg"

_CARD = """# {title}

A classifier of short texts into {labels} labels, fitted by `plimsoll learn fit --method {method}`.

| | |
|---|---|
| Method | `{method}`, seed {seed}, {epochs} epochs, {parameters:,} parameters trained in {train_s:,.0f} s |
| Pre-trained weights | SHA-256 `{base}` |
| Rows | {train:,} to train on, {validation:,} for validation, {test:,} to judge by; SHA-256 `{data}` |
| Rows of a label to train on | {least:,} to {most:,}; rare labels weigh {balanced} |
| Read of a text | its first {max_tokens} tokens |

## How well it does

{scores}

Calibration error: the expected calibration error over 15 bins, after dividing the logits by {temperature:.3g}.
Rejected: of the in-scope rows, those below the energy {threshold:.4g}, under which {share:.3g} % of the in-scope
validation rows lie. Neither number has seen a test row.{leaks}
{curves}
## What it is not

- It knows these labels and no others, in the language and the style of its rows. Of what fits none, at best the recall
  above is told.
- The validation rows chose the epoch, the temperature and the threshold: what is said of them is a little too good.
- Its probabilities are right on average over rows like these. When the traffic changes, measure again.
- What it confuses, and for whom it does worse, is said by `plimsoll learn report`: with texts, and so not here, since a
  card goes wherever the model goes.
{left_out}
## Labels

{names}
"""


def write_card(directory: Path, manifest: Manifest, *, rows: Rows, curves: Sequence[Curve]) -> None:
    """Writes `README.md` and, where there were epochs, the curves as SVG."""
    (directory / "README.md").write_text(card_text(directory.name, manifest, rows=rows, curves=curves), "utf-8")
    if curves:
        _plot(curves).savefig(directory / CURVES, metadata={"Date": None})


def card_text(title: str, manifest: Manifest, *, rows: Rows, curves: Sequence[Curve]) -> str:
    """The card, as Markdown."""
    counts = Counter(row.label for row in rows.train)
    leaks = (
        f" {rows.repeated:,} test texts stand among the training rows, too: they flatter it." if rows.repeated else ""
    )
    return _CARD.format(
        title="Model card",
        labels=len(manifest.labels),
        method=manifest.method,
        seed=manifest.seed,
        epochs=manifest.epochs,
        parameters=manifest.trained_parameters,
        train_s=manifest.train_s,
        base=manifest.base_digest,
        data=manifest.data_digest,
        train=len(rows.train),
        validation=len(rows.validation),
        test=len(rows.test),
        least=min(counts.values()),
        most=max(counts.values()),
        balanced="as much as common ones" if manifest.balanced else "no more than others",
        max_tokens=manifest.max_tokens,
        scores=_scores(manifest),
        temperature=manifest.temperature,
        threshold=manifest.threshold,
        share=100 * manifest.rejected,
        leaks=leaks,
        curves=f"\n![Loss and accuracy by epoch]({CURVES})\n" if curves else "",
        left_out=f"- {rows.left_out:,} training rows were out of scope, and were not trained on.\n"
        if rows.left_out
        else "",
        names=", ".join(f"`{label}`" for label in manifest.labels),
    )


def _scores(manifest: Manifest) -> str:
    head = ("rows", "in scope", "accuracy", "calibration error", "rejected", "out of scope", "recall", "AUROC")
    lines = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
    lines += [
        f"| {name} | {' | '.join(_cells(split))} |"
        for name, split in (("validation", manifest.validation), ("test", manifest.test))
        if split is not None
    ]
    return "\n".join(lines)


def _cells(split: Scores) -> list[str]:
    def share(value: float | None, text: str) -> str:
        return "–" if value is None else format(value, text)

    return [
        f"{split.rows:,}",
        share(split.accuracy, ".2%"),
        share(split.calibration_error, ".3f"),
        share(split.rejected, ".2%"),
        f"{split.oos_rows:,}",
        share(split.oos_recall, ".2%"),
        share(split.auroc, ".3f"),
    ]


def _plot(curves: Sequence[Curve]) -> Figure:
    figure = Figure(figsize=(7, 3), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [curve.epoch for curve in curves]
    loss.plot(epochs, [curve.loss for curve in curves], marker="o")
    loss.set(title="Loss, training rows", xlabel="epoch")
    accuracy.plot(epochs, [100 * curve.accuracy for curve in curves], marker="o", color="tab:green")
    accuracy.set(title="Accuracy, validation rows (%)", xlabel="epoch")
    return figure
