from collections.abc import Iterable
from decimal import Decimal
from typing import ClassVar

from apps.kernel.time import Period
from apps.metering.aggregations.base import CountedEvent, UsageState


class Count:
    CODE: ClassVar[str] = "COUNT"
    IS_SUMMABLE: ClassVar[bool] = True

    @staticmethod
    def fold(events: Iterable[CountedEvent], period: Period | None = None) -> Decimal | None:
        return Decimal(sum(1 for _ in events))

    @staticmethod
    def of_state(state: UsageState) -> Decimal | None:
        return Decimal(state.count)
