from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self

from apps.kernel.money import EXACT
from apps.rating.price_models.base import Component, component
from apps.rating.price_models.tiers import Tier, describe_tiers, parse_tiers, tiers_from_description


@dataclass(frozen=True, slots=True)
class GraduatedPrice:
    """Each unit costs what the tier it falls into says; a tier's flat fee is due once it is entered."""

    CODE: ClassVar[str] = "graduated"
    IS_PROGRESSIVE: ClassVar[bool] = True
    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "tiers": [{"upTo": "100", "unitPrice": "0.05"}, {"upTo": None, "unitPrice": "0.02"}]
    }
    tiers: tuple[Tier, ...]

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Self:
        return cls(parse_tiers(properties))

    def components(self, quantity: Decimal) -> list[Component]:
        parts: list[Component] = []
        floor = Decimal(0)
        units = max(quantity, Decimal(0))
        for number, tier in enumerate(self.tiers, start=1):
            # The first tier counts as entered even without usage, so its flat fee is a base fee.
            if number > 1 and units <= floor:
                break
            top = units if tier.up_to is None else min(units, tier.up_to)
            parts.append(component(f"tier {number}", EXACT.subtract(top, floor), tier.unit_price, tier.flat))
            floor = top if tier.up_to is None else tier.up_to
        return parts

    def describe(self) -> dict[str, Any]:
        return {"model": self.CODE, "bands": describe_tiers(self.tiers)}

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        return cls(tiers_from_description(described["bands"]))
