from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self

from apps.kernel.money import format_decimal
from apps.rating.price_models.base import Component, Reader, component


@dataclass(frozen=True, slots=True)
class StandardPrice:
    """Every unit costs the same; a negative price is a rebate."""

    CODE: ClassVar[str] = "standard"
    IS_PROGRESSIVE: ClassVar[bool] = True
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"unitPrice": "0.02"}
    unit_price: Decimal

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Self:
        reader = Reader(properties)
        unit_price = reader.decimal("unitPrice")
        reader.check()
        return cls(unit_price)

    def components(self, quantity: Decimal) -> list[Component]:
        return [component("units", quantity, self.unit_price)]

    def describe(self) -> dict[str, Any]:
        return {"model": self.CODE, "rate": format_decimal(self.unit_price)}

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        return cls(Decimal(described["rate"]))
