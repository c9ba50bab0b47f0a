"""Reading values out of an event's data."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

LIMIT = Decimal("1e27")
PLACES = 9


def value_at(data: Mapping[str, Any], path: str) -> Any:
    """Give the value at a path such as `$.usage.tokens`; None where there is none."""
    value: Any = data
    for name in path.removeprefix("$.").split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def to_quantity(raw: Any) -> Decimal | None:
    """Read a number, or a string that is one, as an exact quantity; None when it is not usable as one."""
    if isinstance(raw, bool) or not isinstance(raw, int | str | Decimal):
        return None
    if isinstance(raw, str) and not 0 < len(raw) <= 64:
        return None
    if isinstance(raw, int) and raw.bit_length() > 100:
        return None
    try:
        value = Decimal(raw)
    except InvalidOperation:
        return None
    if not value.is_finite() or abs(value) >= LIMIT:
        return None
    exponent = value.normalize().as_tuple().exponent
    return value if isinstance(exponent, int) and -exponent <= PLACES else None


def group_value(raw: Any) -> str:
    """Give a dimension's value as text; a missing one is the empty string."""
    if raw is None:
        return ""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, str):
        return raw[:255]
    return str(raw)[:255]
