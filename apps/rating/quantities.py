"""The quantity of a period before it is priced."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal

from apps.kernel.money import EXACT

ROUNDINGS = {"round": ROUND_HALF_UP, "ceil": ROUND_CEILING, "floor": ROUND_FLOOR}


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
