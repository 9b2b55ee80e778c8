"""Which version of an agent this is: a digest over everything that decides what it does.

Approvals bind to it, and a verdict is about it: a changed line of code, prompt, tool, limit or library
makes another agent.
"""

import hashlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache, partial
from pathlib import Path
from types import CodeType
from typing import Any

from plimsoll.core.canonical import digest
from plimsoll.runtime.compiled import CompiledContract

__all__ = ["code_of", "default_fingerprint", "fingerprint_of", "installed_distributions", "repr_of", "sources_of"]


@cache
def installed_distributions() -> tuple[str, ...]:
    """Every installed distribution as `name==version`, sorted: what the agent's code imports is part of it."""
    found = {
        f"{name.lower()}=={distribution.version}"
        for distribution in importlib.metadata.distributions()
        if (name := distribution.metadata["Name"])
    }
    return tuple(sorted(found))


def sources_of(functions: Iterable[Callable[..., Any]]) -> dict[str, str]:
    """The digest of every module that defines one of `functions`, and of its neighbours in the same package.

    Modules without a source file, such as those of an interactive session, count by their name.
    """
    digests: dict[str, str] = {}
    for function in functions:
        module = sys.modules.get(_plain(function).__module__ or "")
        file = getattr(module, "__file__", None)
        if module is None or file is None or not Path(file).exists():
            digests[getattr(function, "__module__", "?") or "?"] = ""
            continue
        package = module.__package__ or ""
        folder = Path(file).parent
        for source in sorted(folder.glob("*.py")) if package else [Path(file)]:
            digests[f"{package}/{source.name}"] = _digest_of_file(source)
    return digests


def code_of(function: Callable[..., Any]) -> list[Any]:
    """What tells a function from another in the same module: its name, its source, and its defaults."""
    plain = _plain(function)
    code = getattr(plain, "__code__", None)
    source = _digest_of_code(code) if isinstance(code, CodeType) else ""
    given: list[Any] = [repr_of(value) for value in getattr(plain, "__defaults__", None) or ()]
    given += [f"{name}={repr_of(value)}" for name, value in (getattr(plain, "__kwdefaults__", None) or {}).items()]
    if isinstance(function, partial):
        given += [repr_of(value) for value in function.args]
        given += [f"{name}={repr_of(value)}" for name, value in sorted(function.keywords.items())]
    return [getattr(plain, "__qualname__", type(plain).__qualname__), source, given]


def repr_of(value: Any) -> str:
    """The value as text that is the same in every process. What only says where it lies counts by its type."""
    if isinstance(value, (set, frozenset)):
        return repr(sorted(map(repr, value)))
    text = repr(value)
    return type(value).__qualname__ if " at 0x" in text else text


def fingerprint_of(*, contract_digest: str, functions: Iterable[Callable[..., Any]], parts: Any) -> str:
    """The fingerprint of an agent: 64 hexadecimal digits.

    `functions` are its own and its tools'; `parts` is JSON with whatever else decides what it does: prompts, models,
    tool schemas.
    """
    functions = list(functions)
    return digest(
        {
            "contract": contract_digest,
            "sources": sources_of(functions),
            "functions": sorted((code_of(function) for function in functions), key=digest),
            "parts": parts,
            "distributions": installed_distributions(),
            "python": list(sys.version_info[:3]),
        }
    )


def default_fingerprint(
    agent: Callable[..., Any],
    *,
    tools: Mapping[str, Callable[..., Any]],
    models: Mapping[str, Callable[..., Any]],
    children: Mapping[str, str] | None = None,
    contract: CompiledContract,
) -> str:
    """The fingerprint of an agent without a framework: its own code, its tools' and its models', under its contract,
    and the fingerprints of its children.

    What a function holds in variables of an enclosing one is not part of it; who keeps prompts there gives a
    fingerprint of their own.
    """
    return fingerprint_of(
        contract_digest=contract.digest,
        functions=[agent, *tools.values(), *models.values()],
        parts=[sorted(tools), sorted(models), dict(children or {})],
    )


def _plain(function: Any) -> Any:
    """The function that somebody wrote, beneath what stands around it: partials, decorators, methods, objects."""
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    if not hasattr(function, "__code__") and not hasattr(function, "__func__") and not inspect.isroutine(function):
        function = function if inspect.isclass(function) else type(function).__call__
    return getattr(function, "__func__", function)


def _digest_of_file(file: Path) -> str:
    stat = file.stat()
    return _read_digest(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _read_digest(file: Path, _changed_ns: int, _size: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@lru_cache(maxsize=1024)
def _digest_of_code(code: CodeType) -> str:
    try:
        source = inspect.getsource(code)
    except (OSError, TypeError):  # no file, as in an interactive session
        source = repr(_bytecode(code))
    return hashlib.sha256(source.encode("utf-8", "backslashreplace")).hexdigest()


def _bytecode(code: CodeType) -> list[Any]:
    """A function's instructions, names and constants, without where it stands."""
    constants = [
        _bytecode(one) if isinstance(one, CodeType) else sorted(map(repr, one)) if isinstance(one, frozenset) else one
        for one in code.co_consts
    ]
    return [code.co_code.hex(), code.co_names, code.co_varnames, constants]
