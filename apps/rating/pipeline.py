"""The fixed order of everything that can happen to an amount, each step pure.

round the quantity → price what is new of it → percentage discount → maximum → minimum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal

from apps.kernel.money import EXACT
from apps.rating.price_models import Component, PriceModel

ROUNDINGS = {"round": ROUND_HALF_UP, "ceil": ROUND_CEILING, "floor": ROUND_FLOOR}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a period that is billed by itself.

    Attributes:
        before: quantity that earlier parts of the same period covered.
        billed: what they were billed.
        is_first: the part that begins the period; a flat fee that needs no usage is billed there.
        is_last: the part that ends the period; what cannot be known earlier is billed there.
    """

    before: Decimal = Decimal(0)
    billed: Decimal = Decimal(0)
    is_first: bool = True
    is_last: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """What an amount may not leave, over the whole period; None where there is no limit.

    Attributes:
        percentage_discount: percent taken off before the bounds are looked at.
    """

    minimum: Decimal | None = None
    maximum: Decimal | None = None
    percentage_discount: Decimal = Decimal(0)


def round_quantity(quantity: Decimal, *, function: str | None, precision: int | None) -> Decimal:
    """Round a metric's quantity before it is priced, as the metric says.

    Args:
        function: round (half-up), ceil or floor; None leaves the quantity alone.
        precision: decimal places; negative ones round to tens, hundreds …; None is 0.
    """
    if function is None:
        return quantity
    unit = Decimal(1).scaleb(-(precision or 0))
    steps = EXACT.divide(quantity, unit).to_integral_value(rounding=ROUNDINGS[function])
    return EXACT.multiply(steps, unit)


def amount_of(components: Sequence[Component]) -> Decimal:
    """Give the exact sum of priced parts."""
    total = Decimal(0)
    for part in components:
        total = EXACT.add(total, part.amount)
    return total


def rate_part(
    price: PriceModel, quantity: Decimal, *, part: Part | None = None, limits: Limits | None = None
) -> Decimal:
    """Price the quantity of one part of a period: `amount(so far) − amount(before)`, within the limits.

    A model that cannot be billed in parts bills nothing before the last part, and there the whole.
    """
    part, limits = part or Part(), limits or Limits()
    so_far = EXACT.add(part.before, quantity)
    if price.IS_PROGRESSIVE:
        earlier = Decimal(0) if part.is_first else amount_of(price.components(part.before))
        amount = EXACT.subtract(amount_of(price.components(so_far)), earlier)
    elif part.is_last:
        amount = amount_of(price.components(so_far))
    else:
        amount = Decimal(0)
    kept = EXACT.subtract(Decimal(100), limits.percentage_discount)
    amount = EXACT.divide(EXACT.multiply(amount, kept), Decimal(100))
    if limits.maximum is not None:
        amount = min(amount, max(EXACT.subtract(limits.maximum, part.billed), Decimal(0)))
    if limits.minimum is not None and part.is_last:
        amount = max(amount, EXACT.subtract(limits.minimum, part.billed))
    return amount
