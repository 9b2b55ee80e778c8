"""A policy's model card: what it was fitted on, how well it decides, by tool, and what it is not."""

from pathlib import Path

from plimsoll.learning.manifest import Manifest
from plimsoll.learning.policy.store import Judged, Spec, ToolSpec

__all__ = ["card_text", "write_card"]

_CARD = """# Model card

A policy: it decides the next call of an agent from the conversation so far, and was fitted by `plimsoll learn policy`.

| | |
|---|---|
| Conversations | {conversations:,} learned from, {rows:,} moments of others to validate by; SHA-256 `{data}` |
| Pre-trained weights | SHA-256 `{base}`, in int8 |
| Read of a request | its first {max_tokens} tokens; of the calls, the last three and all their results |
| Fitted | in {train_s:,.0f} s, seed {seed} |

## How well it decides

It decides only where it is sure enough: for each tool from the probability on from which {precision:.0%} of its
decisions on validation rows or more were right, counting one more right and one more wrong. From all else it abstains.

| next | learned from | moments | tool right | with its arguments | decided | right of those | from |
|---|--:|--:|--:|--:|--:|--:|--:|
{lines}

All figures are of the validation rows, which also chose the bounds: they are a little too good. *With its arguments*:
all of them exactly as they were in the journal. {unlearned}

## What it is not

- It calls what was called in the conversations that it learned from, with values that stand in the request or in
  results, or that recur (of {least} requests or more). It makes no value up: it abstains.
- It writes nothing. Its answers list what came back from calls, or fill the author's templates.
- It reads the last request of a conversation alone. What depends on an earlier one is not for it.
- When the traffic changes, or the tools do, measure again.
"""


def write_card(directory: Path, manifest: Manifest, spec: Spec) -> None:
    """Writes `README.md`."""
    (directory / "README.md").write_text(card_text(manifest, spec), "utf-8")


def card_text(manifest: Manifest, spec: Spec) -> str:
    """The card, as Markdown."""
    lines = [
        _line(f"`{tool}`", about.rows, about.judged, _from(about)) for tool, about in spec.tools.items() if about.judged
    ]
    total = sum(about.rows for about in spec.tools.values())
    unlearned = [f"`{tool}`" for tool, about in spec.tools.items() if tool != "answer" and about.parameters is None]
    return _CARD.format(
        conversations=spec.conversations,
        rows=spec.validation.decisions,
        data=manifest.data_digest,
        base=manifest.base_digest,
        max_tokens=manifest.max_tokens,
        train_s=manifest.train_s,
        seed=manifest.seed,
        precision=spec.precision,
        lines="\n".join([*lines, _line("all", total, spec.validation, "")]),
        unlearned=f"Never called, as their arguments could not be learned: {', '.join(unlearned)}."
        if unlearned
        else "",
        least=3,
    )


def _from(about: ToolSpec) -> str:
    return "never" if about.bound is None else f"{about.bound:.3f}"


def _line(name: str, rows: int, judged: Judged, bound: str) -> str:
    def share(part: int, whole: int) -> str:
        return f"{part / whole:.0%}" if whole else "–"

    cells = (
        name,
        f"{rows:,}",
        f"{judged.decisions:,}",
        share(judged.tool, judged.decisions),
        share(judged.whole, judged.decisions),
        share(judged.answered, judged.decisions),
        share(judged.right, judged.answered),
        bound,
    )
    return f"| {' | '.join(cells)} |"
