"""A step of a calculation, in the wire's form."""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Any

from apps.kernel.money import EXACT, format_decimal, minor_digits


def step_of(op: str, on: str, given: Any, out: Decimal, params: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Write one step down: what it did to which value, the value before and after, by which rule of which source."""
    return step_said(op, on, given, format_decimal(out), params, source)


def step_said(op: str, on: str, given: Any, out: str, params: Mapping[str, Any], source: str) -> dict[str, Any]:
    """As `step_of`, of an outcome that is a text already."""
    return {"op": op, "on": on, "in": given, "out": out, "params": dict(params), "source": source}


def share_step(
    whole: Decimal, share: Decimal, *, weight: Decimal, of: Decimal, currency: str, source: str, is_off: bool
) -> dict[str, Any]:
    """Write down a line's share of an amount that `allocate` split, so that it follows from the line alone.

    Args:
        whole: what is split, 0 or more, rounded.
        share: the line's part of it, 0 or more.
        weight: what the line weighs.
        of: what all lines weigh that share it.
        currency: decides the minor unit.
        source: what the weights are of.
        is_off: whether the share is taken off.
    """
    digits = minor_digits(currency)
    units = whole.scaleb(digits)
    least = EXACT.divide(EXACT.multiply(units, weight), of).to_integral_value(rounding=ROUND_DOWN)
    amount = -share if is_off else share
    params = {
        "amount": format_decimal(amount),
        "weight": format_decimal(weight),
        "of": format_decimal(of),
        "digits": digits,
        # The minor unit that it got of what rounding left: 0 or 1.
        "leftover": format_decimal(EXACT.subtract(share.scaleb(digits), least)),
        "isOff": is_off,
    }
    return step_of("scaleToBound", "amount", format_decimal(whole), amount, params, source)
