"""Periods that close in sets: which clock their invoices are due by, and what becomes of one that cannot."""

import pytest

from apps.invoicing.models import Invoice
from apps.invoicing.services.lifecycle import next_calculation_due, run_boundaries, run_calculations
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import Subscription
from tests.world import World, at

pytestmark = pytest.mark.django_db

JANUARY, FEBRUARY, GRACE_OVER = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-02-01T01:00:00Z"


def subscribed(world: World, clock: str, count: int) -> list[Subscription]:
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "10.00", paymentTerm="in_arrears")])
    made = [world.subscribe(world.customer(), plan, at=JANUARY, clock=clock)["id"] for _ in range(count)]
    return list(Subscription.objects.filter(public_id__in=made).order_by("pk"))


def test_closed_periods_are_due_by_the_clock_of_their_subscription(world: World) -> None:
    real, one, other = [subscribed(world, world.clock(JANUARY), 1)[0] for _ in range(3)]
    Subscription.objects.filter(pk=real.pk).update(test_clock=None)
    clocks = [None, one.test_clock_id, other.test_clock_id]
    for clock_id in clocks[:2]:
        assert run_boundaries(clock_id, at(FEBRUARY)) == 1
    moments = [next_calculation_due(clock_id, at(GRACE_OVER)) for clock_id in clocks]
    assert moments == [at(GRACE_OVER), at(GRACE_OVER), None]
    assert [run_calculations(clock_id, at(GRACE_OVER)) for clock_id in clocks] == [1, 1, 0]
    issued = Invoice.objects.filter(number__isnull=False)
    assert sorted(issued.values_list("subscription_id", flat=True)) == [real.pk, one.pk]


def test_every_kind_of_invoice_has_the_clock_of_its_subscription(world: World) -> None:
    clock = world.clock(JANUARY)
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "10.00"), world.usage_price(world.metric(product), "1")])
    made = world.subscribe(world.customer(), plan, at=JANUARY, clock=clock)
    world.pay(made["payment"]["invoiceId"])
    world.advance(clock, GRACE_OVER)
    closed = Invoice.objects.exclude(status="ACTIVE")
    assert closed.count() == 2
    assert set(closed.values_list("test_clock_id", flat=True)) == {Subscription.objects.get().test_clock_id}


def test_one_without_an_open_invoice_is_parked_and_the_others_move_on(world: World) -> None:
    rows = subscribed(world, world.clock(JANUARY), 5)
    broken = rows[2]
    Invoice.objects.filter(subscription=broken, status="ACTIVE").update(status="CANCELLED")
    assert run_boundaries(broken.test_clock_id, at(FEBRUARY)) == 5
    parked = Subscription.objects.exclude(parked_reason="")
    assert [(row.pk, row.period_number) for row in parked] == [(broken.pk, 1)]
    assert "LookupError" in parked[0].parked_reason
    moved = Subscription.objects.exclude(pk=broken.pk)
    assert set(moved.values_list("period_number", flat=True)) == {2}
    opened = Invoice.objects.filter(status="ACTIVE", sequence_number=2)
    assert opened.count() == 4
    told = OutboxEvent.objects.filter(event_type="invoice.created.v0", object_id__in=opened.values("public_id"))
    assert sorted(row.payload["subscriptionId"] for row in told) == sorted(moved.values_list("public_id", flat=True))
    assert {row.payload["periodEnd"] for row in told} == {"2026-03-01T00:00:00Z"}
