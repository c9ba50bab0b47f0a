from collections.abc import Iterable
from decimal import Decimal
from typing import ClassVar

from apps.kernel.time import Period
from apps.metering.aggregations.base import CountedEvent, UsageState


class Sum:
    CODE: ClassVar[str] = "SUM"
    IS_SUMMABLE: ClassVar[bool] = True

    @staticmethod
    def fold(events: Iterable[CountedEvent], period: Period | None = None) -> Decimal | None:
        return sum((event.value for event in events if event.value is not None), Decimal(0))

    @staticmethod
    def of_state(state: UsageState) -> Decimal | None:
        return state.sum
