import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Self

from apps.kernel.errors import FieldError
from apps.kernel.money import EXACT, format_decimal
from apps.rating.price_models.base import Component, Reader, component, count
from apps.rating.usage import Transaction

DEFAULT_PATH = "$.price"
PATH = re.compile(r"\$\.[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*")
FEED = re.compile(r"feed_[0-9A-Za-z]{1,40}")
# Where the rate of an event is from: sent at the usual place, at a place of one's own, or of a dated feed.
USAGE, PROPERTY, OF_FEED = "usage", "property", "feed"
# Up to so many rates are written down one by one; beyond, what they come to is. A feed may have one an hour.
LISTED_RATES, LISTED_FEED_RATES = 100, 1_000
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class DynamicPrice:
    """Each event has a price of its units, its own or a feed's, held by bounds; one without costs the lower bound."""

    CODE: ClassVar[str] = "dynamic"
    IS_PROGRESSIVE: ClassVar[bool] = True
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"minPrice": "0.01", "maxPrice": "0.50", "priceProperty": "$.price"}
    minimum: Decimal
    maximum: Decimal
    price_property: str = DEFAULT_PATH
    feed: str = ""

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Self:
        reader = Reader(properties)
        minimum = reader.decimal("minPrice", low=ZERO)
        maximum = reader.decimal("maxPrice", low=minimum)
        path = reader.properties.get("priceProperty")
        feed = _feed(reader, path)
        path = DEFAULT_PATH if path is None else path
        if not isinstance(path, str) or len(path) > 255 or not PATH.fullmatch(path):
            reader.errors.append(FieldError("properties.priceProperty", "Give a path such as $.price.", "invalid"))
        reader.check()
        return cls(minimum, maximum, "" if feed else path, feed)

    def counter(self) -> "DynamicCounter":
        return DynamicCounter(self)

    def components_of(self, counted: Mapping[str, Any]) -> list[Component]:
        if "rates" in counted:
            rows = counted["rates"]
            return [component("at its rate", Decimal(row["quantity"]), Decimal(row["rate"])) for row in rows]
        return [component(f"each of {counted['events']} at its rate", ZERO, ZERO, Decimal(counted["amount"]))]

    def rate_path(self) -> str:
        return self.price_property

    def components(self, quantity: Decimal) -> list[Component]:
        """Price a quantity that came without a price of its own."""
        return self.components_of(count(self, [Transaction(quantity)]))

    def describe(self) -> dict[str, Any]:
        return {
            "model": self.CODE,
            "min": format_decimal(self.minimum),
            "max": format_decimal(self.maximum),
            **({"feed": self.feed} if self.feed else {"priceProperty": self.price_property}),
        }

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        feed = described.get("feed", "")
        return cls(Decimal(described["min"]), Decimal(described["max"]), described.get("priceProperty", ""), feed)


def _feed(reader: Reader, path: Any) -> str:
    """Read where the rate is from; empty when it comes with the usage."""
    source, feed = reader.properties.get("rateSource"), reader.properties.get("feedId")
    if source is None:
        source = OF_FEED if feed is not None else USAGE if path is None else PROPERTY
    if source not in (USAGE, PROPERTY, OF_FEED):
        message = f"Give {USAGE}, {PROPERTY} or {OF_FEED}."
        reader.errors.append(FieldError("properties.rateSource", message, "invalid"))
    elif source == OF_FEED and not (isinstance(feed, str) and FEED.fullmatch(feed)):
        reader.errors.append(FieldError("properties.feedId", "Give the id of a rate feed.", "required"))
    elif source != OF_FEED and feed is not None:
        reader.errors.append(FieldError("properties.feedId", f"Only with rateSource {OF_FEED}.", "invalid"))
    elif source == PROPERTY and path is None:
        reader.errors.append(FieldError("properties.priceProperty", "Give a path such as $.price.", "required"))
    elif source in (USAGE, OF_FEED) and path is not None and path != DEFAULT_PATH:
        message = f"Only with rateSource {PROPERTY}."
        reader.errors.append(FieldError("properties.priceProperty", message, "invalid"))
    return feed if source == OF_FEED and isinstance(feed, str) else ""


@dataclass(slots=True)
class DynamicCounter:
    """Adds quantities up by the price they go by, for as long as there are few prices."""

    price: DynamicPrice
    events: int = 0
    amount: Decimal = ZERO
    corrected: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("withoutPrice", "belowMinimum", "aboveMaximum"), 0)
    )
    by_rate: dict[Decimal, Decimal] | None = field(default_factory=dict)

    def add(self, transaction: Transaction) -> None:
        rate = self._rate_of(transaction)
        self.events += transaction.events
        self.amount = EXACT.add(self.amount, EXACT.multiply(transaction.value, rate))
        if self.by_rate is not None:
            self.by_rate[rate] = EXACT.add(self.by_rate.get(rate, ZERO), transaction.value)
            if len(self.by_rate) > (LISTED_FEED_RATES if self.price.feed else LISTED_RATES):
                self.by_rate = None

    def counted(self) -> dict[str, Any]:
        found: dict[str, Any] = dict(self.corrected)
        if self.by_rate is None:
            return {**found, "events": self.events, "amount": format_decimal(self.amount)}
        found["rates"] = [
            {"rate": format_decimal(rate), "quantity": format_decimal(self.by_rate[rate])}
            for rate in sorted(self.by_rate)
        ]
        return found

    def _rate_of(self, transaction: Transaction) -> Decimal:
        rate, price = transaction.rate, self.price
        if rate is None:
            self.corrected["withoutPrice"] += transaction.events
            return price.minimum
        if rate < price.minimum:
            self.corrected["belowMinimum"] += transaction.events
            return price.minimum
        if rate > price.maximum:
            self.corrected["aboveMaximum"] += transaction.events
            return price.maximum
        return rate
