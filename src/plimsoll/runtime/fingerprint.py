"""Which version of an agent this is: a digest over everything that decides what it does.

Approvals bind to it, and a verdict is about it: a changed line of code, prompt, tool, limit or library
makes another agent.
"""

import hashlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from plimsoll.core.canonical import digest

__all__ = ["fingerprint_of", "installed_distributions", "sources_of"]


def installed_distributions() -> list[str]:
    """Every installed distribution as `name==version`, sorted: what the agent's code imports is part of it."""
    found = {
        f"{name.lower()}=={distribution.version}"
        for distribution in importlib.metadata.distributions()
        if (name := distribution.metadata["Name"])
    }
    return sorted(found)


def sources_of(functions: Iterable[Callable[..., Any]]) -> dict[str, str]:
    """The digest of every module that defines one of `functions`, and of its neighbours in the same package.

    Modules without a source file, such as those of an interactive session, count by their name.
    """
    digests: dict[str, str] = {}
    for function in functions:
        module = sys.modules.get(inspect.unwrap(function).__module__)
        file = getattr(module, "__file__", None)
        if module is None or file is None or not Path(file).exists():
            digests[getattr(function, "__module__", "?") or "?"] = ""
            continue
        package = module.__package__ or ""
        folder = Path(file).parent
        for source in sorted(folder.glob("*.py")) if package else [Path(file)]:
            digests[f"{package}/{source.name}"] = hashlib.sha256(source.read_bytes()).hexdigest()
    return digests


def fingerprint_of(*, contract_digest: str, functions: Iterable[Callable[..., Any]], parts: Any) -> str:
    """The fingerprint of an agent: 64 hexadecimal digits.

    `functions` are its own and its tools'; `parts` is JSON with whatever else decides what it does: prompts, models,
    tool schemas.
    """
    return digest(
        {
            "contract": contract_digest,
            "sources": sources_of(functions),
            "parts": parts,
            "distributions": installed_distributions(),
            "python": list(sys.version_info[:3]),
        }
    )
