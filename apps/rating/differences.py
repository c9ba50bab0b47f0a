"""What is still to be billed of a charge, or to be given back, when part of it was billed before."""

from decimal import Decimal
from typing import Any

from apps.kernel.money import EXACT, format_decimal
from apps.rating.lines import RatedLine


def less_billed(rated: RatedLine, billed: Decimal) -> tuple[Decimal, dict[str, Any]]:
    """Give what a rated charge adds to what earlier lines billed for it, and how it was calculated.

    Args:
        rated: the charge as it should be by now, rounded.
        billed: the sum of the rounded lines that billed it; not below zero.

    Returns:
        The amount, major units, negative where too much was billed but never below `-billed`; the provenance.
    """
    amount = EXACT.subtract(rated.subtotal, billed)
    step = {
        "op": "subtract",
        "on": "amount",
        "in": format_decimal(rated.subtotal),
        "out": format_decimal(amount),
        "params": {"amount": format_decimal(billed)},
        "source": "earlierInvoice",
    }
    steps = [*rated.provenance["steps"], *([step] if billed else [])]
    result = {**rated.provenance["result"], "amount": format_decimal(amount)}
    return amount, {**rated.provenance, "steps": steps, "result": result}
