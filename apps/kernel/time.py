"""Billing time: half-open intervals, steps that count from an anchor, proration."""

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from zoneinfo import ZoneInfo

from apps.kernel.money import EXACT

_DURATION = re.compile(
    r"P(?:(?P<years>\d{1,4})Y)?(?:(?P<months>\d{1,4})M)?(?:(?P<weeks>\d{1,4})W)?(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?:(?P<hours>\d{1,5})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,8})S)?)?"
)
WHOLE = Fraction(1)
_LONG_FRACTION = re.compile(r"(\.\d{6})\d+")


class PeriodError(ValueError):
    """An interval that is empty, reversed, or not inside another."""


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A half-open interval `[start, end)` of aware UTC instants."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise PeriodError(f"{self.start.isoformat()} is not before {self.end.isoformat()}")

    @property
    def microseconds(self) -> int:
        return (self.end - self.start) // timedelta(microseconds=1)

    @property
    def seconds(self) -> Decimal:
        return Decimal(self.microseconds).scaleb(-6)

    def contains(self, instant: datetime) -> bool:
        return self.start <= instant < self.end

    def intersect(self, other: "Period") -> "Period | None":
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Period(start, end) if start < end else None


@dataclass(frozen=True, slots=True)
class Cadence:
    """A step of the calendar: months, then days, then seconds; all zero means once."""

    months: int = 0
    days: int = 0
    seconds: int = 0

    @staticmethod
    @lru_cache(maxsize=256)
    def parse(text: str) -> "Cadence":
        """Read an ISO 8601 duration: `P1M`, `P1Y`, `P2W`, `PT1H`; `P0D` means once.

        Raises:
            ValueError: the text is not one.
        """
        found = _DURATION.fullmatch(text)
        if found is None or text in {"P", "PT"} or text.endswith("T"):
            raise ValueError(f"{text!r} is not an ISO 8601 duration such as P1M")
        part = {name: int(value or 0) for name, value in found.groupdict().items()}
        return Cadence(
            months=part["years"] * 12 + part["months"],
            days=part["weeks"] * 7 + part["days"],
            seconds=part["hours"] * 3600 + part["minutes"] * 60 + part["seconds"],
        )

    @property
    def is_once(self) -> bool:
        return not (self.months or self.days or self.seconds)

    @property
    def iso(self) -> str:
        """The shortest ISO 8601 form, whole years as years."""
        if self.is_once:
            return "P0D"
        years, months = divmod(self.months, 12)
        text = "P" + "".join(f"{n}{u}" for n, u in ((years, "Y"), (months, "M"), (self.days, "D")) if n)
        if self.seconds:
            hours, rest = divmod(self.seconds, 3600)
            minutes, seconds = divmod(rest, 60)
            text += "T" + "".join(f"{n}{u}" for n, u in ((hours, "H"), (minutes, "M"), (seconds, "S")) if n)
        return text


def add_months(day: date, months: int) -> date:
    """Step whole months; a day the month lacks becomes its last."""
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


# Charges ask for the few steps around their period again and again, and many subscriptions share an anchor.
@lru_cache(maxsize=8192)
def boundary(anchor: datetime, cadence: Cadence, n: int, tz: str = "UTC") -> datetime:
    """Give the n-th step counted from the anchor: 31 Jan, 28 Feb, 31 Mar.

    Months and days step in the local calendar of `tz`, so that a boundary keeps its local time of day across a
    change to summer time; n may be negative.
    """
    zone = ZoneInfo(tz)
    local = anchor.astimezone(zone)
    day = add_months(local.date(), cadence.months * n) + timedelta(days=cadence.days * n)
    # A local time that the clock skips or repeats is taken as its first reading, as ISO calendars do.
    moved = (
        datetime.combine(day, local.time().replace(fold=0), tzinfo=zone) if cadence.months or cadence.days else anchor
    )
    return moved.astimezone(UTC) + timedelta(seconds=cadence.seconds * n)


