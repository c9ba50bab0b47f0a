from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from apps.kernel.money import round_to
from apps.rating.price_models import PriceModel, amount_of
from apps.rating.price_models.tiers import Tier


class Skip(Exception):  # noqa: N818 - an answer, not an error
    """The case is not taken; the reason stands in the README."""


def number(value: Any) -> Decimal:
    return Decimal(str(value))


def priced(price: PriceModel, quantity: Decimal) -> Decimal:
    """Give what a quantity costs, exactly."""
    return amount_of(price.components(quantity))


def cents(amount: Decimal) -> int:
    return int(round_to(amount, 2) * 100)


def inclusive_tiers(rows: Sequence[dict[str, Any]], *, price: str = "unit") -> tuple[Tier, ...]:
    """Translate tiers `from … to` (both ends counted, or adjacent) to ours: each ends at `up_to`.

    Rates are percents.
    """
    parts = 100 if price == "rate" else 1
    return tuple(
        Tier(
            None if row["to"] is None or index == len(rows) - 1 else number(row["to"]),
            number(row.get(price) or 0) / parts,
            number(row.get("flat") or 0),
        )
        for index, row in enumerate(rows)
    )


def up_to_tiers(rows: Sequence[dict[str, Any]]) -> tuple[Tier, ...]:
    return tuple(
        Tier(
            None if index == len(rows) - 1 else number(row["up_to"]),
            number(row.get("unit") or 0),
            number(row.get("flat") or 0),
        )
        for index, row in enumerate(rows)
    )
