"""Anchors that a calendar gives: the first of the month, the 31st, every Monday, in the customer's time zone."""

import calendar
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from apps.kernel.time import Cadence, add_months

# Long ago, so that every service lies after it; 2000 was a leap year, and the 3rd a Monday.
JANUARY, MONDAY = date(2000, 1, 1), date(2000, 1, 3)
# So many periods back, every month that a cadence meets had its greatest length, February too.
LOOKED_AT = 48


def calendar_anchor(*, cadence: Cadence, day: int, month: int | None, tz: str) -> datetime:
    """Give the instant that periods count from so that they begin on a day of the calendar, at local midnight.

    Args:
        cadence: of months, or of whole weeks.
        day: of the month, 1 to 31, where a month that lacks it gives its last; of the week, 1 (Monday) to 7.
        month: 1 to 12, one in which a period of several months begins; None: January.
        tz: whose midnight.
    """
    if cadence.months:
        first = JANUARY.replace(month=month or 1)
        # The anchor's own day is what later months are clamped from, so it must lie in a month that has it.
        begun = (add_months(first, -back) for back in range(0, LOOKED_AT * cadence.months, cadence.months))
        longest = max(begun, key=lambda begin: (min(day, _length(begin)), begin))
        on = longest.replace(day=min(day, _length(longest)))
    else:
        on = MONDAY + timedelta(days=day - 1)
    return datetime.combine(on, time(), tzinfo=ZoneInfo(tz)).astimezone(UTC)


def _length(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]
