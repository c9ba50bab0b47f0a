"""Anchors from the calendar: a day of the month or of the week, at the midnight of a time zone."""

import calendar
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.catalog.domain.days import find_day_problem
from apps.kernel.time import Cadence, boundary, index_at
from apps.subscriptions.domain.anchors import calendar_anchor
from tests.subscriptions.test_grid import ZONES, instants


def local_days(text: str, day: int, month: int | None, since: str, count: int = 4, tz: str = "UTC") -> list[str]:
    """Give the local times that periods begin at, from a date on."""
    cadence, zone = Cadence.parse(text), ZoneInfo(tz)
    anchor = calendar_anchor(cadence=cadence, day=day, month=month, tz=tz)
    before = datetime.fromisoformat(since).replace(tzinfo=zone) - timedelta(microseconds=1)
    n = index_at(anchor, cadence, before, tz) + 1
    return [boundary(anchor, cadence, k, tz).astimezone(zone).strftime("%Y-%m-%d %H:%M") for k in range(n, n + count)]


@pytest.mark.parametrize(
    ("cadence", "day", "month", "since", "expected"),
    [
        ("P1M", 31, None, "2026-01-01", ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]),
        ("P1M", 30, None, "2028-01-01", ["2028-01-30", "2028-02-29", "2028-03-30", "2028-04-30"]),
        ("P1M", 29, None, "2027-02-01", ["2027-02-28", "2027-03-29", "2027-04-29", "2027-05-29"]),
        ("P3M", 31, 4, "2026-02-01", ["2026-04-30", "2026-07-31", "2026-10-31", "2027-01-31"]),
        ("P3M", 15, None, "2026-01-01", ["2026-01-15", "2026-04-15", "2026-07-15", "2026-10-15"]),
        ("P1Y", 1, None, "2026-01-01", ["2026-01-01", "2027-01-01", "2028-01-01", "2029-01-01"]),
        ("P1Y", 31, 2, "2026-01-01", ["2026-02-28", "2027-02-28", "2028-02-29", "2029-02-28"]),
        ("P6M", 30, 6, "2026-01-01", ["2026-06-30", "2026-12-30", "2027-06-30", "2027-12-30"]),
        ("P1W", 1, None, "2026-01-01", ["2026-01-05", "2026-01-12", "2026-01-19", "2026-01-26"]),
        ("P2W", 7, None, "2026-01-01", ["2026-01-04", "2026-01-18", "2026-02-01", "2026-02-15"]),
    ],
)
def test_days_of_the_calendar(cadence: str, day: int, month: int | None, since: str, expected: list[str]) -> None:
    for tz in ("UTC", "Australia/Sydney", "America/New_York"):
        assert local_days(cadence, day, month, since, tz=tz) == [f"{text} 00:00" for text in expected]


@given(
    text=st.sampled_from(["P1M", "P2M", "P3M", "P5M", "P6M", "P1Y", "P18M", "P2Y"]),
    day=st.integers(1, 31),
    month=st.one_of(st.none(), st.integers(1, 12)),
    tz=st.sampled_from(ZONES),
    instant=instants,
)
def test_every_period_begins_on_the_day_or_the_months_last(
    text: str, day: int, month: int | None, tz: str, instant: datetime
) -> None:
    cadence = Cadence.parse(text)
    anchor = calendar_anchor(cadence=cadence, day=day, month=month, tz=tz)
    n = index_at(anchor, cadence, instant, tz)
    zone = ZoneInfo(tz)
    for k in range(n, n + 5):
        begin = boundary(anchor, cadence, k, tz).astimezone(zone)
        assert begin.day == min(day, calendar.monthrange(begin.year, begin.month)[1])
        if month is not None and 12 % cadence.months == 0:
            assert (begin.month - month) % cadence.months == 0


def test_weeks_begin_on_their_day() -> None:
    for day in range(1, 8):
        anchor = calendar_anchor(cadence=Cadence.parse("P1W"), day=day, month=None, tz="Asia/Kolkata")
        local = anchor.astimezone(ZoneInfo("Asia/Kolkata"))
        assert (local.isoweekday(), local.time().isoformat()) == (day, "00:00:00")
        assert anchor + timedelta(days=7) == boundary(anchor, Cadence.parse("P1W"), 1, "Asia/Kolkata")


@pytest.mark.parametrize(
    ("cadence", "day", "month", "word"),
    [
        ("P10D", 1, None, "weeks"),
        ("P1M", 0, None, "31"),
        ("P1W", 8, None, "Monday"),
        ("P1M", 1, 3, "several months"),
        ("P1Y", None, 3, "day of the month"),
        ("P3M", 1, 13, "several months"),
    ],
)
def test_days_that_a_cadence_has_not(cadence: str, day: int | None, month: int | None, word: str) -> None:
    assert word in (find_day_problem(Cadence.parse(cadence), day, month) or "")


def test_days_that_a_cadence_has() -> None:
    assert find_day_problem(Cadence.parse("P1M"), None, None) is None
    assert find_day_problem(Cadence.parse("P2W"), 7, None) is None
    assert find_day_problem(Cadence.parse("P1Y"), 31, 4) is None
