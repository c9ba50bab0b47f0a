from collections.abc import Iterable
from decimal import Decimal
from typing import ClassVar

from apps.kernel.time import Period
from apps.metering.aggregations.base import CountedEvent, UsageState


class UniqueCount:
    CODE: ClassVar[str] = "UNIQUE_COUNT"
    IS_SUMMABLE: ClassVar[bool] = False

    @staticmethod
    def fold(events: Iterable[CountedEvent], period: Period | None = None) -> Decimal | None:
        return Decimal(len({event.raw for event in events}))

    @staticmethod
    def of_state(state: UsageState) -> Decimal | None:
        return Decimal(state.uniques)
