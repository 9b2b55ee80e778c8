"""Words and figures that all reports share. Whatever agents and tools said is untrusted, and is made harmless here."""

import re
from collections.abc import Mapping
from datetime import datetime

from plimsoll.core.printable import printable
from plimsoll.gate.verdict import REMOTE, SIMULATED, Decision, Injection, Trial, Verdict

__all__ = [
    "accepting",
    "count",
    "cut",
    "date_text",
    "failure_name",
    "failure_title",
    "headline",
    "injected_text",
    "mode_text",
    "one_line",
    "percent",
    "percent_at_least",
    "seconds",
    "words",
]

_HEADLINES = {
    Decision.SHIP: "Every promise held under every fault tried. This agent may ship.",
    Decision.BLOCK: "A promise broke. This agent may not ship.",
    Decision.INCONCLUSIVE: "Too little is known to say. This is not a pass.",
}


def one_line(text: str, *, limit: int | None = None) -> str:
    """`text` made printable on one line, cut to `limit` characters if given."""
    line = " ".join(printable(text).split())
    return cut(line, limit) if limit else line


def cut(text: str, limit: int) -> str:
    """The first `limit` characters of `text`, ending in an ellipsis if that is not all."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def words(name: str) -> str:
    """An identifier as words: `exactly_once` becomes `exactly once`."""
    return name.replace("_", " ").strip() or name


def count(number: int) -> str:
    """A count with thousands set apart."""
    return f"{number:,}"


def percent(share: float) -> str:
    """A share of 1 in percent. Only all is 100 % and only none is 0 %."""
    if 0 < share < 1:
        share = min(max(share, 0.001), 0.999)
    return f"{share * 100:.1f}".removesuffix(".0") + " %"


def percent_at_least(share: float) -> str:
    """A lower bound in percent, rounded down, so that it never reads as more than is known."""
    return f"{int(share * 10_000 + 1e-7) / 100:.2f}".rstrip("0").rstrip(".") + " %"


def seconds(value: float) -> str:
    """A span of time in the unit that suits it."""
    if value < 1:
        return f"{value * 1000:.3g} ms" if value else "0 s"
    if value < 60:
        return f"{value:.2f}".rstrip("0").rstrip(".") + " s"
    for unit, size, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if value >= size:
            whole, rest = divmod(int(value), size)
            return f"{whole} {unit}" + (f" {rest // part} {smaller}" if rest >= part else "")
    raise AssertionError(value)


def date_text(made_at: str) -> str:
    """The verdict's date for people, or as it stands where it is no ISO date."""
    try:
        moment = datetime.fromisoformat(made_at)
    except ValueError:
        return made_at
    return f"{moment.day} {moment:%B %Y, %H:%M} {moment:%Z}".strip()


def headline(verdict: Verdict) -> str:
    """What the decision means, in a sentence."""
    if verdict.decision is Decision.SHIP and verdict.accepts:
        return "Every promise held but those it goes without. This agent may ship."
    return _HEADLINES[verdict.decision]


def accepting(verdict: Verdict) -> str:
    """What the contract goes without, by name; empty where it is nothing."""
    return ", ".join(words(each.name) for each in verdict.accepts)


def mode_text(verdict: Verdict) -> str:
    """What was tried and what was not: a simulation never says anything about a provider's model."""
    proven = "proven" if verdict.decision is Decision.SHIP else "tried"
    if verdict.mode == REMOTE:
        return f"in real time, through the gateway: harness {proven}, model not tried, tools not seen"
    if verdict.mode != SIMULATED:
        return words(verdict.mode)
    said = f"simulated: harness {proven}, model not tried"
    if verdict.local_models:
        names = _weights(verdict.local_models)
        said = f"simulated: harness {proven}, providers' models not tried, local models tried: {names}"
    return f"{said}, guards seen to trip: {_weights(verdict.guard_models)}" if verdict.guard_models else said


def _weights(models: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({weights[:12]})" for name, weights in models.items())


def failure_title(trial: Trial) -> str:
    """What went wrong, in plain words."""
    if trial.violations:
        text = one_line(trial.violations[0].message)
    elif trial.stuck:
        text = f"the trial could not be brought to an end: {one_line(trial.stuck)}"
    else:
        text = f"ended without reaching the goal ({trial.reach.value})"
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text  # a tool keeps its name


def injected_text(injections: tuple[Injection, ...]) -> str:
    """The injected faults, joined in the order in which they were given."""
    kept = {one: f" ({one.variant} kept)" if one.variant else "" for one in injections}
    return one_line(" + ".join(f"{words(one.kind)} at {one.site}{kept[one]}" for one in injections)) or "no fault"


def failure_name(index: int, trial: Trial) -> str:
    """The name of the file that reproduces failure number `index` (from 1): safe on every file system."""
    raw = "-".join([trial.scenario, *(f"{one.kind}-{one.site.partition('@')[0]}" for one in trial.injections)])
    slug = re.sub(r"[^a-z0-9]+", "-", raw.lower()).strip("-")[:64].strip("-")
    return f"{index:03d}-{slug or 'failure'}.json"
