from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Self

from apps.kernel.errors import FieldError
from apps.kernel.money import EXACT, format_decimal
from apps.rating.price_models.base import Component, Reader, component, count
from apps.rating.usage import Transaction

PERCENTAGE_PLACES = 4
MAXIMUM_PERCENTAGE = Decimal(10)
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class PercentagePrice:
    """A share of each transaction's value plus a fixed part, within bounds for each transaction.

    Transactions are free, in the order of time, until either allowance is used up: their number or their value. The
    one that passes the free value is paid for what is beyond it, with the fixed part. A negative transaction gives
    back its share and nothing else, and never more than the others came to.
    """

    CODE: ClassVar[str] = "percentage"
    IS_PROGRESSIVE: ClassVar[bool] = True
    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "percentage": "0.029", "fixedCharge": "0.30", "minCharge": "0.50", "maxCharge": "100",
        "freeEvents": 3, "freeAmount": "250",
    }  # fmt: skip
    percentage: Decimal
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    fixed: Decimal = ZERO
    free_events: int | None = None
    free_amount: Decimal | None = None

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Self:
        reader = Reader(properties)
        percentage = reader.decimal("percentage", places=PERCENTAGE_PLACES, low=ZERO, high=MAXIMUM_PERCENTAGE)
        minimum = reader.optional("minCharge", low=ZERO)
        maximum = reader.optional("maxCharge", low=minimum or ZERO)
        fixed = reader.decimal("fixedCharge", low=ZERO, default=ZERO)
        free_amount = reader.optional("freeAmount", places=9, low=ZERO)
        free_events = reader.properties.get("freeEvents")
        if free_events is not None and (type(free_events) is not int or not 0 <= free_events <= 10**9):
            reader.errors.append(FieldError("properties.freeEvents", "Give a whole number, 0 or more.", "invalid"))
        reader.check()
        return cls(percentage, minimum, maximum, fixed, free_events, free_amount)

    def counter(self) -> "PercentageCounter":
        return PercentageCounter(self)

    def components_of(self, counted: Mapping[str, Any]) -> list[Component]:
        plain = counted["atRate"]
        parts = []
        if plain["events"]:
            flat = EXACT.multiply(self.fixed, Decimal(plain["events"]))
            parts.append(component("at the rate", Decimal(plain["value"]), self.percentage, flat))
        for name, bound, label in (
            ("atMinimum", self.minimum, "at the least"),
            ("atMaximum", self.maximum, "at the most"),
        ):
            if counted[name]["events"] and bound is not None:
                parts.append(component(label, Decimal(counted[name]["events"]), bound))
        value = Decimal(counted["givenBack"]["value"])
        if value:
            parts.append(component("given back", value, self.percentage))
            total = ZERO
            for part in parts:
                total = EXACT.add(total, part.amount)
            if total < 0:
                parts.append(component("not below nothing", ZERO, ZERO, -total))
        return parts

    def rate_path(self) -> str:
        return ""

    def components(self, quantity: Decimal) -> list[Component]:
        """Price a quantity as a single transaction."""
        return self.components_of(count(self, [Transaction(quantity)]))

    def describe(self) -> dict[str, Any]:
        return {
            "model": self.CODE,
            "rate": format_decimal(self.percentage),
            "min": None if self.minimum is None else format_decimal(self.minimum),
            "max": None if self.maximum is None else format_decimal(self.maximum),
            "fixed": format_decimal(self.fixed),
            "freeEvents": self.free_events,
            "freeAmount": None if self.free_amount is None else format_decimal(self.free_amount),
        }

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        def read(name: str) -> Decimal | None:
            return None if described[name] is None else Decimal(described[name])

        return cls(
            Decimal(described["rate"]),
            read("min"),
            read("max"),
            Decimal(described["fixed"]),
            described["freeEvents"],
            read("freeAmount"),
        )


@dataclass(slots=True)
class PercentageCounter:
    """Sorts transactions by what decides their price: free, at the rate, or at one of its bounds."""

    price: PercentagePrice
    events: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("free", "atRate", "atMinimum", "atMaximum"), 0)
    )
    free_value: Decimal = ZERO
    value_at_rate: Decimal = ZERO
    given_back: Decimal = ZERO

    def add(self, transaction: Transaction) -> None:
        value, price = transaction.value, self.price
        if value < 0:
            self.given_back = EXACT.add(self.given_back, value)
            return
        gift = self._free_part(value)
        if gift is not None:
            self.free_value = EXACT.add(self.free_value, gift)
            if gift == value:
                self.events["free"] += 1
                return
        paid = EXACT.subtract(value, gift or ZERO)
        charge = EXACT.add(EXACT.multiply(paid, price.percentage), price.fixed)
        if price.minimum is not None and charge < price.minimum:
            self.events["atMinimum"] += 1
        elif price.maximum is not None and charge > price.maximum:
            self.events["atMaximum"] += 1
        else:
            self.events["atRate"] += 1
            self.value_at_rate = EXACT.add(self.value_at_rate, paid)

    def counted(self) -> dict[str, Any]:
        found: dict[str, Any] = {name: {"events": number} for name, number in self.events.items()}
        found["free"]["value"] = format_decimal(self.free_value)
        found["atRate"]["value"] = format_decimal(self.value_at_rate)
        found["givenBack"] = {"value": format_decimal(self.given_back)}
        return found

    def _free_part(self, value: Decimal) -> Decimal | None:
        """Give how much of the next transaction is free; None: it is paid."""
        price = self.price
        if price.free_events is None and price.free_amount is None:
            return None
        if price.free_events is not None and self.events["free"] >= price.free_events:
            return None
        if price.free_amount is None:
            return value
        left = EXACT.subtract(price.free_amount, self.free_value)
        return min(value, left) if left > 0 else None
