"""A step of a calculation, in the wire's form."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from apps.kernel.money import format_decimal


def step_of(op: str, on: str, given: Any, out: Decimal, params: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Write one step down: what it did to which value, the value before and after, by which rule of which source."""
    return {
        "op": op,
        "on": on,
        "in": given,
        "out": format_decimal(out),
        "params": dict(params),
        "source": source,
    }
