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
# Up to so many different rates are written down one by one; beyond, what they come to is.
LISTED_RATES = 100
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class DynamicPrice:
    """Each event brings the price of its units along; bounds hold it, one without a price costs the lower bound."""

    CODE: ClassVar[str] = "dynamic"
    IS_PROGRESSIVE: ClassVar[bool] = True
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"minPrice": "0.01", "maxPrice": "0.50", "priceProperty": "$.price"}
    minimum: Decimal
    maximum: Decimal
    price_property: str = DEFAULT_PATH

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Self:
        reader = Reader(properties)
        minimum = reader.decimal("minPrice", low=ZERO)
        maximum = reader.decimal("maxPrice", low=minimum)
        path = reader.properties.get("priceProperty")
        path = DEFAULT_PATH if path is None else path
        if not isinstance(path, str) or len(path) > 255 or not PATH.fullmatch(path):
            reader.errors.append(FieldError("properties.priceProperty", "Give a path such as $.price.", "invalid"))
        reader.check()
        return cls(minimum, maximum, path)

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
            "priceProperty": self.price_property,
        }

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        return cls(Decimal(described["min"]), Decimal(described["max"]), described["priceProperty"])


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
        self.events += 1
        self.amount = EXACT.add(self.amount, EXACT.multiply(transaction.value, rate))
        if self.by_rate is not None:
            self.by_rate[rate] = EXACT.add(self.by_rate.get(rate, ZERO), transaction.value)
            if len(self.by_rate) > LISTED_RATES:
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
            self.corrected["withoutPrice"] += 1
            return price.minimum
        if rate < price.minimum:
            self.corrected["belowMinimum"] += 1
            return price.minimum
        if rate > price.maximum:
            self.corrected["aboveMaximum"] += 1
            return price.maximum
        return rate
