"""Where each key of a TOML text stands, which `tomllib` does not say.

The text is one that `tomllib` has accepted, so this reads it leniently: where it loses its way it stops, and
whatever it has not seen is put at the nearest enclosing key.
"""

import contextlib
import re
import tomllib

__all__ = ["Path", "Places"]

Path = tuple[str | int, ...]
"""Keys, and positions in arrays from 0."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'")
_TEXT = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}' + r"|'''(?:[^']|'(?!''))*'{3,5}" + "|" + _QUOTED.pattern, re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}#\r\n]+")


class _Lost(Exception):
    pass


def _unquoted(key: str) -> str:
    try:
        return str(tomllib.loads(f"key = {key}")["key"])
    except tomllib.TOMLDecodeError:  # the text is no TOML, which whoever parses it says better
        raise _Lost from None


class Places:
    """The line of every key in `text`, found once when built."""

    __slots__ = ("_at", "_header", "_lines", "_starts", "_tables", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {}
        self._tables: dict[Path, int] = {}  # how many [[tables]] of this path there have been
        self._header: Path = ()
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        with contextlib.suppress(_Lost, RecursionError):
            self._document()

    def line(self, path: Path) -> int:
        """The line, from 1, of the key at `path`, or else of the nearest key around it, or else 1."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    # -- reading

    def _document(self) -> None:
        while self._skip():
            if self._take("[["):
                self._open_array(self._here(), self._key())
                self._need("]]")
            elif self._take("["):
                here, key = self._here(), self._key()
                self._header = self._note((), key, here)
                self._need("]")
            else:
                self._pair(self._header)

    def _open_array(self, here: int, key: tuple[str, ...]) -> None:
        parent = self._note((), key[:-1], here)
        array = (*parent, key[-1])
        index = self._tables.get(array, 0)
        self._tables[array] = index + 1
        self._lines.setdefault(array, here)
        self._header = (*array, index)
        self._lines.setdefault(self._header, here)

    def _note(self, base: Path, key: tuple[str, ...], here: int) -> Path:
        """Notes each part of a dotted key. Gives its whole path: into the last table where there are many."""
        path = base
        for part in key:
            path = (*path, part)
            self._lines.setdefault(path, here)
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
        return path

    def _pair(self, base: Path) -> None:
        here = self._here()
        path = self._note(base, self._key(), here)
        self._need("=")
        self._value(path)

    def _key(self) -> tuple[str, ...]:
        parts: list[str] = []
        while True:
            self._spaces()
            if bare := self._match(_BARE):
                parts.append(bare)
            elif quoted := self._match(_QUOTED):
                parts.append(_unquoted(quoted))
            else:
                raise _Lost
            self._spaces()
            if not self._take("."):
                return tuple(parts)

    def _value(self, path: Path) -> None:
        self._skip()
        if self._match(_TEXT):
            return
        if self._take("["):
            index = 0
            while self._skip() and not self._take("]"):
                self._lines.setdefault((*path, index), self._here())
                self._value((*path, index))
                self._skip()
                self._take(",")
                index += 1
        elif self._take("{"):
            while self._skip() and not self._take("}"):
                self._pair(path)
                self._skip()
                self._take(",")
        elif not self._match(_SCALAR):
            raise _Lost

    # -- characters

    def _here(self) -> int:
        low, high = 0, len(self._starts)
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if self._starts[middle] <= self._at else (low, middle)
        return low + 1

    def _skip(self) -> bool:
        """Passes white space, line ends and comments. Whether anything is left."""
        self._match(_BLANK)
        return self._at < len(self._text)

    def _spaces(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match.group()

    def _take(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _need(self, text: str) -> None:
        self._spaces()
        if not self._take(text):
            raise _Lost
