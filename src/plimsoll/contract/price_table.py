"""The prices of models by their names, from the table that the installed `genai-prices` brings along.

The only module that imports it. Whatever else in the process has updated the library's prices: these stay those of the
installed version, so that an agent costs the same until somebody installs another.
"""

from collections.abc import Sequence

from plimsoll.contract.pricing import Price, Tariff
from plimsoll.core.errors import MissingExtra

try:
    from genai_prices import __version__
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ConditionalPrice, ModelPrice, StartDateConstraint, TieredPrices
except ImportError as error:
    raise MissingExtra("genai-prices", extra="prices") from error

__all__ = ["NAME", "price_in_table"]

NAME = f"genai-prices {__version__}"

_table = DataSnapshot(providers=providers, from_auto_update=False)


def price_in_table(model_id: str) -> Price | None:
    """The price of `provider:model`; None where the table does not have it, or not for both ways."""
    provider, colon, name = model_id.partition(":")
    if not colon:
        return None
    try:
        _, model = _table.find_provider_model(name, None, provider, None)
    except LookupError:
        return None
    prices = model.prices
    holding = [prices] if isinstance(prices, ModelPrice) else [each.prices for each in _last(prices)]
    found = [price for each in holding if (price := _price(each)) is not None]
    return max(found, key=lambda price: price.usd(1_000_000, 1_000_000)) if len(found) == len(holding) else None


def _last(prices: Sequence[ConditionalPrice]) -> list[ConditionalPrice]:
    """Those that hold once every announced change has come, at some time of the day."""
    last: list[ConditionalPrice] = []
    for price in prices:
        if isinstance(price.constraint, StartDateConstraint):
            last = []
        last.append(price)
    return last


def _price(price: ModelPrice) -> Price | None:
    both = [getattr(price, name, None) for name in ("input_mtok", "output_mtok")]
    if None in both:
        return None
    starts = {-1} | {tier.start for each in both if isinstance(each, TieredPrices) for tier in each.tiers}
    return Price(tuple(Tariff(start, *(_from(each, start) for each in both)) for start in sorted(starts)))


def _from(price: object, start: int) -> float:
    """What a million tokens cost in a request with more than `start` of them in its prompt."""
    if not isinstance(price, TieredPrices):
        return float(str(price))
    reached = [tier.price for tier in price.tiers if tier.start <= start]
    return float(reached[-1] if reached else price.base)
