from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar

from apps.kernel.money import EXACT, round_to
from apps.kernel.time import Period
from apps.metering.aggregations.base import CountedEvent, UsageState


class WeightedSum:
    """A level that events raise and lower, averaged over the time of the interval."""

    CODE: ClassVar[str] = "WEIGHTED_SUM"
    IS_SUMMABLE: ClassVar[bool] = False

    @staticmethod
    def fold(events: Iterable[CountedEvent], period: Period | None = None) -> Decimal | None:
        """Give the mean level; events before the interval make up the level that it starts with.

        Raises:
            ValueError: there are events and no interval to hold them against.
        """
        area = Fraction(0)
        for event in events:
            if period is None:
                raise ValueError("a time-weighted sum is of an interval")
            if event.value is not None and event.at < period.end:
                held = Period(max(event.at, period.start), period.end)
                area += Fraction(event.value) * Fraction(held.microseconds, period.microseconds)
        return round_to(EXACT.divide(Decimal(area.numerator), Decimal(area.denominator)), 9)

    @staticmethod
    def of_state(state: UsageState) -> Decimal | None:
        if not state.seconds:
            return Decimal(0)
        return round_to(EXACT.divide(state.area, state.seconds), 9)
