"""Gets the main thread out of synchronous code that does not return."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from plimsoll.core.clock import SystemClock

__all__ = ["Interrupted", "Watchdog", "kept_alarm"]

_WALL = SystemClock()
_KEPT_TICK_S = 0.25


class Interrupted(KeyboardInterrupt):
    """Raised by the watchdog in code that does not return.

    A KeyboardInterrupt, since asyncio lets nothing else out of a task at once.
    """


class _Alarm:
    """Calls `rings` with the frame that is being executed, every `tick_s` real seconds.

    An alarm that somebody else had set goes off at its time, to its own handler, and is put back afterwards. Does
    nothing (`is_set` stays False) outside the main thread and where there is no SIGALRM (Windows).
    """

    def __init__(self, tick_s: float) -> None:
        self.tick_s = tick_s
        self.rings: Callable[[FrameType | None], None] | None = None
        self.is_set = False
        self._outer_handler: Any = None
        self._outer_due_s: float | None = None
        self._outer_interval_s = 0.0

    def set(self) -> None:
        if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
            return
        self._outer_handler = signal.getsignal(signal.SIGALRM)
        if self._outer_handler is None:  # set from C: it could not be put back
            return
        signal.signal(signal.SIGALRM, self._tick)
        left_s, self._outer_interval_s = signal.setitimer(signal.ITIMER_REAL, self.tick_s, self.tick_s)
        if left_s > 0:
            self._outer_due_s = _WALL.monotonic() + left_s
            if left_s < self.tick_s:
                signal.setitimer(signal.ITIMER_REAL, left_s, self.tick_s)
        self.is_set = True

    def take_away(self) -> None:
        if not self.is_set:
            return
        self.is_set = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._outer_handler)
        if self._outer_due_s is not None:
            left_s = max(self._outer_due_s - _WALL.monotonic(), 1e-6)
            signal.setitimer(signal.ITIMER_REAL, left_s, self._outer_interval_s)

    def _tick(self, number: int, frame: FrameType | None) -> None:
        now_s = _WALL.monotonic()
        if self._outer_due_s is not None and now_s >= self._outer_due_s:
            self._outer_due_s = now_s + self._outer_interval_s if self._outer_interval_s else None
            self._pass_on(number, frame)
        if self.rings is not None:
            self.rings(frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if callable(self._outer_handler):
            self._outer_handler(number, frame)
        elif self._outer_handler == signal.SIG_DFL:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGALRM)


_kept: list[_Alarm] = []
"""The alarm that is kept between the watchdogs of this process, if any: a process has but one."""


@contextmanager
def kept_alarm() -> Iterator[None]:
    """Keeps the alarm set between the watchdogs inside: setting it anew for each takes six system calls."""
    alarm = _Alarm(_KEPT_TICK_S)
    alarm.set()
    _kept.append(alarm)
    try:
        yield
    finally:
        _kept.remove(alarm)
        alarm.take_away()


class Watchdog:
    """Raises Interrupted in the main thread when `progress()` has not changed for `patience_s` real seconds.

    `progress` returns None while waiting is rightful. `on_stuck` is told where the code was, before the raise. Does
    nothing where there is no alarm to be set. Cannot reach C code that never returns to the interpreter, nor a loop
    that swallows every BaseException.
    """

    def __init__(
        self,
        patience_s: float,
        *,
        progress: Callable[[], int | None],
        on_stuck: Callable[[str], None],
    ) -> None:
        self._patience_s = patience_s
        self._progress = progress
        self._on_stuck = on_stuck
        self._alarm: _Alarm
        self._seen: int | None = None
        self._since_s = 0.0

    def __enter__(self) -> "Watchdog":
        tick_s = self._patience_s / 4
        kept = _kept[-1] if _kept else None
        is_free = kept is not None and kept.is_set and kept.rings is None and kept.tick_s <= tick_s
        self._alarm = kept if kept is not None and is_free else _Alarm(tick_s)
        self.restart()
        self._alarm.rings = self._look
        if self._alarm is not kept:
            self._alarm.set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._alarm.rings = None
        if self._alarm not in _kept:
            self._alarm.take_away()

    def restart(self) -> None:
        """Counts patience from now."""
        self._seen = self._progress()
        self._since_s = _WALL.monotonic()

    def _look(self, frame: FrameType | None) -> None:
        now_s, seen = _WALL.monotonic(), self._progress()
        if seen is None or seen != self._seen:
            self._seen, self._since_s = seen, now_s
        elif now_s - self._since_s >= self._patience_s:
            self._on_stuck(_place(frame))
            raise Interrupted


def _place(frame: FrameType | None) -> str:
    if frame is None:
        return "?"
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
