"""Usage the slow way: every answer worked out from the raw events, one by one, in plain Python."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from apps.kernel.time import Period
from apps.metering.aggregations import CountedEvent, get

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Known:
    """An event that counts, and what it may be grouped and filtered by."""

    subject: str
    groups: dict[str, str]
    event: CountedEvent


@dataclass(frozen=True, slots=True)
class Answer:
    quantity: Decimal | None
    events: int


def quantity(code: str, events: Sequence[Known], start: datetime, end: datetime) -> Decimal | None:
    """Give the quantity of `[start, end)`."""
    before_too = code == "WEIGHTED_SUM"
    counted = [known.event for known in events if known.event.at < end and (before_too or known.event.at >= start)]
    return get(code).fold(counted, Period(start, end))


def local_window(at: datetime, size: str, zone: ZoneInfo) -> tuple[str, ...]:
    """Name the window of an instant by what clocks on the wall there show."""
    local = at.astimezone(zone)
    if size == "MONTH":
        return (f"{local:%Y-%m}",)
    if size == "DAY":
        return (f"{local:%Y-%m-%d}",)
    # An hour that clocks repeat is two windows.
    return (f"{local:%Y-%m-%d %H}" if size == "HOUR" else f"{local:%Y-%m-%d %H:%M}", f"{local:%z}")


def windows(start: datetime, end: datetime, size: str | None, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    """Give the parts of `[start, end)`, found by looking at every minute of it."""
    if size is None:
        yield start, end
        return
    begin, name = start, local_window(start, size, zone)
    moment = start.replace(second=0, microsecond=0)
    while moment < end:
        found = local_window(moment, size, zone)
        if found != name and moment > begin:
            yield begin, moment
            begin, name = moment, found
        moment += timedelta(minutes=1)
    yield begin, end


def answers(
    code: str,
    events: Sequence[Known],
    start: datetime,
    end: datetime,
    *,
    size: str | None,
    tz: str,
    group_of: Callable[[Known], tuple[str, ...]],
) -> dict[tuple[datetime, tuple[str, ...]], Answer]:
    """Give every answer by the start of its part of the interval and its group; parts without anything have none."""
    found: dict[tuple[datetime, tuple[str, ...]], Answer] = {}
    for group in {group_of(known) for known in events}:
        own = [known for known in events if group_of(known) == group]
        for a, z in windows(start, end, size, ZoneInfo(tz)):
            inside = sum(1 for known in own if a <= known.event.at < z)
            began = any(known.event.at < z for known in own) if code == "WEIGHTED_SUM" else inside > 0
            if began:
                found[a, group] = Answer(quantity(code, own, a, z), inside)
    return found


__all__ = ["UTC", "Answer", "Known", "answers", "quantity", "windows"]
