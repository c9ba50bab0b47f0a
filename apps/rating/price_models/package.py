from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any, ClassVar, Self

from apps.kernel.money import EXACT, format_decimal
from apps.rating.price_models.base import Component, Reader, component


@dataclass(frozen=True, slots=True)
class PackagePrice:
    """Units are sold in packages; a started package counts whole, after some free units."""

    CODE: ClassVar[str] = "package"
    IS_PROGRESSIVE: ClassVar[bool] = True
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"packageSize": "100", "packagePrice": "3"}
    package_price: Decimal
    package_size: Decimal
    free_units: Decimal = Decimal(0)

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Self:
        reader = Reader(properties)
        price = reader.decimal("packagePrice", low=Decimal(0))
        size = reader.decimal("packageSize", places=9, above=Decimal(0))
        free = reader.decimal("freeUnits", places=9, low=Decimal(0), default=Decimal(0))
        reader.check()
        return cls(price, size, free)

    def components(self, quantity: Decimal) -> list[Component]:
        paid = max(EXACT.subtract(quantity, self.free_units), Decimal(0))
        # Decimal's // cuts towards zero, so the started package is found by rounding the quotient up.
        packages = EXACT.divide(paid, self.package_size).to_integral_value(rounding=ROUND_CEILING)
        return [component("packages", packages, self.package_price)]

    def describe(self) -> dict[str, Any]:
        return {
            "model": self.CODE,
            "rate": format_decimal(self.package_price),
            "packageSize": format_decimal(self.package_size),
            "freeUnits": format_decimal(self.free_units),
        }

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        return cls(Decimal(described["rate"]), Decimal(described["packageSize"]), Decimal(described["freeUnits"]))
