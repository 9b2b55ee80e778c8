"""What no run could do, though every single value is right: a contract with it is refused as soon as it is read.

Everything else that is wrong with a contract can be run safely (what nobody may approve is refused, say), so it is left
to `plimsoll check`.
"""

import difflib
from collections.abc import Mapping, Sequence

from plimsoll.contract.converting import Report
from plimsoll.contract.toml_places import Path

__all__ = ["check_rungs", "fallbacks_in"]


def fallbacks_in(data: Mapping[str, object]) -> dict[str, list[str]]:
    """What each model of a contract as TOML falls back to, as far as it can be read: the rest is told elsewhere."""
    models = data.get("models")
    found: dict[str, list[str]] = {}
    for name, model in models.items() if isinstance(models, Mapping) else ():
        below = model.get("fallback") if isinstance(model, Mapping) else None
        found[name] = below if isinstance(below, list) and all(isinstance(each, str) for each in below) else []
    return found


def check_rungs(fallbacks: Mapping[str, Sequence[str]], report: Report) -> None:
    """Reports each rung that is no model, and each that leads back to where it stands. Of each model, what it falls
    back to."""
    for name, rungs in fallbacks.items():
        for index, below in enumerate(rungs):
            at: Path = ("models", name, "fallback", index)
            if below in rungs[:index]:
                continue  # told once
            if below == name:
                report(at, "falls back to itself", "name another model")
            elif below not in fallbacks:
                near = difflib.get_close_matches(below, fallbacks, n=1)
                fix = f"did you mean {near[0]}?" if near else f"add [models.{below}]"
                report(at, f"no model is called {below}", fix)
            elif name in _reached(below, fallbacks):
                what = f"{below} falls back to {name} in its turn"
                report(at, what, "a ladder goes one way: take one of them out")


def _reached(top: str, fallbacks: Mapping[str, Sequence[str]]) -> set[str]:
    """`top`, and everything below it."""
    reached: set[str] = set()
    waiting = [top]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(fallbacks.get(name, ()))
    return reached
