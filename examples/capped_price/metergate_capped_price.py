"""A price model of one's own: so much a unit, and never more than the cap."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self

from apps.kernel.money import EXACT, format_decimal
from apps.rating.price_models.base import Component, Reader, component


@dataclass(frozen=True, slots=True)
class CappedPrice:
    """Every unit costs the same until the period has come to the cap; what comes after is free."""

    CODE: ClassVar[str] = "capped"
    IS_PROGRESSIVE: ClassVar[bool] = True
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"unitPrice": "0.02", "cap": "15"}
    unit_price: Decimal
    cap: Decimal

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Self:
        reader = Reader(properties)
        unit_price = reader.decimal("unitPrice", low=Decimal(0))
        cap = reader.decimal("cap", low=Decimal(0))
        reader.check()
        return cls(unit_price, cap)

    def components(self, quantity: Decimal) -> list[Component]:
        units = component("units", quantity, self.unit_price)
        if units.amount <= self.cap:
            return [units]
        return [units, component("above the cap", Decimal(0), Decimal(0), EXACT.subtract(self.cap, units.amount))]

    def describe(self) -> dict[str, Any]:
        return {"model": self.CODE, "rate": format_decimal(self.unit_price), "cap": format_decimal(self.cap)}

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        return cls(Decimal(described["rate"]), Decimal(described["cap"]))
