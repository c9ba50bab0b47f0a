"""Usage that nobody had, given to see what it would cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from apps.kernel.money import EXACT
from apps.kernel.time import Period
from apps.rating.grouped import AnyPrice, GroupedPrice
from apps.rating.price_models import TransactionPriceModel
from apps.rating.usage import Transaction, Usage

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class GivenUsage:
    """Some usage of a metric in one period of its price.

    Attributes:
        quantity: of all its events together.
        group: values of the metric's dimensions.
        events: of how many equal events it is made; it matters for prices that look at each.
        rate: the price that comes with them.
    """

    metric_id: int
    quantity: Decimal
    group: Mapping[str, str] = field(default_factory=dict)
    events: int = 1
    rate: Decimal | None = None


def usage_of_given(price: AnyPrice, given: Sequence[GivenUsage]) -> Usage:
    """Give the usage that a price is put on; of a metric that does not add up, what is given is one quantity a group.

    Args:
        given: of the price's metric, oldest first.
    """
    if isinstance(price, TransactionPriceModel) or (isinstance(price, GroupedPrice) and price.looks_at_events):
        counter, total = price.counter(), ZERO
        for row in given:
            total = EXACT.add(total, row.quantity)
            for value in _parts(row):
                counter.add(Transaction(value, row.rate, row.group))
        return Usage(total, counter.counted())
    if isinstance(price, GroupedPrice):
        found: dict[tuple[str, ...], Decimal] = {}
        for row in given:
            values = tuple(row.group.get(name, "") for name in price.dimensions)
            found[values] = EXACT.add(found.get(values, ZERO), row.quantity)
        return price.usage_of(found)
    total = ZERO
    for row in given:
        total = EXACT.add(total, row.quantity)
    return Usage(total)


def spread(given: Sequence[GivenUsage], metric_id: int, whole: Period, part: Period) -> Decimal:
    """Give what a part of a period has of usage that comes evenly over it; parts that touch add up to the whole."""
    total = ZERO
    for row in given:
        if row.metric_id == metric_id:
            total = EXACT.add(total, row.quantity)
    return EXACT.subtract(_until(total, whole, part.end), _until(total, whole, part.start))


def _until(total: Decimal, whole: Period, at: datetime) -> Decimal:
    elapsed = Decimal(int((min(max(at, whole.start), whole.end) - whole.start).total_seconds()))
    seconds = Decimal(int((whole.end - whole.start).total_seconds()))
    return EXACT.divide(EXACT.multiply(total, elapsed), seconds).quantize(Decimal("1e-9"))


def _parts(row: GivenUsage) -> list[Decimal]:
    """Share a quantity out to its events, to nine places; the last takes what is left."""
    part = EXACT.divide(row.quantity, Decimal(row.events)).quantize(Decimal("1e-9"))
    return [part] * (row.events - 1) + [EXACT.subtract(row.quantity, EXACT.multiply(part, Decimal(row.events - 1)))]
