"""`plimsoll.toml` → `Contract`. Whatever is wrong is found at once, each with its line and what would be
right.
"""

import pathlib
import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct, structs

from plimsoll.contract.converting import convert, dotted
from plimsoll.contract.model import Contract
from plimsoll.contract.soundness import check_rungs, fallbacks_in
from plimsoll.contract.toml_places import Path, Places
from plimsoll.core.canonical import digest
from plimsoll.core.errors import ContractError, Problem

__all__ = [
    "Source",
    "contract_digest",
    "load_contract",
    "load_source",
    "parse_contract",
    "resolve_path",
]

_PLACE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$")
_HINTS = {
    "Invalid value": 'text needs quotes (name = "value"); yes and no are written true and false',
    "Expected '=' after a key": "write name = value; a table's name stands in [brackets]",
    "Invalid statement": "write name = value, or [table]; a comment starts with #",
    "Expected newline or end of document": "one setting a line; text with quotes in it needs them escaped",
    "Expected ']'": "close the table's name with ]",
    "Cannot overwrite a value": "this name is used twice in its table; keep one",
    "Cannot declare": "this table is declared twice; put its settings together",
    "Unterminated string": "close the text with the quote that opened it",
    "Illegal character": "close the text with the quote that opened it, on the same line",
    "Unclosed array": "close the list with ]",
    "Unclosed inline table": "close the table with }",
}


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a contract, so that problems can name lines. `file` is what messages call it."""

    file: str
    text: str = ""
    _places: Places = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", Places(self.text))

    def problem(self, path: Path, what: str, fix: str, *, severity: str = "error") -> Problem:
        """A problem with the field at `path`, at its line."""
        return Problem(
            file=self.file,
            line=self._places.line(path),
            field=dotted(path) or "contract",
            what=what,
            fix=fix,
            severity=severity,
        )


def load_contract(path: pathlib.Path | str) -> Contract:
    """The contract in the file at `path`. Raises `ContractError`, with every problem, when it is not one."""
    source = load_source(path)
    return parse_contract(source.text, file=source.file)


def load_source(path: pathlib.Path | str) -> Source:
    """The text of the file at `path`, contract or not. Raises `ContractError` if it cannot be read."""
    file = str(path)
    try:
        raw = pathlib.Path(path).read_bytes()
    except FileNotFoundError:
        raise _whole(file, "there is no such file", "run `plimsoll init` to write one") from None
    except IsADirectoryError:
        fix = f"name the file in it: {pathlib.Path(path) / 'plimsoll.toml'}"
        raise _whole(file, "is a directory", fix) from None
    except OSError as error:
        raise _whole(file, f"cannot be read ({error.strerror})", "see that it can be") from None
    try:
        return Source(file, raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        what = f"byte {raw[error.start]:#04x} is not UTF-8"
        raise _whole(file, what, "save the file with the encoding UTF-8", line=line) from None


def parse_contract(text: str, *, file: str) -> Contract:
    """The contract that `text` writes. `file` is what messages call it.

    Raises `ContractError` with every problem: values that are none, and ladders that cannot be gone down. Only an error
    of syntax hides others, for nothing can be said of what follows it.
    """
    source = Source(file, text)
    data = _parse_toml(source)
    if not data:
        raise _whole(file, "the contract is empty", "run `plimsoll init` to write one")
    problems: list[Problem] = []

    def report(path: Path, what: str, fix: str) -> None:
        problems.append(source.problem(path, what, fix))

    contract = convert(data, Contract, report=report)
    check_rungs(fallbacks_in(data), report)
    if contract is None or problems:
        raise ContractError(sorted(problems, key=lambda problem: (problem.line, problem.field)))
    return contract


def _parse_toml(source: Source) -> dict[str, Any]:
    try:
        return tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _PLACE.search(message)
        fix = next((fix for start, fix in _HINTS.items() if message.startswith(start)), "see https://toml.io")
        line = source.text.rstrip().count("\n") + 1
        if place is not None:
            message = message[: place.start()]
            line = int(place[1]) if place[1] else line
            fix = fix if place[1] else "something is not closed: a text, a list ], or a table }"
        raise _whole(source.file, f"not TOML: {message}", fix, line=line) from None
    except RecursionError:
        raise _whole(source.file, "nested too deep to be read", "write it flatter") from None


def _whole(file: str, what: str, fix: str, *, line: int = 1) -> ContractError:
    return ContractError([Problem(file=file, line=line, field="contract", what=what, fix=fix)])


def contract_digest(contract: Contract) -> str:
    """SHA-256 of everything that the contract decides, as 64 hexadecimal digits.

    Defaults are counted as if they were written, so a default that changes between versions changes the
    digest, and writing one out does not. Neither do comments, layout and the order of tables.
    """
    return digest(_everything(contract))


def _everything(value: Any) -> Any:
    """`value` with the defaults that its models leave out when they are encoded."""
    if isinstance(value, Struct):
        return {name: _everything(item) for name, item in structs.asdict(value).items()}
    if isinstance(value, dict):
        return {name: _everything(item) for name, item in value.items()}
    return value


def resolve_path(path: str, *, contract_file: pathlib.Path | str) -> pathlib.Path:
    """A path that a contract names (`journal.path`), from the folder that the contract lies in."""
    return pathlib.Path(contract_file).parent / path
