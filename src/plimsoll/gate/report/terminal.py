"""The verdict in a terminal: what was decided, why, and what to do next."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from plimsoll.core.printable import printable
from plimsoll.gate.report.figures import reach_parts, storm_axis
from plimsoll.gate.report.wording import (
    accepting,
    count,
    cut,
    date_text,
    failure_name,
    failure_title,
    headline,
    injected_text,
    mode_text,
    one_line,
    percent,
    percent_at_least,
    seconds,
    words,
)
from plimsoll.gate.verdict import Decision, Verdict

__all__ = ["print_summary"]

_REASONS, _FAILURES = 5, 5
_COLOURS = {Decision.SHIP: "green", Decision.BLOCK: "red", Decision.INCONCLUSIVE: "yellow"}
_REACH_COLOURS = {
    "reached": "green",
    "held": "blue",
    "refused": "magenta",
    "canned": "yellow",
    "failed": "bright_black",
    "lost": "red",
}


@dataclass(frozen=True, slots=True)
class _Signs:
    """What marks and fills are drawn with, by what the terminal's encoding can carry."""

    yes: str
    no: str
    none: str
    fills: str
    between: str
    unbroken: str

    @classmethod
    def of(cls, console: Console) -> "_Signs":
        if console.encoding.lower().startswith("utf"):
            return cls("✓", "✗", "–", "█▓▒░·×", " · ", "\u00a0")
        return cls("ok", "NO", "-", "#=+-.x", ", ", " ")


def _encodable(console: Console, text: str, *, as_is: bool = False) -> str:
    """`text` without what the terminal's encoding cannot carry; on one line, unless it is to stay `as_is`."""
    shown = printable(text) if as_is else one_line(text)
    return shown.encode(console.encoding, "replace").decode(console.encoding)


def _banner(verdict: Verdict, console: Console, signs: _Signs) -> RenderableType:
    colour = _COLOURS[verdict.decision]
    mark = {Decision.SHIP: signs.yes, Decision.BLOCK: signs.no, Decision.INCONCLUSIVE: "?"}[verdict.decision]
    trials = f"{count(verdict.trials)} trials in {seconds(verdict.wall_s)}, {count(verdict.failing_trials)} failing"
    if verdict.vacuous:
        trials += f"; {count(verdict.vacuous)} not counted, their fault never struck"
    about = [cut(verdict.subject, 44), f"seed {verdict.seed}", date_text(verdict.made_at)]
    lines = [
        Text.assemble((f"{mark} {verdict.decision.upper()}", f"bold {colour}"), f"  {headline(verdict)}"),
        Text(_encodable(console, signs.between.join(about)), style="bold"),
        Text(_encodable(console, mode_text(verdict) + ("" if verdict.hardened else "; not hardened, protections off"))),
        *([Text(_encodable(console, f"accepting {accepting(verdict)}"), style="yellow")] if verdict.accepts else []),
        Text(trials),
        Text(f"fingerprint {_encodable(console, cut(verdict.fingerprint, 48))}", style="dim"),
    ]
    return Panel(Text("\n").join(lines), border_style=colour, box=box.HEAVY, padding=(0, 1))


def _reasons(verdict: Verdict, console: Console) -> Iterator[RenderableType]:
    if not verdict.reasons:
        return
    yield Text("Why", style="bold")
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", min_width=4)
    table.add_column(ratio=1, overflow="fold")
    for number, reason in enumerate(verdict.reasons[:_REASONS], start=1):
        table.add_row(f"{number}.", Text(_encodable(console, cut(one_line(reason), 400))))
    if len(verdict.reasons) > _REASONS:
        table.add_row("", Text(f"and {len(verdict.reasons) - _REASONS} more in the report", style="dim"))
    yield table
    yield ""


def _accepts(verdict: Verdict, console: Console, signs: _Signs) -> Iterator[RenderableType]:
    if not verdict.accepts:
        return
    yield Text("Accepted by the contract, and not shown", style="bold")
    table = Table.grid(padding=(0, 1), expand=False)
    table.add_column(justify="right", min_width=4)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, style="dim")
    for each in verdict.accepts:
        name = Text(_encodable(console, cut(words(each.name), 20)))
        table.add_row(Text(signs.none, style="yellow"), name, Text(_encodable(console, each.about)))
    yield table
    yield ""


