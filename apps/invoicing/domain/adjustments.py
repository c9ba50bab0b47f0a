"""Which adjustments of a subscription reach a line, and the lines that discounts add."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from apps.invoicing.domain.cuts import cut_line
from apps.invoicing.domain.targets import TargetLine
from apps.kernel.money import EXACT, format_decimal, minor_digits, round_money
from apps.kernel.time import Period, ratio
from apps.rating.adjustments import Discount, QuantityTerms, part_of
from apps.rating.steps import step_of
from apps.subscriptions.domain.plan_lines import PlanLines

PERCENTAGE, USAGE, MINIMUM, MAXIMUM = "percentageDiscount", "usageDiscount", "minimumQuantity", "maximumQuantity"
TYPES = (PERCENTAGE, USAGE, MINIMUM, MAXIMUM)


@dataclass(frozen=True, slots=True)
class AdjustmentTerms:
    """An adjustment as billing reads it.

    Attributes:
        public_id: its id.
        type: one of `TYPES`.
        value: a fraction, or units.
        line: key of the line of the plan whose quantity it changes; empty: a percentage, which is off every charge.
        lines: which line each price is.
        start: of a percentage the first instant, else exclusive: a line counts when its period ends after it.
        end: of a percentage exclusive, else inclusive; None is never.
        placed_at: present of the subscription when it was agreed; what had closed by then is not reached.
        name: what the subscriber reads on a discount's line.
    """

    public_id: str
    type: str
    value: Decimal
    line: str
    lines: PlanLines
    start: datetime
    end: datetime | None
    placed_at: datetime
    name: str = ""

    def reaches(self, period: Period, *, is_in_advance: bool, price_id: int | None) -> bool:
        """Whether a line of a period is changed by it.

        A line falls due at the end of its period, one in advance at its start. What was due before the adjustment was
        agreed is billed without it, and so are corrections of it.
        """
        due_at = period.start if is_in_advance else period.end
        if self.placed_at >= due_at:
            return False
        if self.type == PERCENTAGE:
            return self.start < period.end and (self.end is None or self.end > period.start)
        if price_id is None or self.lines.line_of(price_id, due_at, is_in_advance=is_in_advance) != self.line:
            return False
        return self.start < period.end and (self.end is None or period.end <= self.end)

    def window_in(self, period: Period) -> Period:
        """Give the part of a period in which a percentage holds."""
        return Period(max(self.start, period.start), period.end if self.end is None else min(self.end, period.end))


def quantity_terms(
    adjustments: Iterable[AdjustmentTerms], period: Period, *, is_in_advance: bool, price_id: int
) -> QuantityTerms | None:
    """Give what changes the quantity of a line; None when nothing does."""
    found = [
        known
        for known in adjustments
        if known.type != PERCENTAGE and known.reaches(period, is_in_advance=is_in_advance, price_id=price_id)
    ]
    if not found:
        return None
    waiving = [known for known in found if known.type == USAGE]
    lows = [known for known in found if known.type == MINIMUM]
    highs = [known for known in found if known.type == MAXIMUM]
    low = max(lows, key=lambda known: known.value, default=None)
    high = min(highs, key=lambda known: known.value, default=None)
    waived = Decimal(0)
    for known in waiving:
        waived = EXACT.add(waived, known.value)
    return QuantityTerms(
        waived=waived,
        minimum=low.value if low else None,
        maximum=high.value if high else None,
        waived_by=tuple(known.public_id for known in waiving),
        bounded_by=tuple(known.public_id for known in (low, high) if known),
    )


def discounts_of(
    adjustments: Iterable[AdjustmentTerms], period: Period, *, is_in_advance: bool, tz: str
) -> list[Discount]:
    """Give the percentages off a line, the oldest first, each with the days of the period that it holds in."""
    return [
        Discount(
            known.public_id,
            known.name,
            known.value,
            Fraction(1)
            if known.window_in(period) == period
            else ratio(known.window_in(period), period, basis="day", tz=tz),
        )
        for known in adjustments
        if known.type == PERCENTAGE and known.reaches(period, is_in_advance=is_in_advance, price_id=None)
    ]


def with_discounts(
    lines: Sequence[TargetLine], discounts: Mapping[str, Sequence[Discount]], *, currency: str
) -> list[TargetLine]:
    """Give the lines with one line for each percentage off each charge, right after it.

    Args:
        lines: of one invoice.
        discounts: by the reference of the line that they are off; each takes its part of what those before it left.
        currency: decides the minor unit, to which each is rounded.
    """
    found: list[TargetLine] = []
    for line in lines:
        found.append(line)
        left = line.gross
        for discount in discounts.get(line.reference, ()):
            if left <= 0:
                break
            exact = part_of(left, discount.part)
            off = round_money(exact, currency)
            if off:
                found.append(_discount_line(line, discount, left, exact, off, currency))
            left = EXACT.subtract(left, off)
    return found


def _discount_line(
    line: TargetLine, discount: Discount, left: Decimal, exact: Decimal, off: Decimal, currency: str
) -> TargetLine:
    part = discount.part
    share = {
        "numerator": str(part.numerator), "denominator": str(part.denominator), "rate": format_decimal(discount.rate),
    }  # fmt: skip
    rounding = {"digits": minor_digits(currency), "mode": "HALF_UP"}
    # A minus sign would round to the context's digits.
    before, less = left.copy_negate(), exact.copy_negate()
    steps = [
        step_of("replace", "amount", "0", before, {"amount": format_decimal(before)}, "line"),
        step_of("prorate", "amount", format_decimal(before), less, share, "adjustment"),
        step_of("round", "amount", format_decimal(less), off.copy_negate(), rounding, "currency"),
    ]
    source = {"adjustment": {"type": "subscriptionAdjustment", "ref": {"adjustmentId": discount.source}}}
    return cut_line(line, discount.source, discount.name or "Discount", off, steps, source, currency=currency)
