"""Months of raw events, in UTC, and the partitions they are kept in."""

import re
from datetime import UTC, date, datetime

PREFIX = "metering_event_"
_NAME = re.compile(PREFIX + r"(\d{4})_(\d{2})")


def month_of(instant: datetime) -> date:
    """Give the first day of an instant's month."""
    return instant.astimezone(UTC).date().replace(day=1)


def next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def bounds(month: date) -> tuple[datetime, datetime]:
    """Give a month as a half-open interval."""
    end = next_month(month)
    return datetime(month.year, month.month, 1, tzinfo=UTC), datetime(end.year, end.month, 1, tzinfo=UTC)


def partition_name(month: date) -> str:
    return f"{PREFIX}{month:%Y_%m}"


def month_of_partition(name: str) -> date | None:
    """Give the month of a partition by its name; None for the one that takes all others."""
    found = _NAME.fullmatch(name)
    return date(int(found[1]), int(found[2]), 1) if found else None


def parse_month(text: str) -> date:
    """Read `2026-01`.

    Raises:
        ValueError: it is no month.
    """
    return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
