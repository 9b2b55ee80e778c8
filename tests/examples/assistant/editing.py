"""Edits of a contract's text, as somebody makes them in the file."""

import functools
from collections.abc import Callable

__all__ = ["Edit", "added", "both", "in_section", "replaced", "without"]

Edit = Callable[[str], str]


def in_section(name: str, change: Edit) -> Edit:
    """Changes one `[section]`, up to the blank line after it."""

    def edit(text: str) -> str:
        start = text.index(f"[{name}]")
        end = text.find("\n\n", start) + 1 or len(text)
        changed = change(text[start:end])
        assert changed != text[start:end], f"nothing to change in [{name}]"
        return text[:start] + changed + text[end:]

    return edit


def without(field: str) -> Edit:
    """Takes a setting out, however many lines its value has."""

    def edit(text: str) -> str:
        lines = text.splitlines(keepends=True)
        start = next(number for number, line in enumerate(lines) if line.startswith(f"{field} = "))
        stop = start + 1
        while "".join(lines[start:stop]).count("{") > "".join(lines[start:stop]).count("}"):
            stop += 1
        return "".join(lines[:start] + lines[stop:])

    return edit


def replaced(old: str, new: str) -> Edit:
    def edit(text: str) -> str:
        assert old in text, old
        return text.replace(old, new)

    return edit


def added(line: str) -> Edit:
    """Adds a setting at the section's top."""
    return lambda text: text.replace("]", f"]\n{line} #", 1)


def both(*edits: Edit) -> Edit:
    return lambda text: functools.reduce(lambda changed, edit: edit(changed), edits, text)
