"""Usage billed before its period is over: whatever is split off, all bills add up to what one would have said."""

from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.services.early import bill_usage_now
from apps.kernel.errors import ConflictError
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.clocks import current_time
from tests.concurrency import at_once
from tests.invoicing.twins import PRICES, Twins
from tests.world import World, make_world

pytestmark = pytest.mark.django_db


def test_a_bill_of_usage_so_far_and_the_rest_at_the_end(world: World) -> None:
    twins = Twins.on(world, PRICES["volume"], tax="20")
    twins.use("2026-01-05T00:00:00Z", tokens=8, model="opus")
    twins.advance("2026-01-10T00:00:00Z")
    early = twins.bill()
    assert early is not None
    # 8 × 2.345 = 18.76, and 20 % of it.
    assert (early.status, early.part, early.subtotal, early.grand_total) == (
        "ISSUED",
        1,
        Decimal("18.76"),
        Decimal("22.51"),
    )
    assert early.number is not None
    assert early.issued_at is not None
    assert early.issued_at.isoformat() == "2026-01-10T00:00:00+00:00"
    assert twins.bill() is None
    subscription = twins.split[1]["id"]
    # The open invoice shows what is left.
    assert {i["status"]: i["grandTotal"] for i in world.invoices(subscription)} == {
        "ACTIVE": "0.00",
        "ISSUED": "22.51",
    }

    # The next tier makes all units cheaper: 12 × 0.50 = 6.00 is less than what was billed.
    twins.use("2026-01-20T00:00:00Z", tokens=4, model="opus")
    assert twins.bill() is None
    twins.advance("2026-02-02T00:00:00Z")
    assert twins.bills() == [(1, 0, 0), (1, 1, Decimal("22.51")), (2, 0, 0)]
    # 12.76 could not be given back on an invoice of nothing, so it is taken from February's 40 × 0.50.
    twins.use("2026-02-20T00:00:00Z", tokens=40, model="opus")
    twins.advance("2026-03-02T00:00:00Z")
    assert twins.bills()[2] == (2, 0, Decimal("8.69"))  # (20.00 − 12.76) × 1.2
    assert twins.totals() == (26, 26)


def test_late_usage_after_the_end_is_of_the_whole_period(world: World) -> None:
    twins = Twins.on(world, PRICES["graduated"])
    twins.use("2026-01-05T00:00:00Z", tokens=5, model="opus")
    assert twins.bill() is not None
    twins.use("2026-01-20T00:00:00Z", tokens=5, model="opus")
    twins.advance("2026-02-02T00:00:00Z")
    # 2 + 5 × 1.005 = 7.03, then 5 × 0.70 = 3.50, of 10.525 in all, rounded 10.53.
    assert twins.bills()[:2] == [(1, 0, Decimal("3.50")), (1, 1, Decimal("7.03"))]
    twins.use("2026-01-25T00:00:00Z", tokens=10, model="opus")
    twins.advance("2026-03-02T00:00:00Z")
    (late,) = InvoiceLine.objects.filter(invoice__subscription=twins.row(), is_late=True)
    assert (late.gross, late.quantity) == (7, 10)
    # 2.00 are February's, whose first tier costs that without usage.
    assert twins.totals() == (Decimal("19.53"), Decimal("19.53"))


def test_an_agreement_in_the_period_reaches_what_was_billed_early(world: World) -> None:
    twins = Twins.on(world, PRICES["standard"])
    twins.use("2026-01-05T00:00:00Z", tokens=100, model="opus")
    assert twins.bill() is not None
    for _, subscription in (twins.split, twins.whole):
        body = {"type": "percentageDiscount", "percentageDiscount": "0.1", "effectiveFrom": "2026-01-01T00:00:00Z"}
        adjustment = world.api.post(f"/v0/subscriptions/{subscription['id']}/adjustments", body)
    twins.use("2026-01-20T00:00:00Z", tokens=100, model="opus")
    assert twins.bill() is not None
    # Two bills with a discount of 66.60 in all; it is taken back with the agreement.
    for (_, subscription), found in zip((twins.split, twins.whole), [None, adjustment], strict=True):
        path = f"/v0/subscriptions/{subscription['id']}/adjustments"
        found = found or world.api.get(path)["data"][0]
        world.api.delete(f"{path}/{found['id']}", expect=204)
    twins.advance("2026-02-02T00:00:00Z")
    assert twins.bills()[:3] == [(1, 0, Decimal("6.66")), (1, 1, Decimal("33.30")), (1, 2, Decimal("26.64"))]
    assert twins.totals() == (Decimal("66.60"), Decimal("66.60"))


