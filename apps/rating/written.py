"""Calculations written as JSON at once: of usage that nothing but a price decides, which is nearly all there is.

Those of many subscribers at one price and period differ in a handful of figures. What is the same is written once.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any

import msgspec

from apps.kernel.money import format_decimal
from apps.kernel.time import Period
from apps.kernel.written_json import WrittenJSON
from apps.rating.grouped import AnyPrice, priced
from apps.rating.lines import RatedLine, provenance_of, rounded, rounding_step, unit_price_of
from apps.rating.price_models import amount_of
from apps.rating.steps import step_said
from apps.rating.usage import Usage

# What stands in a page for what is not known yet: a character of no text, and a place among the values of `written`.
_HOLES = "\ue000{}"
_HOLE = re.compile(r'"\ue000(\d)"')
_QUANTITY, _AMOUNT, _SUBTOTAL, _UNIT_PRICE, _PERIOD_SOURCE = (_HOLES.format(place) for place in range(5))
# The quantity stands in it as input, when priced and as result, the amount when priced and when rounded, the rounded
# one there and as result, the unit price and the period's source once.
_HOLES_OF_A_PAGE = 9


class Page:
    """The calculation of usage at one price and period, with holes for what is one subscriber's.

    Args:
        described: the price as provenance says it.
        sources: where quantity and price come from, but for the subscriber's period.

    Raises:
        ValueError: something of the catalogue looks like a hole.
    """

    __slots__ = ("_form", "_places", "currency")

    def __init__(
        self, *, described: Mapping[str, Any], currency: str, period: Period, sources: Mapping[str, Any],
        calculated_at: datetime,
    ) -> None:  # fmt: skip
        self.currency = currency
        priced_step = step_said("evaluate", "price", described, _AMOUNT, {"quantity": _QUANTITY}, "price")
        whole = provenance_of(
            kind="metered",
            quantity=_QUANTITY,
            described=described,
            currency=currency,
            period=period,
            sources={**sources, "period": _PERIOD_SOURCE},
            steps=[priced_step, rounding_step(_AMOUNT, _SUBTOTAL, currency)],
            billed_quantity=_QUANTITY,
            unit_price=_UNIT_PRICE,
            calculated_at=calculated_at,
        )
        first, *rest = _HOLE.split(msgspec.json.encode(whole).decode())
        places = [int(place) for place in rest[::2]]
        if len(places) != _HOLES_OF_A_PAGE:
            raise ValueError("this calculation has texts that look like holes")
        self._places: Callable[[Sequence[str]], tuple[str, ...]] = itemgetter(*places)
        texts = [text.replace("%", "%%") for text in (first, *rest[1::2])]
        self._form = "%s".join(texts)

    def written(
        self, quantity: Decimal, amount: Decimal, subtotal: Decimal, unit_price: Decimal, period_source: str
    ) -> WrittenJSON:
        """Fill the holes.

        Args:
            period_source: JSON that names the subscriber's period.
        """
        figures = (
            f'"{format_decimal(quantity)}"',
            f'"{format_decimal(amount)}"',
            f'"{format_decimal(subtotal)}"',
            f'"{format_decimal(unit_price)}"',
            period_source,
        )
        return WrittenJSON(self._form % self._places(figures))


def rate_plainly(price: AnyPrice, usage: Usage, page: Page, period_source: str) -> RatedLine:
    """Price usage that has nothing but its quantity and price: as `rate_usage`, with the same calculation."""
    parts = priced(price, usage)
    amount = amount_of(parts)
    subtotal = rounded(amount, page.currency)
    unit_price = unit_price_of(parts, amount, usage.quantity)
    return RatedLine(
        quantity=usage.quantity,
        unit_price=unit_price,
        components=tuple(parts),
        exact=amount,
        subtotal=subtotal,
        provenance=page.written(usage.quantity, amount, subtotal, unit_price, period_source),
    )
