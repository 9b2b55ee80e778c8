"""Figures as SVG: what stands in a page, or beside a model card. No text of a user's goes into them."""

import io
import re
from collections.abc import Sequence
from typing import Any

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.calibration import Bin
from plimsoll.learning.explaining.deletion import Deleted, Mean
from plimsoll.learning.explaining.slices import share_of

try:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtra(error.name or "matplotlib", extra="learning") from error

__all__ = ["deletion_svg", "reliability_svg"]

_TOP, _RANDOM, _SOFT = "#2465a8", "#c63d12", "#75828e"
_SAME_EVERY_TIME = {"svg.hashsalt": "plimsoll", "svg.fonttype": "none"}


def reliability_svg(bins: Sequence[Bin]) -> str:
    """How often answers are right, by how sure the model is: on the diagonal, a probability means what it says."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    confidence = [each.confidence for each in bins]
    shares = [share_of(each.right, each.rows) for each in bins]
    axes.plot((0, 1), (0, 1), color=_SOFT, linestyle="--", linewidth=1)
    axes.errorbar(
        confidence,
        [share.value for share in shares],
        yerr=(
            [max(0.0, share.value - share.low) for share in shares],
            [max(0.0, share.high - share.value) for share in shares],
        ),
        fmt="o",
        color=_TOP,
        ecolor=_TOP,
        elinewidth=1,
        capsize=2,
    )
    axes.set(ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.02))
    counts.bar(confidence, [each.rows for each in bins], width=0.03, color=_SOFT, log=True)
    counts.set(xlabel="probability of the answer", ylabel="rows")
    return _svg(figure)


def deletion_svg(curve: Sequence[Deleted]) -> str:
    """What is lost of the label's probability, by how many words are taken away."""
    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axes = figure.subplots()
    words = [each.words for each in curve]
    _line(axes, words, [each.top for each in curve], label="words that speak most for it", color=_TOP, marker="o")
    _line(axes, words, [each.random for each in curve], label="words at random", color=_RANDOM, marker="s")
    axes.set(xlabel="words taken away", ylabel="probability lost", xticks=words)
    axes.legend(frameon=False)
    return _svg(figure)


def _line(axes: Any, words: Sequence[int], means: Sequence[Mean], *, label: str, color: str, marker: str) -> None:
    axes.plot(words, [mean.value for mean in means], marker=marker, color=color, label=label)
    axes.fill_between(
        words, [mean.low for mean in means], [mean.high for mean in means], color=color, alpha=0.15, linewidth=0
    )


def _svg(figure: Figure) -> str:
    """The figure alone, without the head of a file, to stand in a page."""
    out = io.StringIO()
    with rc_context(_SAME_EVERY_TIME):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    drawn = out.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
