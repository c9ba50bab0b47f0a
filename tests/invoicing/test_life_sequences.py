"""Whatever a subscription goes through: time is tiled, bills are what was shown, nothing is given back twice."""

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.invoicing.models import Invoice
from apps.kernel.money import round_money
from apps.kernel.time import Cadence, Period
from apps.rating.adjustments import part_of
from apps.rating.reading import recompute
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.subscriptions import endless_grid_of, pauses_of
from apps.subscriptions.selectors.timeline import timeline_of
from tests.invoicing.lives import (
    HOUR,
    PRICES,
    START,
    Life,
    Move,
    calculated,
    counts,
    deals,
    ends,
    pauses,
    usage,
    waits,
)
from tests.world import make_world

pytestmark = pytest.mark.django_db(transaction=True)

MONTH = Cadence.parse("P1M")
plain = st.lists(st.one_of(waits, waits, usage, ends, pauses, counts), min_size=4, max_size=12)
dealing = st.lists(st.one_of(waits, waits, usage, ends, pauses, counts, deals, deals), min_size=4, max_size=12)
few = settings(max_examples=12, suppress_health_check=list(HealthCheck))


@few
@given(moves=plain)
def test_each_moment_is_paid_for_once(moves: list[Move]) -> None:
    life = Life(make_world()).begin()
    life.play(moves)
    life.finish()
    _check_tiles(life)
    assert _fees(life.chain()[0])
    for subscription in life.chain():
        for start, gross in _fees(subscription).items():
            assert gross == _owed(subscription, start), (subscription.public_id, start)
    _check_usage(life)


@few
@given(moves=dealing)
def test_with_discounts_and_coupons_nobody_is_given_back_more_than_was_paid(moves: list[Move]) -> None:
    life = Life(make_world()).begin()
    life.play(moves)
    life.finish()
    _check_tiles(life)
    for subscription in life.chain():
        for start, gross in _fees(subscription).items():
            assert 0 <= gross <= _owed(subscription, start) + Decimal("0.05"), (subscription.public_id, start)
    _check_usage(life)


TAKEN_BACK = [
    [("cancel", None), ("undo",)],
    [("cancel", 300), ("undo",)],
    [("change", "period_end"), ("undo",)],
    [("change", 700), ("cancel", 100), ("undo",)],
    [("pause",), ("resume",)],
]


@few
@given(
    before=st.lists(st.one_of(waits, usage, pauses, deals), max_size=5),
    nothing=st.sampled_from(TAKEN_BACK),
    after=st.lists(st.one_of(waits, usage, ends, deals), max_size=4),
)
def test_what_is_taken_back_at_once_is_nothing(before: list[Move], nothing: list[Move], after: list[Move]) -> None:
    shop = Life(make_world())
    one, other = shop.begin(), shop.begin()
    for life, between in ((one, []), (other, nothing)):
        life.play(before)
        # Of one that is paused already the pair would be the end of its pause.
        life.play(between if life.chain()[-1].paused_at is None or between[:1] != [("pause",)] else [])
        life.play(after)
        life.finish()
    assert other.bills() == one.bills()


def _check_tiles(life: Life) -> None:
    rows = Invoice.objects.filter(subscription__in=life.chain(), sequence_number__gt=0, part=0)
    periods = sorted((row.period_start, row.period_end) for row in rows if row.status != "CANCELLED")
    assert periods[0][0] == START
    for before, after in pairwise(periods):
        assert before[1] == after[0]
    for line in calculated(life.chain()):
        assert recompute(line.provenance) == line.gross


def _fees(subscription: Subscription) -> dict[datetime, Decimal]:
    """Give what the calculated bills charge of each period of the fee, all given back and taken off."""
    grid = endless_grid_of(subscription)
    found: dict[datetime, Decimal] = defaultdict(Decimal)
    for line in calculated([subscription]):
        if line.price_revision is not None and line.price_revision.fee is not None:
            slot = grid.slot_at(MONTH, line.period_start)
            assert slot is not None
            found[slot.whole.start] += line.gross
    return found


def _owed(subscription: Subscription, start: datetime) -> Decimal:
    """Ask every hour of a period what it cost: the slow way, rounded once."""
    grid, timeline, paused = endless_grid_of(subscription), timeline_of(subscription), pauses_of(subscription)
    slot = grid.slot_at(MONTH, max(start, subscription.started_at))
    assert slot is not None
    whole = slot.whole
    ends_at = subscription.terminated_at or subscription.cancels_at
    owed, at = Fraction(0), whole.start
    while at < whole.end:
        is_served = subscription.started_at <= at and (ends_at is None or at < ends_at)
        if is_served and not paused.hold(at):
            terms = timeline.terms_at("seats", at)
            count = Decimal(1) if terms is None or terms.quantity is None else terms.quantity
            owed += Fraction(PRICES[subscription.plan.name][0]) * Fraction(count) / _hours(whole)
        at += HOUR
    return round_money(part_of(Decimal(1), owed), "USD")


def _hours(period: Period) -> int:
    return int((period.end - period.start) / HOUR)


def _check_usage(life: Life) -> None:
    """Every token that was sent is billed once, at the price of the subscription that it fell into."""
    for subscription in life.chain():
        closed = Invoice.objects.filter(
            subscription=subscription, calculated_at__isnull=False, sequence_number__gt=0
        ).exclude(status="CANCELLED")
        until = max((row.period_end for row in closed), default=subscription.started_at)
        tokens = sum(count for at, count in life.sent if subscription.started_at <= at < until)
        billed = sum(
            (line.gross for line in calculated([subscription]) if line.kind == "metered"),
            Decimal(0),
        )
        assert billed == tokens * PRICES[subscription.plan.name][1]
