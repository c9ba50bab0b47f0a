"""Prices whose rate comes from a dated feed."""

from apps.rating.grouped import AnyPrice, GroupedPrice
from apps.rating.price_models.dynamic import DynamicPrice


def feed_of(price: object) -> str:
    """Give the feed (its public id) that a price goes by; empty for any other price."""
    return price.feed if isinstance(price, DynamicPrice) else ""


def feeds_of(price: AnyPrice) -> list[str]:
    """Give the feeds that a price goes by, each once; groups may go by different ones."""
    prices = price.prices if isinstance(price, GroupedPrice) else [price]
    return list(dict.fromkeys(feed for feed in map(feed_of, prices) if feed))
