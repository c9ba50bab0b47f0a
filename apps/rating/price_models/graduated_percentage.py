from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from apps.rating.price_models.graduated import GraduatedPrice
from apps.rating.price_models.percentage import MAXIMUM_PERCENTAGE, PERCENTAGE_PLACES
from apps.rating.price_models.tiers import parse_tiers


@dataclass(frozen=True, slots=True)
class GraduatedPercentagePrice(GraduatedPrice):
    """Each part of the period's value costs the share that its tier says; a tier's flat fee is due once entered."""

    CODE: ClassVar[str] = "graduated_percentage"
    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "tiers": [{"upTo": "1000", "percentage": "0.03"}, {"upTo": None, "percentage": "0.01", "flatFee": "5"}]
    }

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Self:
        return cls(
            parse_tiers(properties, price="percentage", price_places=PERCENTAGE_PLACES, highest=MAXIMUM_PERCENTAGE)
        )
