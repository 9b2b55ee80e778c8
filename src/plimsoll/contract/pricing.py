"""What a model costs: by the contract's prices, or where it gives none, by those of a maintained table."""

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from plimsoll.contract.model import Model
from plimsoll.core.errors import MissingExtra

__all__ = ["Price", "Tariff", "price_of", "price_table", "priced_by_table"]

_PER_MILLION = 1e-6


class Tariff(NamedTuple):
    """US dollars for a million tokens, each way, of a request with more than `above` tokens in its prompt."""

    above: int
    usd_per_million_input_tokens: float
    usd_per_million_output_tokens: float


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs. The last of `tariffs` that a request reaches holds for all of its tokens."""

    tariffs: tuple[Tariff, ...]

    def usd(self, input_tokens: int, output_tokens: int) -> float:
        """US dollars for a request with so many tokens."""
        tariff = self.tariffs[0]
        for each in self.tariffs:
            if input_tokens > each.above:
                tariff = each
        return _PER_MILLION * (
            input_tokens * tariff.usd_per_million_input_tokens + output_tokens * tariff.usd_per_million_output_tokens
        )


def price_of(model: Model) -> Price | None:
    """What `model` costs; None where neither its contract nor the table knows."""
    given, taken = model.usd_per_million_input_tokens, model.usd_per_million_output_tokens
    if given > 0 or taken > 0:
        return _own(given, taken)
    return _in_table(model.id) if model.id is not None and model.is_model else None


def priced_by_table(model: Model) -> bool:
    """Whether the price of `model` is the table's."""
    own = model.usd_per_million_input_tokens > 0 or model.usd_per_million_output_tokens > 0
    return not own and price_of(model) is not None


def price_table() -> str:
    """The table by its name and version; empty where it is not installed."""
    try:
        return str(_table().NAME)
    except MissingExtra:
        return ""


@cache
def _own(given: float, taken: float) -> Price:
    return Price((Tariff(-1, given, taken),))


@cache
def _in_table(model_id: str) -> Price | None:
    try:
        found: Price | None = _table().price_in_table(model_id)
    except MissingExtra:
        return None
    return found


def _table() -> Any:
    """The module of the table, which takes half a second to import, and that only where somebody asks for a price."""
    return importlib.import_module("plimsoll.contract.price_table")
