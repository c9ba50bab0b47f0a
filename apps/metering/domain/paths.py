"""Reading values out of an event's data."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from apps.kernel.money import format_decimal

LIMIT = Decimal("1e27")
SMALL = 10**18
PLACES = 9


def steps_of(path: str) -> tuple[str, ...]:
    """Give the names to follow for a path such as `$.usage.tokens`."""
    return tuple(path.removeprefix("$.").split(".")) if path else ()


def value_at(data: dict[str, Any], steps: Sequence[str]) -> Any:
    """Give the value that the steps lead to; None where there is none."""
    value: Any = data
    for name in steps:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def quantity_text(raw: Any) -> str | None:
    """Read a number, or a string that is one, as an exact quantity in text; None when it is not usable as one."""
    if type(raw) is int and -SMALL < raw < SMALL:
        return str(raw)
    value = _quantity(raw)
    return None if value is None else format_decimal(value)


def _quantity(raw: Any) -> Decimal | None:
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
    if isinstance(raw, str):
        return raw if len(raw) <= 255 else raw[:255]
    if raw is None:
        return ""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, Decimal):
        # As the database keeps it, so that a stored event gives the same text again: no exponent, no minus before 0.
        return format(raw if raw else abs(raw), "f")[:255]
    return str(raw)[:255]
