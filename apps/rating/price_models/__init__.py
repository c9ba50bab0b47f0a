"""Every price model that there is; a new one adds its file and its line here, or comes with an installed package."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from apps.kernel.errors import FieldError, InvalidError
from apps.rating.price_models.base import (
    Component,
    PriceModel,
    TransactionPriceModel,
    amount_of,
    components_of,
    count,
    looks_at_events,
)
from apps.rating.price_models.dynamic import DynamicPrice
from apps.rating.price_models.graduated import GraduatedPrice
from apps.rating.price_models.graduated_percentage import GraduatedPercentagePrice
from apps.rating.price_models.installed import GROUP, installed_models
from apps.rating.price_models.package import PackagePrice
from apps.rating.price_models.percentage import PercentagePrice
from apps.rating.price_models.standard import StandardPrice
from apps.rating.price_models.volume import VolumePrice

BUILT_IN: dict[str, type[PriceModel]] = {
    StandardPrice.CODE: StandardPrice,
    PackagePrice.CODE: PackagePrice,
    GraduatedPrice.CODE: GraduatedPrice,
    VolumePrice.CODE: VolumePrice,
    PercentagePrice.CODE: PercentagePrice,
    GraduatedPercentagePrice.CODE: GraduatedPercentagePrice,
    DynamicPrice.CODE: DynamicPrice,
}
REGISTRY = BUILT_IN | installed_models(entry_points(group=GROUP), taken=BUILT_IN)


def parse_properties(model: str, properties: Mapping[str, Any]) -> PriceModel:
    """Read the wire's properties of a price by its model.

    Raises:
        InvalidError: the model is unknown, or a field is malformed; every bad field is named.
    """
    known = REGISTRY.get(model)
    if known is None:
        names = ", ".join(sorted(REGISTRY))
        raise InvalidError(
            f"There is no price model {model}.",
            errors=[FieldError("model", f"Use one of: {names}.", "invalid")],
        )
    return known.parse(properties)


__all__ = [
    "BUILT_IN",
    "REGISTRY",
    "Component",
    "PriceModel",
    "TransactionPriceModel",
    "amount_of",
    "components_of",
    "count",
    "looks_at_events",
    "parse_properties",
]
