"""Bounds: the numbers of a contract that hold something down, and bound nothing where they are far too high."""

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import asdict

from plimsoll.contract.model import Contract, Limits, Model, Retry, Tool
from plimsoll.contract.toml_places import Path

__all__ = ["Bound", "bounds"]


@dataclass(frozen=True, slots=True)
class Bound:
    """A number by its place in the contract: its `value`, and the `default`, which holds where nobody says more."""

    path: Path
    value: float
    default: float


def bounds(contract: Contract) -> Iterator[Bound]:
    """Every bound of `contract`: of a run, what it may use up; of a call, how long it and its answer may be, and how
    often it is tried."""
    for name, default in asdict(Limits()).items():
        if name == "day":
            continue  # of all runs together: no run comes near it
        yield Bound(("limits", name), getattr(contract.limits, name), default)
    for name, model in contract.models.items():
        if model.is_model:
            yield Bound(("models", name, "timeout_s"), model.timeout_s, Model().timeout_s)
            yield Bound(("models", name, "max_output_tokens"), model.max_output_tokens, Model().max_output_tokens)
            yield from _attempts(("models", name), model.retry)
    for name, tool in contract.tools.items():
        yield Bound(("tools", name, "timeout_s"), tool.timeout_s, Tool().timeout_s)
        yield from _attempts(("tools", name), tool.retry)


def _attempts(here: Path, retry: Retry | None) -> Iterator[Bound]:
    if retry is not None:
        yield Bound((*here, "retry", "max_attempts"), retry.max_attempts, Retry(on=()).max_attempts)
