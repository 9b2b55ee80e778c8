"""The answers that were given last, for a rung that gives one again when nobody can be asked."""

from collections import OrderedDict

from plimsoll.core.errors import Misuse

__all__ = ["AnswerCache"]


class AnswerCache:
    """Answers, as JSON, by the key of their request: the last `max_entries` (from 1) that were given or asked for, and
    of these the last `max_bytes`."""

    __slots__ = ("_answers", "_bytes", "_max_bytes", "_max_entries")

    def __init__(self, max_entries: int = 1000, max_bytes: int = 64 * 1024 * 1024) -> None:
        if max_entries < 1 or max_bytes < 1:
            raise Misuse(f"an answer cache of {max_entries!r} entries and {max_bytes!r} bytes remembers nothing")
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._answers: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    def put(self, request: str, answer: bytes, *, at: float) -> None:
        """Remembers an answer that was given at `at`, in seconds of any clock; none that is too long by itself."""
        self._forget(request)
        if len(answer) > self._max_bytes:
            return
        self._answers[request] = (at, answer)
        self._bytes += len(answer)
        while len(self._answers) > self._max_entries or self._bytes > self._max_bytes:
            self._forget(next(iter(self._answers)))

    def get(self, request: str, *, now: float, max_age_s: float) -> tuple[float, bytes] | None:
        """The age in seconds of the answer to this request, and the answer; None where it is unknown, or too old."""
        known = self._answers.get(request)
        if known is None or now - known[0] > max_age_s:
            return None
        self._answers.move_to_end(request)
        return now - known[0], known[1]

    def _forget(self, request: str) -> None:
        known = self._answers.pop(request, None)
        if known is not None:
            self._bytes -= len(known[1])
