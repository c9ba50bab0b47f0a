from collections.abc import Iterable
from decimal import Decimal
from typing import ClassVar

from apps.kernel.time import Period
from apps.metering.aggregations.base import CountedEvent, UsageState


class Latest:
    CODE: ClassVar[str] = "LATEST"
    IS_SUMMABLE: ClassVar[bool] = False

    @staticmethod
    def fold(events: Iterable[CountedEvent], period: Period | None = None) -> Decimal | None:
        ordered = sorted((event for event in events if event.value is not None), key=lambda e: (e.at, e.id))
        return ordered[-1].value if ordered else None

    @staticmethod
    def of_state(state: UsageState) -> Decimal | None:
        return state.latest
