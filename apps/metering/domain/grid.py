"""Windows of time in a time zone, and which hours of an interval can be read whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from apps.kernel.time import add_months, floor_hour

SIZES = ("MINUTE", "HOUR", "DAY", "MONTH")
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


class TooManyWindowsError(ValueError):
    """An interval that has more windows than an answer may hold."""


@dataclass(frozen=True, slots=True)
class HourPlan:
    """How an interval is read.

    Attributes:
        first, last: windows are read for the UTC hours in `[first, last)`; no first means from the beginning …
        cut_hours: … except these, which a boundary cuts.
        ranges: half-open intervals that are read from the events themselves.
    """

    first: datetime | None
    last: datetime
    cut_hours: tuple[datetime, ...]
    ranges: tuple[tuple[datetime, datetime], ...]


def boundaries(
    start: datetime, end: datetime, size: str | None, tz: str = "UTC", *, limit: int = 50_000
) -> list[datetime]:
    """Give the edges of the windows that `[start, end)` touches; n windows have n + 1 edges.

    Days and months begin at local midnight, hours at the local full hour; so a day may have 23 or 25 hours, and where
    clocks move by half an hour one hour is a short one. Without a size there is one window, the interval itself.

    Raises:
        TooManyWindowsError: there are more than `limit`.
    """
    if size is None:
        return [start, end]
    edges: list[datetime] = []
    for edge in _edges(start, size, ZoneInfo(tz)):
        # A zone that skips a whole day gives its midnight and the next day's as the same instant.
        if edges and edge <= edges[-1]:
            continue
        if edge <= start:
            edges = [edge]
        else:
            edges.append(edge)
        if edge >= end:
            return edges
        if len(edges) > limit:
            break
    raise TooManyWindowsError(f"the interval has more than {limit} windows of this size")


def plan_hours(start: datetime | None, end: datetime, edges: Sequence[datetime] = ()) -> HourPlan:
    """Decide which hours of `[start, end)` are read from windows and which spans from events.

    Args:
        start: start of the interval; None means from the beginning.
        end: its end.
        edges: instants at which what is read must be told apart; those outside of the interval do not matter.
    """
    bounds = [end] if start is None else [start, end]
    inner = [edge for edge in edges if edge < end and (start is None or start < edge)]
    cut = sorted({floor_hour(edge) for edge in (*bounds, *inner) if edge != floor_hour(edge)})
    ranges: list[tuple[datetime, datetime]] = []
    for hour in cut:
        a, z = hour if start is None else max(hour, start), min(hour + HOUR, end)
        if ranges and ranges[-1][1] == a:
            ranges[-1] = (ranges[-1][0], z)
        elif a < z:
            ranges.append((a, z))
    return HourPlan(None if start is None else floor_hour(start), end, tuple(cut), tuple(ranges))


# Those who are billed together ask for the same intervals.
@lru_cache(maxsize=4096)
def whole_hours(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Give the full hours inside an interval; an empty pair at its end when there are none."""
    first = floor_hour(start)
    if first < start:
        first += HOUR
    last = floor_hour(end)
    return (first, last) if first < last else (end, end)


def edge_spans(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Give what is read from events: from the start to the first whole hour, and from the last to the end."""
    first, last = whole_hours(start, end)
    for a, z in ((start, first), (last, end)):
        if a < z:
            yield a, z


def _edges(start: datetime, size: str, zone: ZoneInfo) -> Iterator[datetime]:
    """Give edges from one at or before `start` on, without end."""
    if size == "MINUTE":
        yield from _minutes(start)
    elif size == "HOUR":
        yield from _hours(start, zone)
    else:
        yield from _midnights(start, zone, by_month=size == "MONTH")


def _minutes(start: datetime) -> Iterator[datetime]:
    edge = start.replace(second=0, microsecond=0)
    while True:
        yield edge
        edge += MINUTE


def _hours(start: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    # Two hours before is before any local full hour that could hold the start, however clocks move in between.
    edge = start - 2 * HOUR
    edge -= _into_hour(edge, zone)
    while True:
        yield edge
        edge += HOUR - _into_hour(edge, zone)


def _into_hour(instant: datetime, zone: ZoneInfo) -> timedelta:
    local = instant.astimezone(zone)
    return timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _midnights(start: datetime, zone: ZoneInfo, *, by_month: bool) -> Iterator[datetime]:
    day = start.astimezone(zone).date()
    day = add_months(day.replace(day=1), -1) if by_month else day - timedelta(days=1)
    while True:
        yield _midnight(day, zone)
        day = add_months(day, 1) if by_month else day + timedelta(days=1)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    # A midnight that clocks skip or repeat is taken as its first reading.
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