def test_a_price_left_at_once_is_given_back(world: World) -> None:
    twins = Twins.on(
        world, PRICES["standard"], versionTransition={"effectiveDate": "immediate"}, stablePriceIds=False
    )
    twins.use("2026-01-05T00:00:00Z", tokens=100, model="opus")
    assert twins.bill() is not None
    metric = world.api.get(f"/v0/billableMetrics?merchantId={world.id}")["data"][0]["id"]
    dearer = world.usage_price(metric, "0.50")
    world.api.post(f"/v0/plans/{twins.plan}/versions", {"prices": [dearer]})
    # 50.00 now, less the 33.30 of the price that was left.
    early = twins.bill()
    assert early is not None
    assert early.grand_total == Decimal("16.70")
    twins.advance("2026-02-02T00:00:00Z")
    assert twins.bills()[0] == (1, 0, 0)
    assert twins.totals() == (50, 50)


def test_a_price_that_is_left_without_another_is_carried(world: World) -> None:
    product = world.product()
    tokens, calls = world.metric(product), world.metric(product, path="", aggregation="COUNT", valueProperty=None)
    first, second = world.usage_price(tokens, "1"), world.usage_price(calls, "2")
    transition = {"effectiveDate": "immediate"}
    plan = world.plan(product, [first, second], versionTransition=transition)
    customer, clock = world.customer(), world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.send(customer, "2026-01-05T00:00:00Z", tokens=30)
    row = Subscription.objects.get(public_id=subscription["id"])
    assert bill_usage_now(subscription_id=row.pk, as_of=current_time(row)).grand_total == 32
    world.api.post(f"/v0/plans/{plan}/versions", {"prices": [second]})
    world.advance(clock, "2026-02-02T00:00:00Z")
    for day in range(1, 11):
        world.send(customer, f"2026-02-{day:02d}T00:00:00Z", tokens=1_000)
    world.advance(clock, "2026-03-02T00:00:00Z")
    for day in range(1, 11):
        world.send(customer, f"2026-03-{day:02d}T00:00:00Z", tokens=1_000)
    world.advance(clock, "2026-04-02T00:00:00Z")
    own = Invoice.objects.filter(subscription=row, part=0).order_by("sequence_number")
    # 30.00 are owed to the customer: nothing in January, 20.00 in February, 10.00 in March.
    assert [invoice.grand_total for invoice in own] == [0, 0, 10, 0]


def test_an_average_waits_for_its_period(world: World) -> None:
    product = world.product()
    metric = world.metric(product, aggregation="AVG")
    plan = world.plan(product, [world.usage_price(metric, "1")])
    customer, clock = world.customer(), world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.send(customer, "2026-01-05T00:00:00Z", tokens=30)
    row = Subscription.objects.get(public_id=subscription["id"])
    with pytest.raises(ConflictError, match="no usage"):
        bill_usage_now(subscription_id=row.pk, as_of=current_time(row))
    assert Invoice.objects.filter(part__gt=0).count() == 0


def test_a_termination_bills_what_is_left(world: World) -> None:
    twins = Twins.on(world, PRICES["package"])
    twins.use("2026-01-05T00:00:00Z", tokens=8, model="opus")
    twins.advance("2026-01-06T00:00:00Z")
    assert twins.bill() is not None
    twins.use("2026-01-07T00:00:00Z", tokens=8, model="opus")
    twins.advance("2026-01-09T00:00:00Z")
    for _, subscription in (twins.split, twins.whole):
        world.api.post(f"/v0/subscriptions/{subscription['id']}/termination", {"reason": "x"}, expect=200)
    twins.advance("2026-01-20T00:00:00Z")
    # Two packages, then a third.
    assert twins.bills() == [(1, 0, Decimal("3.01")), (1, 1, Decimal("6.02"))]