# As often asked as boundaries.
@lru_cache(maxsize=8192)
def index_at(anchor: datetime, cadence: Cadence, instant: datetime, tz: str = "UTC") -> int:
    """Give n with `boundary(n) <= instant < boundary(n + 1)`.

    Raises:
        ValueError: the cadence is "once" and has no steps.
    """
    if cadence.is_once:
        raise ValueError("a one-time cadence has no periods")
    average = cadence.months * 2_629_746 + cadence.days * 86_400 + cadence.seconds
    n = int((instant - anchor).total_seconds() // average)
    while boundary(anchor, cadence, n, tz) > instant:
        n -= 1
    while boundary(anchor, cadence, n + 1, tz) <= instant:
        n += 1
    return n


def period_at(anchor: datetime, cadence: Cadence, instant: datetime, tz: str = "UTC") -> Period:
    """Give the period of the anchored calendar that holds an instant."""
    n = index_at(anchor, cadence, instant, tz)
    return Period(boundary(anchor, cadence, n, tz), boundary(anchor, cadence, n + 1, tz))


def add(instant: datetime, cadence: Cadence, tz: str = "UTC") -> datetime:
    """Give the instant one step later."""
    return boundary(instant, cadence, 1, tz)


def floor_hour(instant: datetime) -> datetime:
    """Move an instant back to its full hour."""
    if not (instant.minute or instant.second or instant.microsecond):
        return instant
    return instant.replace(minute=0, second=0, microsecond=0)


def parse_instant(text: str) -> datetime:
    """Read an ISO 8601 instant as UTC; without an offset it is UTC; digits beyond microseconds are cut.

    Raises:
        ValueError: the text is not an instant.
    """
    instant = datetime.fromisoformat(_LONG_FRACTION.sub(r"\1", text.strip()))
    if instant.tzinfo is None:
        return instant.replace(tzinfo=UTC)
    return instant.astimezone(UTC)


def format_instant(instant: datetime) -> str:
    """Write an instant as `2026-01-31T12:00:00Z`, with microseconds only where there are any."""
    if instant.tzinfo is UTC:
        return _utc_text(instant)
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


# The bounds of periods are written again and again. Only of UTC: elsewhere two instants of one clock time are equal.
@lru_cache(maxsize=4096)
def _utc_text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def ratio(part: Period, whole: Period, *, basis: str, tz: str = "UTC") -> Fraction:
    """Give which part of a period another is, exactly.

    Args:
        part: the part; must lie inside the whole.
        whole: the full period.
        basis: "second" by elapsed time, "day" by local calendar days touched, "none" always the whole.
        tz: time zone of the days.

    Raises:
        PeriodError: the part sticks out.
    """
    if part.start < whole.start or part.end > whole.end:
        raise PeriodError("the part does not lie inside the whole")
    if basis == "none" or (part == whole and basis in ("day", "second")):
        return WHOLE
    if basis == "day":
        return Fraction(local_days(part, tz), local_days(whole, tz))
    if basis == "second":
        return Fraction(part.microseconds, whole.microseconds)
    raise ValueError(f"unknown basis of proration: {basis}")


def prorate(full: Decimal, *, part: Period, whole: Period, basis: str = "second", tz: str = "UTC") -> Decimal:
    """Price the used part of a period.

    Returns:
        Major units to 80 digits, not rounded to money; `part == whole` gives `full`.

    Raises:
        PeriodError: the part sticks out of the whole.
    """
    share = ratio(part, whole, basis=basis, tz=tz)
    return EXACT.divide(EXACT.multiply(full, Decimal(share.numerator)), Decimal(share.denominator))


def local_days(period: Period, tz: str) -> int:
    """Count the local calendar days of a period by the days its ends fall on, at least one."""
    zone = ZoneInfo(tz)
    first, last = period.start.astimezone(zone).date(), period.end.astimezone(zone).date()
    return max((last - first).days, 1)
