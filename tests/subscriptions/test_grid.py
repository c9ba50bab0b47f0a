"""Periods tile the service with no gap and no overlap, whatever the interval, the anchor, the zone and the ends."""

import itertools
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.invoicing.domain.charges import Charge, ChargeTerms, charges_due
from apps.kernel.time import Cadence, Period, boundary, parse_instant, ratio
from apps.subscriptions.domain.grid import Grid, Slot, own_anchor

MICROSECOND = timedelta(microseconds=1)
ZONES = ["UTC", "America/New_York", "Australia/Sydney", "Europe/Berlin", "Asia/Kolkata", "Pacific/Apia"]
CADENCES = ["P1D", "P10D", "P14D", "P2W", "P30D", "P1M", "P2M", "P6M", "P18M", "P1Y", "P2Y"]
# From before the day that Apia left out to after the years that this runs in; hours matter, seconds too.
instants = st.integers(1_262_304_000, 1_893_456_000).map(lambda s: datetime.fromtimestamp(s, UTC))
cadences = st.sampled_from(CADENCES)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    started = draw(instants)
    is_own = draw(st.booleans())
    tried = draw(st.one_of(st.none(), st.integers(1, 400 * 86_400)))
    trial_ends = None if tried is None else started + timedelta(seconds=tried)
    anchor = own_anchor(started, trial_ends) if is_own else draw(instants)
    length = draw(st.one_of(st.none(), st.integers(1, 4 * 366 * 86_400)))
    ends = None if length is None else started + timedelta(seconds=length)
    return Grid(
        anchor=anchor,
        starts_at=started,
        ends_at=ends,
        tz=draw(st.sampled_from(ZONES)),
        is_own=is_own,
        trial_ends_at=trial_ends,
    )


def walk(grid: Grid, cadence: Cadence, *, most: int = 10_000, until: datetime | None = None) -> list[Slot]:
    """Go through the periods as renewals do: the end of each is where the next is asked for."""
    found: list[Slot] = []
    at = grid.starts_at
    while len(found) < most and (until is None or at <= until) and (slot := grid.slot_at(cadence, at)):
        found.append(slot)
        at = slot.service.end
    return found


@given(grid=grids(), text=cadences)
def test_periods_tile_the_service(grid: Grid, text: str) -> None:
    slots = walk(grid, Cadence.parse(text), most=30)
    assert slots[0].service.start == grid.starts_at
    for before, after in itertools.pairwise(slots):
        assert before.service.end == after.service.start
        assert after.service.start in {after.whole.start, grid.trial_ends_at}
    for slot in slots:
        assert slot.whole.start <= slot.service.start
        assert slot.service.end <= slot.whole.end
        # What is tried and what is paid for never lie in the same period.
        assert grid.is_tried(slot.service.start) or not grid.is_tried(slot.service.end - MICROSECOND)
    # Only the first can be cut at its start, only the last at its end; a trial that ends cuts as well.
    assert all(slot.service.end in {slot.whole.end, grid.trial_ends_at} for slot in slots[:-1])
    if len(slots) < 30:
        assert slots[-1].service.end == grid.ends_at


@given(grid=grids(), plan=cadences, price=cadences, in_advance=st.booleans(), in_trial=st.booleans())
def test_bills_charge_every_moment_once(grid: Grid, plan: str, price: str, in_advance: bool, in_trial: bool) -> None:
    """Invoice 0 and the bills of the periods together carry each period of a price once, whatever its interval."""
    terms = ChargeTerms(
        revision_id=1,
        price_id="p",
        is_in_advance=in_advance,
        cadence=Cadence.parse(price),
        is_obligation=False,
        is_billed_in_trial=in_trial,
    )
    cadence = Cadence.parse(plan)

    def due(after: datetime, until: datetime) -> list[Charge]:
        return charges_due([terms], grid, after=after, until=until, plan_cadence=cadence)

    charges = due(grid.starts_at - MICROSECOND, grid.starts_at)  # Invoice 0
    periods = walk(grid, cadence, most=5)
    for slot in periods:
        charges += due(slot.service.start, slot.service.end)
    end = periods[-1].service.end
    expected = [
        slot
        for slot in walk(grid, Cadence.parse(price), until=end)
        if (slot.service.start if in_advance else slot.service.end) <= end
        and (in_trial or not grid.is_tried(slot.service.start))
    ]
    assert [charge.service for charge in charges] == [slot.service for slot in expected]
    assert [charge.whole for charge in charges] == [slot.whole for slot in expected]


@given(grid=grids(), text=cadences, basis=st.sampled_from(["second", "day"]))
def test_a_stub_and_what_it_lacks_are_the_whole(grid: Grid, text: str, basis: str) -> None:
    slot = walk(grid, Cadence.parse(text), most=1)[0]
    share = ratio(slot.service, slot.whole, basis=basis, tz=grid.tz)
    assert 0 < share <= 1
    if basis == "second":
        lacking = sum(
            (
                ratio(part, slot.whole, basis=basis)
                for part in (
                    Period(slot.whole.start, slot.service.start) if slot.whole.start < slot.service.start else None,
                    Period(slot.service.end, slot.whole.end) if slot.service.end < slot.whole.end else None,
                )
                if part is not None
            ),
            Fraction(0),
        )
        assert share + lacking == 1


def days(anchor: str, cadence: str, count: int, tz: str = "UTC") -> list[str]:
    start = parse_instant(anchor)
    return [boundary(start, Cadence.parse(cadence), n, tz).strftime("%Y-%m-%d") for n in range(1, count + 1)]


@pytest.mark.parametrize(
    ("anchor", "cadence", "expected"),
    [
        ("2023-12-31", "P1M", ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]),
        ("2023-01-29", "P1M", ["2023-02-28", "2023-03-29", "2023-04-29", "2023-05-29"]),
        ("2023-08-30", "P6M", ["2024-02-29", "2024-08-30", "2025-02-28", "2025-08-30"]),
        ("2024-02-29", "P1Y", ["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]),
        ("2024-02-29", "P2Y", ["2026-02-28", "2028-02-29", "2030-02-28", "2032-02-29"]),
        ("2024-02-20", "P14D", ["2024-03-05", "2024-03-19", "2024-04-02", "2024-04-16"]),
        ("2024-02-20", "P2W", ["2024-03-05", "2024-03-19", "2024-04-02", "2024-04-16"]),
    ],
)
def test_steps_keep_the_day_of_the_anchor(anchor: str, cadence: str, expected: list[str]) -> None:
    assert days(anchor, cadence, 4) == expected


def test_weeks_keep_their_hour_through_summer_time() -> None:
    """Two weeks in Sydney and New York are 14 local days, not 336 hours."""
    for tz, anchor in (("Australia/Sydney", "2026-03-27T13:00:00Z"), ("America/New_York", "2026-03-01T05:00:00Z")):
        start = parse_instant(anchor)
        after = boundary(start, Cadence.parse("P2W"), 1, tz)
        assert abs(after - start - timedelta(days=14)) == timedelta(hours=1)
