from collections.abc import Iterable
from decimal import Decimal
from typing import ClassVar

from apps.kernel.money import EXACT, round_to
from apps.kernel.time import Period
from apps.metering.aggregations.base import CountedEvent, UsageState


class Avg:
    CODE: ClassVar[str] = "AVG"
    IS_SUMMABLE: ClassVar[bool] = False

    @staticmethod
    def fold(events: Iterable[CountedEvent], period: Period | None = None) -> Decimal | None:
        values = [event.value for event in events if event.value is not None]
        if not values:
            return None
        return round_to(EXACT.divide(sum(values, Decimal(0)), Decimal(len(values))), 9)

    @staticmethod
    def of_state(state: UsageState) -> Decimal | None:
        if not state.count:
            return None
        return round_to(EXACT.divide(state.sum, Decimal(state.count)), 9)
