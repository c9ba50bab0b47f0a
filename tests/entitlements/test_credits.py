"""What usage draws, as figures: the arithmetic of taps."""

from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from apps.entitlements.domain.credits import Tap
from apps.rating.price_models import parse_properties
from tests.world import at

START = at("2026-01-01T00:00:00Z")
DAY = timedelta(days=1)
PLAIN = Tap(parse_properties("standard", {"unitPrice": "0.25"}), True, START, START + 10 * DAY)
BANDS = {"tiers": [{"upTo": "100", "unitPrice": "5"}, {"upTo": None, "unitPrice": "3"}]}
BANDED = Tap(parse_properties("volume", BANDS), False, START)


def test_a_tap_draws_in_its_own_time_alone() -> None:
    assert PLAIN.within(START - DAY, START) is None
    assert PLAIN.within(START - DAY, START + DAY) == (START, START + DAY)
    assert PLAIN.within(START + 9 * DAY, START + 20 * DAY) == (START + 9 * DAY, START + 10 * DAY)
    assert PLAIN.within(START + 10 * DAY, START + 20 * DAY) is None
    assert BANDED.within(START + DAY, START + 90 * DAY) == (START + DAY, START + 90 * DAY)


def test_bands_look_at_all_since_the_beginning() -> None:
    span = (START + DAY, START + 2 * DAY)
    assert PLAIN.asks_for(span) == span
    assert BANDED.asks_for(span) == (START, START + 2 * DAY)
    assert PLAIN.drawn([Decimal(4), Decimal(8)]) == [1, 2]
    assert BANDED.drawn([Decimal(100), Decimal(101), Decimal(201)]) == [500, -197, 300]


def test_what_more_costs() -> None:
    assert PLAIN.cost(Decimal(4), used=Decimal(1000)) == 1
    assert [BANDED.cost(Decimal(more), used=Decimal(90)) for more in (10, 11, 70)] == [50, 0, 30]


@given(st.lists(st.decimals(0, 500, places=2), min_size=1, max_size=12))
def test_what_spans_draw_is_what_the_whole_does(totals: list[Decimal]) -> None:
    rising = [sum(totals[: n + 1], Decimal(0)) for n in range(len(totals))]
    assert sum(BANDED.drawn(rising)) == BANDED.credits(rising[-1])
    assert sum(PLAIN.drawn(totals)) == PLAIN.credits(rising[-1])
