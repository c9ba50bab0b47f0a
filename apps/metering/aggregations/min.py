from collections.abc import Iterable
from decimal import Decimal
from typing import ClassVar

from apps.kernel.time import Period
from apps.metering.aggregations.base import CountedEvent, UsageState


class Min:
    CODE: ClassVar[str] = "MIN"
    IS_SUMMABLE: ClassVar[bool] = False

    @staticmethod
    def fold(events: Iterable[CountedEvent], period: Period | None = None) -> Decimal | None:
        return min((event.value for event in events if event.value is not None), default=None)

    @staticmethod
    def of_state(state: UsageState) -> Decimal | None:
        return state.min
