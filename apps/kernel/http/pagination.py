from collections.abc import Callable, Sequence
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request

from apps.kernel.errors import FieldError, InvalidError


def page_bounds(
    request: Request, *, default: int = 10, maximum: int = 100, maximum_offset: int = 2**31 - 1
) -> tuple[int, int]:
    """Read `limit` and `offset` of a list call.

    Raises:
        InvalidError: one of them is not a whole number in its range; every bad one is named.
    """
    errors: list[FieldError] = []
    limit = _whole(request, "limit", default, 1, maximum, errors)
    offset = _whole(request, "offset", 0, 0, maximum_offset, errors)
    if errors:
        raise InvalidError("The paging parameters are out of range.", errors=errors)
    return limit, offset


def _whole(request: Request, name: str, default: int, low: int, high: int, errors: list[FieldError]) -> int:
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    # isascii: "²" counts as a digit and is none.
    if text.isascii() and text.isdigit() and len(text) < 12 and low <= int(text) <= high:
        return int(text)
    errors.append(FieldError(name, f"Give a whole number from {low} to {high}.", "out_of_range"))
    return default


def list_page(
    request: Request,
    rows: QuerySet[Any] | Sequence[Any],
    render: Callable[[Any], Any],
    *,
    default: int = 10,
    maximum: int = 100,
) -> dict[str, Any]:
    """Give one page of a list in the wire's form: `{object, data, pagination}`."""
    limit, offset = page_bounds(request, default=default, maximum=maximum)
    total = rows.count() if isinstance(rows, QuerySet) else len(rows)
    return {
        "object": "list",
        "data": [render(row) for row in rows[offset : offset + limit]],
        "pagination": {"limit": limit, "offset": offset, "total": total},
    }