def test_an_end_before_all_that_was_billed_early_says_what_is_taken_back(world: World) -> None:
    product = world.product()
    plan = world.plan(
        product,
        [
            world.usage_price(world.metric(product), "1"),
            world.fee_price(product, "31.00", paymentTerm="in_arrears"),
        ],
    )
    customer, clock = world.customer(), world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.advance(clock, "2026-02-01T00:30:00Z")
    world.send(customer, "2026-02-01T00:10:00Z", tokens=50)
    row = Subscription.objects.get(public_id=subscription["id"])
    assert bill_usage_now(subscription_id=row.pk, as_of=current_time(row)).grand_total == 50
    body = {"status": "terminated", "terminatedAt": "2026-02-01T00:00:00Z"}
    world.api.patch(f"/v0/subscriptions/{subscription['id']}", body)
    world.advance(clock, "2026-02-03T00:00:00Z")
    last = Invoice.objects.get(subscription=row, sequence_number=2, part=0)
    (line,) = last.lines.all()
    assert (last.status, last.grand_total) == ("PAID", 0)
    assert line.provenance["steps"][-1]["in"] == "-50"


def test_a_price_of_a_longer_cadence_is_billed_on_the_way(world: World) -> None:
    twins = Twins.on(world, {**PRICES["standard"], "billingCadence": "P3M"})
    twins.use("2026-01-05T00:00:00Z", tokens=10, model="opus")
    assert twins.bill() is not None
    twins.advance("2026-02-10T00:00:00Z")
    twins.use("2026-02-05T00:00:00Z", tokens=10, model="opus")
    assert twins.bill() is not None
    twins.advance("2026-04-02T00:00:00Z")
    twins.use("2026-03-05T00:00:00Z", tokens=10, model="opus")
    twins.advance("2026-05-02T00:00:00Z")
    assert [row for row in twins.bills() if row[2]] == [
        (1, 1, Decimal("3.33")),
        (2, 1, Decimal("3.33")),
        (4, 0, Decimal("3.33")),
    ]
    assert twins.totals() == (Decimal("9.99"), Decimal("9.99"))


def test_the_database_keeps_parts_apart(world: World) -> None:
    twins = Twins.on(world, PRICES["standard"])
    twins.use("2026-01-05T00:00:00Z", tokens=100, model="opus")
    early = twins.bill()
    assert early is not None
    for change in ({"part": 0}, {"part": 2}):
        copy = Invoice.objects.get(pk=early.pk)
        copy.pk, copy.public_id, copy.number = None, "", "X-1" if change["part"] else None
        copy.part = 1
        with pytest.raises(IntegrityError), transaction.atomic():
            copy.save(force_insert=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        Invoice.objects.filter(subscription=twins.row(), status="ACTIVE").update(part=3)


@pytest.mark.django_db(transaction=True)
def test_early_bills_at_once_bill_once() -> None:
    twins = Twins.on(make_world(), PRICES["standard"])
    twins.use("2026-01-05T00:00:00Z", tokens=100, model="opus")
    bills = at_once([twins.bill] * 4)
    assert sorted(bill is not None for bill in bills) == [False, False, False, True]
    assert twins.bills() == [(1, 0, 0), (1, 1, Decimal("33.30"))]


def test_people_and_programs_bill_usage_early(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.usage_price(world.metric(product), "1")])
    customer, clock = world.customer(), world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.advance(clock, "2026-01-10T00:00:00Z")
    url = f"/v0/subscriptions/{subscription['id']}/earlyBill"
    assert world.api.post(url, expect=409)["code"] == "NOTHING_TO_BILL"
    world.send(customer, "2026-01-05T00:00:00Z", tokens=30)
    made = world.api.post(url)
    assert (made["status"], made["sequenceNumber"], made["grandTotal"]) == ("ISSUED", 1, "30.00")
    assert world.api.post(url, expect=409)["code"] == "NOTHING_TO_BILL"
    world.send(customer, "2026-01-06T00:00:00Z", key="more", tokens=5)
    row = Subscription.objects.get(public_id=subscription["id"])
    page = Client()
    page.force_login(world.owner)
    action = reverse("admin:subscriptions_subscription_bill_usage", args=[row.pk])
    assert page.post(action, {"_form_submitted": "1"}).status_code == 302
    assert page.post(action, {"_form_submitted": "1"}).status_code == 302
    world.advance(clock, "2026-02-02T00:00:00Z")
    totals = Invoice.objects.filter(subscription=row).order_by("sequence_number", "part")
    assert [invoice.grand_total for invoice in totals] == [0, 30, 5, 0]
