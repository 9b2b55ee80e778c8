"""Where the checks of a contract write down what they find."""

from plimsoll.contract.loading import Source
from plimsoll.contract.toml_places import Path
from plimsoll.core.errors import Problem

__all__ = ["Notes"]


class Notes:
    """The problems found so far, each with its place in `source`."""

    __slots__ = ("_problems", "_source")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._problems: list[Problem] = []

    def error(self, path: Path, what: str, fix: str) -> None:
        """The contract contradicts itself, or leaves something unprotected that it means to protect."""
        self._problems.append(self._source.problem(path, what, fix))

    def warning(self, path: Path, what: str, fix: str) -> None:
        """This may be meant, and its author should know what it leads to."""
        self._problems.append(self._source.problem(path, what, fix, severity="warning"))

    def listed(self) -> list[Problem]:
        """All of them, in the order of the file."""
        return sorted(self._problems, key=lambda problem: problem.line)