def _claims(verdict: Verdict, console: Console, signs: _Signs) -> Iterator[RenderableType]:
    yield Text("Claims", style="bold")
    table = Table.grid(padding=(0, 1), expand=False)
    table.add_column(justify="right", min_width=4)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1, style="dim")
    for claim in verdict.claims:
        sign, colour = (signs.yes, "green") if claim.held else (signs.no, "red")
        if not claim.tried:
            sign, colour = signs.none, "yellow"
        figures = f"{count(claim.passed)} of {count(claim.tried)}" if claim.tried else "not tried"
        name = Text(_encodable(console, cut(words(claim.name), 16)), style="" if claim.held else "bold")
        table.add_row(
            Text(sign, style=colour), name, Text(figures, style=colour), Text(_encodable(console, claim.text))
        )
    if verdict.storms is not None:
        storms, state = verdict.storms, storm_axis(verdict.storms).state
        sign, colour = {
            "yes": (signs.yes, "green"),
            "none": (signs.none, "yellow"),
            "no": (signs.no, "red"),
        }[state]
        text = (
            f"survived; at least {percent_at_least(storms.lower_bound)} do, with {percent(storms.confidence)} "
            f"confidence; the target is {percent(storms.target)}" + ("; too few to show it" if state == "none" else "")
        )
        figures = f"{count(storms.passed)} of {count(storms.tried)}"
        table.add_row(Text(sign, style=colour), "storms", Text(figures, style=colour), text)
    yield table
    yield ""


def _reach(verdict: Verdict, console: Console, signs: _Signs) -> Iterator[RenderableType]:
    parts = reach_parts(verdict)
    if not any(part.trials for part in parts):
        return
    room = min(console.width - 4, 72)
    bar, legend, filled, seen = Text("  "), [], 0, 0.0
    for index, part in enumerate(parts):
        fill, colour = signs.fills[min(index, len(signs.fills) - 1)], _REACH_COLOURS.get(part.name, "")
        seen += part.share
        until = max(round(room * seen), filled + 1) if part.trials else filled
        bar.append(fill * (min(until, room) - filled), style=colour)
        filled = min(until, room)
        name = _encodable(console, cut(part.name, 16))
        label = f" {name} {count(part.trials)}".replace(" ", signs.unbroken)
        legend.append(Text.assemble((fill, colour), label))
    yield Text("How far trials came", style="bold")
    yield bar
    yield Padding(Text("  ").join(legend), (0, 0, 0, 2))
    yield ""


def _failures(verdict: Verdict, console: Console, failures_dir: Path) -> Iterator[RenderableType | tuple[str]]:
    if not verdict.failures:
        return
    yield Text("Failures", style="bold")
    width = max(console.width - 5, 20)
    for number, trial in enumerate(verdict.failures[:_FAILURES], start=1):
        title = _encodable(console, cut(failure_title(trial), 2 * width - 12))
        table = Table.grid(padding=(0, 1))
        table.add_column(justify="right", min_width=4)
        table.add_column(ratio=1, overflow="fold")
        table.add_row(Text(f"{number}.", style="bold red"), Text(title, style="bold"))
        where = f"{words(trial.scenario)}: {injected_text(trial.injections)}"
        table.add_row("", Text(_encodable(console, cut(one_line(where), width))))
        yield table
        # In one piece, however long, so that it can be copied.
        yield (f"     plimsoll reproduce {shlex.quote(str(failures_dir / failure_name(number, trial)))}",)
    if len(verdict.failures) > _FAILURES:
        yield Text(
            f"  and {count(len(verdict.failures) - _FAILURES)} more in {_encodable(console, str(failures_dir))}",
            style="dim",
        )
    yield ""


def print_summary(verdict: Verdict, console: Console, *, report_path: Path, failures_dir: Path) -> None:
    """Prints the verdict in at most `console.width` columns: decision, reasons, claims, reach, failures.

    Only what is to be copied (commands, the report's path) may run beyond. Colour is as the console decides, and
    nothing is said by colour alone.
    """
    signs = _Signs.of(console)
    parts: list[RenderableType | tuple[str]] = [
        _banner(verdict, console, signs),
        *_reasons(verdict, console),
        *_claims(verdict, console, signs),
        *_accepts(verdict, console, signs),
        *_reach(verdict, console, signs),
        *_failures(verdict, console, failures_dir),
        (f"Report: {report_path}",),
    ]
    for part in parts:
        if isinstance(part, tuple):
            console.print(Text(_encodable(console, part[0], as_is=True), style="cyan"), soft_wrap=True)
        else:
            console.print(part, markup=False, highlight=False)
