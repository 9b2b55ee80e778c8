"""How far the gate has come, for a terminal or for a log."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from plimsoll.gate.report.wording import count, one_line

__all__ = ["GateProgress"]

_REDRAWS = 400  # at most so many in a phase, since drawing costs more than a simulated trial


class GateProgress:
    """A callback `(done, total, text)` that draws a bar in a terminal, and writes a line for each 10 % elsewhere.

    Use it as a context manager. A `done` that falls, or a change of `total` from 0, begins a new phase. It starts no
    thread of its own: what runs meanwhile is the gate's simulation.
    """

    def __init__(self, console: Console, *, title: str = "gate") -> None:
        self._console = console
        self._title = title
        self._plain = not console.is_terminal
        self._drawn: int | None = None
        self._last = 0
        self._progress = Progress(
            TextColumn(title, style="bold", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            auto_refresh=False,
            transient=True,
            disable=self._plain,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """Shows that `done` of `total` trials are done; `text` says what is being tried."""
        if done < self._last:
            self._drawn = None
        self._last = done
        steps = 10 if self._plain else _REDRAWS
        reached = steps * min(done, total) // total if total > 0 else 0
        if self._drawn is not None and reached <= self._drawn:
            return
        first, self._drawn = self._drawn is None, reached
        if not self._plain:
            room = max(self._console.width - 62, 10)
            self._progress.update(self._task, completed=done, total=total, description=one_line(text, limit=room))
            self._progress.refresh()
        elif total > 0 and (reached or first):
            share = 100 * done // total
            line = f"{self._title} {share:3d} %  {count(done)} of {count(total)}  {one_line(text, limit=200)}"
            self._console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)
