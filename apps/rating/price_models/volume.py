from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self

from apps.rating.price_models.base import TIER_PLACES, Component, component
from apps.rating.price_models.tiers import Tier, describe_tiers, parse_tiers, tiers_from_description


@dataclass(frozen=True, slots=True)
class VolumePrice:
    """The whole quantity costs what its one tier says: the first whose end it does not pass."""

    CODE: ClassVar[str] = "volume"
    IS_PROGRESSIVE: ClassVar[bool] = False
    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "tiers": [{"upTo": "100", "unitPrice": "0.05"}, {"upTo": None, "unitPrice": "0.02"}]
    }
    tiers: tuple[Tier, ...]

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Self:
        return cls(parse_tiers(properties, price_places=TIER_PLACES))

    def components(self, quantity: Decimal) -> list[Component]:
        if quantity <= 0:
            return []
        for number, tier in enumerate(self.tiers, start=1):
            if tier.up_to is None or quantity <= tier.up_to:
                return [component(f"tier {number}", quantity, tier.unit_price, tier.flat)]
        raise AssertionError("the last tier has no end")

    def describe(self) -> dict[str, Any]:
        return {"model": self.CODE, "bands": describe_tiers(self.tiers)}

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        return cls(tiers_from_description(described["bands"]))
