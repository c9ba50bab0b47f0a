"""The ladder that graduated and volume prices share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from apps.kernel.errors import FieldError
from apps.kernel.money import format_decimal
from apps.rating.price_models.base import TIER_PLACES, UNIT_PRICE_PLACES, Reader

MAXIMUM_TIERS = 100


@dataclass(frozen=True, slots=True)
class Tier:
    """One step: the units above the step before, up to and including `up_to` (None: without end)."""

    up_to: Decimal | None
    unit_price: Decimal
    flat: Decimal = Decimal(0)


def parse_tiers(
    properties: Mapping[str, Any],
    *,
    price: str = "unitPrice",
    price_places: int = UNIT_PRICE_PLACES,
    highest: Decimal | None = None,
) -> tuple[Tier, ...]:
    """Read a ladder: bounds strictly ascending, the last open, none sorted or guessed.

    Args:
        properties: with `tiers`.
        price: the name of what a unit of a tier costs.
        price_places: how many decimal places that may have.
        highest: what it may not pass.

    Raises:
        InvalidError: naming every bad field as `properties.tiers.N.…`.
    """
    reader = Reader(properties)
    rows = reader.properties.get("tiers")
    if not isinstance(rows, list | tuple) or not 0 < len(rows) <= MAXIMUM_TIERS:
        reader.errors.append(FieldError("properties.tiers", f"Give a list of 1 to {MAXIMUM_TIERS} tiers.", "invalid"))
        reader.check()
    tiers: list[Tier] = []
    floor = Decimal(0)
    for index, row in enumerate(rows or ()):
        path = f"properties.tiers.{index}"
        if not isinstance(row, Mapping):
            reader.errors.append(FieldError(path, "Give an object.", "invalid"))
            continue
        is_last = index == len(rows or ()) - 1
        up_to: Decimal | None = None
        if is_last:
            if row.get("upTo") is not None:
                reader.errors.append(FieldError(f"{path}.upTo", "The last tier has no end; send null.", "invalid"))
        elif row.get("upTo") is None:
            reader.errors.append(FieldError(f"{path}.upTo", "Only the last tier may be null.", "required"))
        else:
            up_to = reader.decimal("upTo", at=row, path=path, places=TIER_PLACES, above=floor)
            floor = up_to
        unit_price = reader.decimal(price, at=row, path=path, places=price_places, low=Decimal(0), high=highest)
        flat = reader.decimal("flatFee", at=row, path=path, low=Decimal(0), default=Decimal(0))
        tiers.append(Tier(up_to, unit_price, flat))
    reader.check()
    return tuple(tiers)


def describe_tiers(tiers: Sequence[Tier]) -> list[dict[str, Any]]:
    """Give the bands as provenance records them."""
    return [
        {
            "upTo": None if tier.up_to is None else format_decimal(tier.up_to),
            "rate": format_decimal(tier.unit_price),
            **({"flat": format_decimal(tier.flat)} if tier.flat else {}),
        }
        for tier in tiers
    ]


def tiers_from_description(bands: Sequence[Mapping[str, Any]]) -> tuple[Tier, ...]:
    """Rebuild the ladder from its description."""
    return tuple(
        Tier(
            None if band["upTo"] is None else Decimal(band["upTo"]),
            Decimal(band["rate"]),
            Decimal(band.get("flat", "0")),
        )
        for band in bands
    )
