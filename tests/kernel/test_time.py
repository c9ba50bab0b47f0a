from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kernel.time import (
    Cadence,
    Period,
    PeriodError,
    add,
    boundary,
    floor_hour,
    format_instant,
    index_at,
    parse_instant,
    period_at,
    prorate,
    ratio,
)

ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"]
instants = st.integers(946_684_800, 2_524_608_000).map(lambda s: datetime.fromtimestamp(s, UTC))
cadences = st.sampled_from(["P1D", "P1W", "P1M", "P2M", "P3M", "P6M", "P1Y", "PT1H"]).map(Cadence.parse)


@given(anchor=instants, cadence=cadences, at=instants, tz=st.sampled_from(ZONES))
def test_periods_tile_time(anchor: datetime, cadence: Cadence, at: datetime, tz: str) -> None:
    n = index_at(anchor, cadence, at, tz)
    here = period_at(anchor, cadence, at, tz)
    assert here.contains(at)
    assert here == Period(boundary(anchor, cadence, n, tz), boundary(anchor, cadence, n + 1, tz))
    assert boundary(anchor, cadence, n + 2, tz) > here.end
    assert period_at(anchor, cadence, here.end, tz).start == here.end
    assert period_at(anchor, cadence, here.start - timedelta(microseconds=1), tz).end == here.start


def test_month_steps_count_from_the_anchor() -> None:
    anchor = datetime(2023, 12, 31, 15, tzinfo=UTC)
    days = [boundary(anchor, Cadence.parse("P1M"), n).strftime("%m-%d") for n in range(-2, 5)]
    assert days == ["10-31", "11-30", "12-31", "01-31", "02-29", "03-31", "04-30"]


def test_boundaries_keep_local_time_across_summer_time() -> None:
    anchor = parse_instant("2026-03-01T05:00:00Z")  # midnight in New York
    found = boundary(anchor, Cadence.parse("P1M"), 1, "America/New_York")
    assert format_instant(found) == "2026-04-01T04:00:00Z"
    assert format_instant(boundary(anchor, Cadence.parse("P1M"), 1)) == "2026-04-01T05:00:00Z"


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("P1M", "P1M"),
        ("P12M", "P1Y"),
        ("P2W", "P14D"),
        ("PT90M", "PT1H30M"),
        ("P0D", "P0D"),
        ("P1Y2M3DT4S", "P1Y2M3DT4S"),
    ],
)
def test_durations_read_and_write(text: str, iso: str) -> None:
    assert Cadence.parse(text).iso == iso
    assert Cadence.parse(iso) == Cadence.parse(text)


@pytest.mark.parametrize("text", ["", "P", "PT", "1M", "P1", "P-1M", "P1MT", "P1.5M"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        Cadence.parse(text)
    with pytest.raises(ValueError, match="one-time"):
        index_at(datetime(2026, 1, 1, tzinfo=UTC), Cadence.parse("P0D"), datetime(2026, 1, 1, tzinfo=UTC))


@given(
    start=instants, seconds=st.integers(2, 10**7), cut=st.integers(1, 10**7), full=st.decimals(-100, 100, places=2)
)
def test_parts_of_a_period_are_worth_the_whole(start: datetime, seconds: int, cut: int, full: Decimal) -> None:
    whole = Period(start, start + timedelta(seconds=seconds))
    middle = start + timedelta(seconds=1 + cut % (seconds - 1))
    left, right = Period(start, middle), Period(middle, whole.end)
    assert ratio(left, whole, basis="second") + ratio(right, whole, basis="second") == 1
    assert prorate(full, part=whole, whole=whole) == full
    both = prorate(full, part=left, whole=whole) + prorate(full, part=right, whole=whole)
    assert abs(both - full) < Decimal("1e-20")


def test_proration_by_days_counts_local_days() -> None:
    whole = Period(parse_instant("2026-03-01T05:00:00Z"), parse_instant("2026-04-01T04:00:00Z"))
    part = Period(parse_instant("2026-03-22T04:00:00Z"), whole.end)
    assert prorate(Decimal(31), part=part, whole=whole, basis="day", tz="America/New_York") == 10
    assert prorate(Decimal(31), part=part, whole=whole, basis="none") == 31
    with pytest.raises(ValueError, match="basis"):
        ratio(part, whole, basis="moon")


def test_intervals_are_half_open() -> None:
    period = Period(parse_instant("2026-01-01"), parse_instant("2026-02-01"))
    assert period.contains(period.start)
    assert not period.contains(period.end)
    assert period.intersect(Period(period.end, period.end + timedelta(days=1))) is None
    assert period.intersect(period) == period
    assert period.seconds == 31 * 86400
    with pytest.raises(PeriodError):
        Period(period.end, period.start)
    with pytest.raises(PeriodError):
        ratio(Period(period.start, period.end + timedelta(days=1)), period, basis="second")


def test_instants() -> None:
    assert format_instant(parse_instant("2023-11-16 18:17:03.9799600")) == "2023-11-16T18:17:03.979960Z"
    assert format_instant(parse_instant("2026-01-01T00:00:00+05:30")) == "2025-12-31T18:30:00Z"
    assert parse_instant("2026-01-01") == datetime(2026, 1, 1, tzinfo=UTC)
    assert floor_hour(parse_instant("2026-01-01T12:59:59.9")) == parse_instant("2026-01-01T12:00")
    assert add(parse_instant("2024-02-29"), Cadence.parse("P1Y")) == parse_instant("2025-02-28")
