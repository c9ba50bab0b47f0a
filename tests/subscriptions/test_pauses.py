"""Paused time takes its share of a period, exactly, and never more than there is."""

import itertools
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from apps.kernel.time import Period, parse_instant, ratio
from apps.subscriptions.domain.pauses import Pauses

START = datetime(2026, 3, 1, 7, 30, tzinfo=UTC)
WHOLE = Period(START, datetime(2026, 4, 1, 7, 30, tzinfo=UTC))
HOURS = int((WHOLE.end - WHOLE.start) / timedelta(hours=1))
# Ends of pauses, some before and after the period, two and two.
cuts = st.lists(st.integers(-100, HOURS + 100), unique=True, min_size=2, max_size=24).map(sorted)


def pauses_at(hours: list[int]) -> Pauses:
    moments = [START + timedelta(hours=hour) for hour in hours]
    spans = list(itertools.batched(moments, 2)) if hasattr(itertools, "batched") else _pairs(moments)
    return Pauses(tuple((span[0], span[1] if len(span) == 2 else None) for span in spans))


def _pairs(moments: list[datetime]) -> list[tuple[datetime, ...]]:
    return [tuple(moments[n : n + 2]) for n in range(0, len(moments), 2)]


@given(hours=cuts, first=st.integers(0, HOURS - 1), length=st.integers(1, HOURS))
def test_hours_that_are_not_paused_are_what_is_left(hours: list[int], first: int, length: int) -> None:
    """The slow way: look at every hour."""
    service = Period(START + timedelta(hours=first), START + timedelta(hours=min(first + length, HOURS)))
    pauses = pauses_at(hours)
    awake = sum(not pauses.hold(START + timedelta(hours=hour)) for hour in range(first, min(first + length, HOURS)))
    assert pauses.active_share(service, WHOLE, basis="second", tz="UTC") == Fraction(awake, HOURS)


@given(hours=cuts, tz=st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"]))
def test_by_days_a_share_stays_within_the_whole_and_parts_add_up(hours: list[int], tz: str) -> None:
    pauses = pauses_at(hours)
    share = pauses.active_share(WHOLE, WHOLE, basis="day", tz=tz)
    assert 0 <= share <= 1
    # A pause that is ended and begun again at one moment takes what it takes in one piece.
    halves = []
    for start, end in pauses.spans:
        middle = start + timedelta(hours=1)
        halves += [(start, middle), (middle, end)] if end is not None and middle < end else [(start, end)]
    assert Pauses(tuple(halves)).active_share(WHOLE, WHOLE, basis="day", tz=tz) == share


def test_shares_by_basis() -> None:
    pauses = Pauses(((parse_instant("2026-03-11T12:00:00Z"), parse_instant("2026-03-21T11:00:00Z")),))
    january = Period(parse_instant("2026-03-01T00:00:00Z"), parse_instant("2026-04-01T00:00:00Z"))
    assert pauses.active_share(january, january, basis="day", tz="UTC") == Fraction(21, 31)
    assert pauses.active_share(january, january, basis="none", tz="UTC") == 1
    assert pauses.active_share(january, january, basis="second", tz="UTC") == Fraction(31 * 24 - 239, 31 * 24)
    inside = Period(parse_instant("2026-03-12T00:00:00Z"), january.end)
    assert pauses.active_share(inside, january, basis="none", tz="UTC") == 0
    asleep = Period(parse_instant("2026-03-12T00:00:00Z"), parse_instant("2026-03-12T06:00:00Z"))
    for basis in ("second", "day", "none"):
        assert pauses.active_share(asleep, january, basis=basis, tz="UTC") == 0
    assert Pauses().active_share(inside, january, basis="day", tz="UTC") == ratio(inside, january, basis="day")
    lasting = Pauses(((parse_instant("2026-03-16T12:00:00Z"), None),))
    assert lasting.active_share(january, january, basis="second", tz="UTC") == Fraction(1, 2)
    assert lasting.hold(parse_instant("2030-01-01T00:00:00Z"))
