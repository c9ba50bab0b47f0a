"""What is asked for while the work of boundaries is late bills what it bills when the work is on time."""

import itertools
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from apps.catalog.models import Plan
from apps.invoicing.services.cancelling import schedule_cancellation
from apps.invoicing.services.changing import change_plan
from apps.invoicing.services.migrating import migrate_version
from apps.invoicing.services.pausing import pause_subscription
from apps.invoicing.services.previewing import preview_termination
from apps.invoicing.services.terminating import set_end, terminate_subscription
from apps.kernel.errors import ConflictError
from apps.subscriptions.models import Subscription
from tests.scenarios.lives import Shop
from tests.world import World, at

pytestmark = pytest.mark.django_db

JANUARY, LATE = "2026-01-01T00:00:00Z", "2026-03-11T00:00:00Z"


def terminated(pk: int, as_of: datetime, other: Plan) -> Any:
    return terminate_subscription(subscription_id=pk, as_of=as_of, reason="x", by="customer")


def changed(pk: int, as_of: datetime, other: Plan) -> Any:
    return change_plan(subscription_id=pk, plan=other, as_of=as_of, by="customer")


def paused(pk: int, as_of: datetime, other: Plan) -> Any:
    return pause_subscription(subscription_id=pk, as_of=as_of)


def cancelled(pk: int, as_of: datetime, other: Plan) -> Any:
    return schedule_cancellation(subscription_id=pk, as_of=as_of, reason="x", by="customer")


def cancelled_on_a_date(pk: int, as_of: datetime, other: Plan) -> Any:
    end = at("2026-03-21T00:00:00Z")
    return schedule_cancellation(subscription_id=pk, as_of=as_of, reason="x", by="customer", at=end)


def given_an_end(pk: int, as_of: datetime, other: Plan) -> Any:
    return set_end(subscription_id=pk, ending_at=at("2026-04-15T00:00:00Z"), as_of=as_of)


class Twins:
    """Two subscriptions of a kind, each on a test clock of its own: only the second one's work is late."""

    def __init__(self, world: World, **subscribing: Any) -> None:
        self.shops = [Shop(world, JANUARY), Shop(world, JANUARY)]
        first = self.shops[0]
        self.shops[1].product, self.shops[1].metric = first.product, first.metric
        self.plan = first.plan("Small", "31.00", credits=True)
        self.other = Plan.objects.get(public_id=first.plan("Large", "62.00"))
        self.ids = [shop.start(self.plan, JANUARY, **subscribing) for shop in self.shops]
        for one in self.ids:
            customer = world.api.get(f"/v0/subscriptions/{one}")["customerId"]
            for day, tokens in (("01-15", 1), ("02-15", 20), ("03-05", 300), ("03-25", 4000)):
                world.send(customer, f"2026-{day}T00:00:00Z", tokens=tokens)
        self.shops[0].advance(LATE)
        self.rows = [Subscription.objects.get(public_id=one) for one in self.ids]

    def read(self, number: int, subscription: str = "") -> list[Any]:
        """Give the periods of bills, and what all their lines of each kind come to.

        A bill that was not calculated yet charges a fee that is cut as it is; one that was, gives back.
        """
        shop, one = self.shops[number], subscription or self.ids[number]
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for name, amount in itertools.chain(*shop.bills(one)):
            sums[name.removeprefix("Unused: ")] += Decimal(amount)
        found: list[Any] = [[(i["periodStart"], i["periodEnd"]) for i in shop.world.invoices(one)], sums]
        for follower in Subscription.objects.filter(replaces__public_id=one):
            found += self.read(number, follower.public_id)
        return found


@pytest.mark.parametrize("act", [terminated, changed, paused, cancelled, cancelled_on_a_date, given_an_end])
def test_a_change_at_the_present_finds_the_period_of_the_present(
    world: World, act: Callable[[int, datetime, Plan], Any]
) -> None:
    twins = Twins(world)
    for row in twins.rows:
        act(row.pk, at(LATE), twins.other)
    for shop in twins.shops:
        shop.advance("2026-05-02T00:00:00Z")
    on_time, late = (twins.read(number) for number in (0, 1))
    assert late == on_time
    assert len(on_time[0]) >= 4


@pytest.mark.parametrize("timing", ["next_period", "immediate"])
def test_another_version_is_taken_from_the_period_of_the_present(world: World, timing: str) -> None:
    twins = Twins(world, versionPolicy="pinned")
    fee, usage = world.api.get(f"/v0/plans/{twins.plan}/versions/1")["prices"]
    prices = [
        {"priceId": world.fee_price(twins.shops[0].product, "50.00", invoiceDisplayName="Fee"), "key": fee["key"]},
        {"priceId": world.usage_price(twins.shops[0].metric, "2"), "key": usage["key"]},
    ]
    world.api.post(f"/v0/plans/{twins.plan}/versions", {"prices": prices})
    for row in twins.rows:
        migrate_version(subscription_id=row.pk, target_number=2, timing=timing, as_of=at(LATE))
    for shop in twins.shops:
        shop.advance("2026-05-02T00:00:00Z")
    on_time, late = (twins.read(number) for number in (0, 1))
    assert late == on_time
    # January, February and March at 31.00, then April and May; March's usage by the version that holds at its end.
    tokens = 1 + 20 + 4300 * (2 if timing == "immediate" else 1)
    assert on_time[1] == {"Fee": Decimal("193.00"), "Tokens": Decimal(tokens)}


def test_a_preview_closes_what_is_late_first(world: World) -> None:
    twins = Twins(world)
    on_time, late = (preview_termination(subscription_id=row.pk, as_of=at(LATE)) for row in twins.rows)
    assert on_time.closing is not None
    assert late.closing is not None
    used = [
        [(line.period_start, line.period_end, line.gross) for line in bill.lines if line.kind == "metered"]
        for bill in (on_time.closing, late.closing)
    ]
    assert used == [[(at("2026-03-01T00:00:00Z"), at(LATE), 300)]] * 2
    twins.rows[1].refresh_from_db()
    assert twins.rows[1].period_start == at(JANUARY)


def test_an_end_that_came_before_is_not_moved_by_a_late_termination(world: World) -> None:
    twins = Twins(world)
    late = twins.rows[1]
    set_end(subscription_id=late.pk, ending_at=at("2026-02-15T00:00:00Z"), as_of=at(JANUARY))
    with pytest.raises(ConflictError, match="already terminated"):
        terminate_subscription(subscription_id=late.pk, as_of=at(LATE), reason="x", by="customer")
    twins.shops[1].advance(LATE)
    late.refresh_from_db()
    assert late.terminated_at == at("2026-02-15T00:00:00Z")
