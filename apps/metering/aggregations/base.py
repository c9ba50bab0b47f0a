"""An aggregation: how states of windows and single events combine into one quantity."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Protocol

import msgspec

from apps.kernel.time import Period


@dataclass(frozen=True, slots=True)
class CountedEvent:
    """An event as an aggregation sees it.

    Attributes:
        at: when it happened.
        value: the number at the metric's path; None where it has none (COUNT).
        raw: the value as text, for distinct counting.
        id: decides which is later of two events at the same moment.
    """

    at: datetime
    value: Decimal | None
    raw: str
    id: str


class UsageState(msgspec.Struct, frozen=True):
    """What windows and edge events combine to; every aggregation reads its quantity off it.

    Attributes:
        area: level × seconds over the interval, exact.
        seconds: length of the interval; only known where an aggregation needs it.
    """

    sum: Decimal = Decimal(0)
    count: int = 0
    min: Decimal | None = None
    max: Decimal | None = None
    latest: Decimal | None = None
    uniques: int = 0
    area: Decimal = Decimal(0)
    seconds: Decimal = Decimal(0)


class Aggregation(Protocol):
    """One way to turn events into a quantity: from combined states, and slowly from the events themselves.

    Attributes:
        CODE: name on the wire.
        IS_SUMMABLE: quantities of parts of a period add up to the whole's.
    """

    CODE: ClassVar[str]
    IS_SUMMABLE: ClassVar[bool]

    @staticmethod
    def fold(events: Iterable[CountedEvent], period: Period | None = None) -> Decimal | None:
        """Give the quantity of some events, slowly and obviously; None when there is no quantity.

        Args:
            events: those of the interval; for a time-weighted sum also all before it.
            period: the interval, where the quantity depends on its length.
        """
        ...

    @staticmethod
    def of_state(state: UsageState) -> Decimal | None:
        """Give the same quantity from combined states."""
        ...
