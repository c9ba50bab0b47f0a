"""Free trials: no fees until their end, given once, moved and ended by hand, carried along by a change of plan."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import Subscription
from tests.world import World, at

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


class Shop:
    """A product with a fee of 31.00 a month in advance and usage at 1.00, tried for 14 days."""

    def __init__(self, world: World) -> None:
        self.world, self.product = world, world.product()
        self.metric = world.metric(self.product)
        self.clock = world.clock(JANUARY)

    def plan(self, amount: str = "31.00", *, term: str = "in_advance", **extra: Any) -> str:
        fee = self.world.fee_price(self.product, amount, paymentTerm=term)
        usage = self.world.usage_price(self.metric, unit_price="1")
        return self.world.plan(
            self.product, [fee, usage], **{"trialPeriod": "P14D", "name": f"Plan {amount}", **extra}
        )

    def start(self, plan: str, customer: str | None = None, **extra: Any) -> dict[str, Any]:
        return self.world.subscribe(customer or self.world.customer(), plan, at=JANUARY, clock=self.clock, **extra)

    def send(self, subscription: dict[str, Any], when: str, tokens: int) -> None:
        self.world.send(subscription["customerId"], when, tokens=tokens)

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)

    def read(self, subscription: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.world.api.get(f"/v0/subscriptions/{subscription['id']}")
        return found

    def bills(self, subscription: dict[str, Any]) -> list[tuple[str, str, str]]:
        return [
            (i["periodStart"][:10], i["periodEnd"][:10], i["grandTotal"])
            for i in self.world.invoices(subscription["id"])
        ]

    def move(self, subscription: dict[str, Any], to: str, expect: int = 200) -> dict[str, Any]:
        path = f"/v0/subscriptions/{subscription['id']}/trial"
        found: dict[str, Any] = self.world.api.post(path, {"trialEndsAt": to}, expect=expect)
        return found

    def end_trial(self, subscription: dict[str, Any], expect: int = 200) -> dict[str, Any]:
        found: dict[str, Any] = self.world.api.delete(f"/v0/subscriptions/{subscription['id']}/trial", expect=expect)
        return found


@pytest.fixture
def shop(world: World) -> Shop:
    return Shop(world)


def announced(topic: str) -> list[dict[str, Any]]:
    return [event.payload for event in OutboxEvent.objects.filter(event_type=topic).order_by("pk")]


def test_a_trial_is_a_period_of_its_own_and_periods_count_from_its_end(shop: Shop) -> None:
    subscription = shop.start(shop.plan())
    assert subscription["status"] == "active"
    assert "payment" not in subscription
    assert subscription["trialEndsAt"] == subscription["billingAnchor"] == "2026-01-15T00:00:00Z"
    shop.send(subscription, "2026-01-03T00:00:00Z", 5)
    shop.send(subscription, "2026-01-15T00:00:00Z", 7)
    shop.advance("2026-03-16T00:00:00Z")
    # The trial's invoice: its usage, and the first month's fee, due as it ends. Then full months.
    assert shop.bills(subscription) == [
        ("2026-01-01", "2026-01-15", "36.00"),
        ("2026-01-15", "2026-02-15", "38.00"),
        ("2026-02-15", "2026-03-15", "31.00"),
        ("2026-03-15", "2026-04-15", "31.00"),
    ]
    assert [e["trialEndsAt"] for e in announced("subscription.trial_ended.v0")] == ["2026-01-15T00:00:00Z"]
    # The end of a trial is no renewal.
    assert [e["periodStart"] for e in announced("subscription.renewed.v0")] == [
        "2026-02-15T00:00:00Z",
        "2026-03-15T00:00:00Z",
    ]


def test_on_a_calendar_the_rest_of_the_period_is_prorated(shop: Shop) -> None:
    plan = shop.plan("31.00", billingAnchor=JANUARY)
    subscription = shop.start(plan, trialPeriod="P10D")
    shop.advance("2026-02-02T00:00:00Z")
    # 11 to 31 January: 21 of 31 days; then February's fee with the rest of January's usage.
    assert shop.bills(subscription)[:2] == [
        ("2026-01-01", "2026-01-11", "21.00"),
        ("2026-01-11", "2026-02-01", "31.00"),
    ]


def test_a_fee_in_arrears_is_of_the_time_after_the_trial(shop: Shop) -> None:
    subscription = shop.start(shop.plan("31.00", term="in_arrears", billingAnchor=JANUARY), trialPeriod="P10D")
    shop.advance("2026-02-02T00:00:00Z")
    assert [total for *_, total in shop.bills(subscription)] == ["0.00", "21.00", "31.00"]


def test_usage_of_a_trial_is_free_where_the_plan_says_so_also_when_it_comes_late(shop: Shop) -> None:
    subscription = shop.start(shop.plan(trialUsage="free"))
    shop.send(subscription, "2026-01-03T00:00:00Z", 5)
    shop.send(subscription, "2026-01-16T00:00:00Z", 2)
    shop.advance("2026-01-20T00:00:00Z")
    shop.send(subscription, "2026-01-04T00:00:00Z", 9)
    shop.advance("2026-02-16T00:00:00Z")
    assert [total for *_, total in shop.bills(subscription)][:2] == ["31.00", "33.00"]


def test_one_time_fees_wait_for_the_end_of_the_trial(shop: Shop) -> None:
    world = shop.world
    setup = world.fee_price(shop.product, "100.00", billingCadence="P0D")
    plan = world.plan(shop.product, [setup], trialPeriod="P14D")
    subscription = shop.start(plan)
    assert subscription["status"] == "active"
    shop.advance("2026-02-20T00:00:00Z")
    assert [total for *_, total in shop.bills(subscription)] == ["100.00", "0.00", "0.00"]


def test_a_length_reaches_to_the_full_hour_and_steps_in_the_customers_calendar(shop: Shop) -> None:
    customer = shop.world.customer()
    Customer.objects.filter(public_id=customer).update(timezone="Australia/Sydney")
    clock = shop.world.clock("2026-03-30T01:12:00Z")
    started = shop.world.subscribe(customer, shop.plan(), at="2026-03-30T01:12:00Z", clock=clock)
    # 30 March 12:12 in summer time; 13 April 12:12 in winter time is 02:12 UTC.
    assert started["trialEndsAt"] == "2026-04-13T03:00:00Z"


def test_cancelling_in_a_trial_bills_nothing(shop: Shop) -> None:
    plan = shop.plan(trialUsage="free")
    first, second = shop.start(plan), shop.start(plan)
    shop.send(first, "2026-01-03T00:00:00Z", 5)
    shop.advance("2026-01-05T00:00:00Z")
    path = f"/v0/subscriptions/{first['id']}"
    assert shop.world.api.post(f"{path}/cancellation", {"reason": "no"}, expect=200)["cancelsAt"] == (
        "2026-01-15T00:00:00Z"
    )
    shop.world.api.post(f"/v0/subscriptions/{second['id']}/termination", {"reason": "no"}, expect=200)
    shop.advance("2026-03-01T00:00:00Z")
    for subscription in (first, second):
        assert shop.read(subscription)["status"] == "terminated"
        assert [total for *_, total in shop.bills(subscription)] == ["0.00"]


def test_ending_a_trial_bills_the_first_month_from_that_moment(shop: Shop) -> None:
    subscription = shop.start(shop.plan())
    shop.advance("2026-01-06T10:30:00Z")
    ended = shop.end_trial(subscription)
    assert ended["trialEndsAt"] == ended["billingAnchor"] == "2026-01-06T10:30:00Z"
    assert shop.end_trial(subscription, expect=409)["code"] == "NOT_IN_TRIAL"
    shop.advance("2026-02-07T00:00:00Z")
    assert shop.bills(subscription)[:2] == [
        ("2026-01-01", "2026-01-06", "31.00"),
        ("2026-01-06", "2026-02-06", "31.00"),
    ]
    (changed,) = announced("subscription.trial_changed.v0")
    assert changed["previously"] == "2026-01-15T00:00:00Z"


def test_ending_a_trial_on_a_calendar_prorates_the_rest(shop: Shop) -> None:
    subscription = shop.start(shop.plan(billingAnchor=JANUARY))
    shop.advance("2026-01-06T00:00:00Z")
    shop.end_trial(subscription)
    shop.advance("2026-02-01T02:00:00Z")
    # 6 to 31 January: 26 days of 31.
    assert [total for *_, total in shop.bills(subscription)][:2] == ["26.00", "31.00"]


def test_extending_and_taking_it_back_leaves_nothing(shop: Shop) -> None:
    subscription = shop.start(shop.plan())
    shop.advance("2026-01-05T00:00:00Z")
    extended = shop.move(subscription, "2026-02-20T00:00:00Z")
    assert extended["billingAnchor"] == "2026-02-20T00:00:00Z"
    (invoice,) = shop.world.invoices(subscription["id"])
    assert invoice["periodEnd"] == "2026-02-20T00:00:00Z"
    shop.move(subscription, "2026-01-15T00:00:00Z")
    shop.advance("2026-02-16T00:00:00Z")
    assert shop.bills(subscription)[:2] == [
        ("2026-01-01", "2026-01-15", "31.00"),
        ("2026-01-15", "2026-02-15", "31.00"),
    ]


def test_a_calendar_trial_may_reach_over_periods(shop: Shop) -> None:
    subscription = shop.start(shop.plan(billingAnchor=JANUARY))
    shop.advance("2026-01-05T00:00:00Z")
    shop.move(subscription, "2026-02-15T00:00:00Z")
    shop.send(subscription, "2026-01-20T00:00:00Z", 3)
    shop.advance("2026-03-01T02:00:00Z")
    # 15 to 28 February: half of it.
    assert shop.bills(subscription)[:3] == [
        ("2026-01-01", "2026-02-01", "3.00"),
        ("2026-02-01", "2026-02-15", "15.50"),
        ("2026-02-15", "2026-03-01", "31.00"),
    ]
    assert announced("subscription.renewed.v0")[0]["periodStart"] == "2026-03-01T00:00:00Z"


def test_what_a_trial_cannot_end_at_is_refused(shop: Shop) -> None:
    subscription = shop.start(shop.plan())
    refused = shop.end_trial(subscription, expect=400)  # of no time at all
    assert refused["errors"][0]["field"] == "trialEndsAt"
    shop.advance("2026-01-05T00:00:00Z")
    assert "past" in shop.move(subscription, "2026-01-04T00:00:00Z", expect=400)["message"]
    without = shop.start(shop.plan(trialPeriod=None, trialUsage="free"))
    assert shop.move(without, "2026-02-04T00:00:00Z", expect=409)["code"] == "NOT_IN_TRIAL"


def test_one_trial_for_a_customer_and_product(shop: Shop) -> None:
    plan, other, customer = shop.plan(), shop.plan("62.00"), shop.world.customer()
    first = shop.start(plan, customer)
    shop.advance("2026-01-05T00:00:00Z")
    shop.world.api.post(f"/v0/subscriptions/{first['id']}/termination", {"reason": "again"}, expect=200)
    second = shop.world.subscribe(customer, other, at="2026-01-05T00:00:00Z", clock=shop.clock)
    assert "trialEndsAt" not in second
    assert second["status"] == "pending_payment"
    shop.world.api.post(f"/v0/subscriptions/{second['id']}/termination", {"reason": "again"}, expect=200)
    # What is said about the subscription itself is given.
    third = shop.world.subscribe(
        customer, plan, at="2026-01-05T00:00:00Z", clock=shop.clock, trialEndsAt="2026-01-08T12:34:56Z"
    )
    assert third["trialEndsAt"] == "2026-01-08T12:34:56Z"


def test_a_plan_without_a_trial_and_a_subscription_without_it(shop: Shop) -> None:
    assert shop.start(shop.plan(trialPeriod="P0D"))["status"] == "pending_payment"
    plan = shop.plan()
    assert shop.start(plan, trialPeriod="P0D")["status"] == "pending_payment"
    path = "/v0/subscriptions"
    body = {"name": "Sub", "planId": plan, "customerId": shop.world.customer(), "startedAt": JANUARY}
    both = {"trialPeriod": "P1M", "trialEndsAt": "2026-02-01T00:00:00Z"}
    assert "trialEndsAt" in str(shop.world.api.post(path, body | both, expect=400))
    assert "trialPeriod" in str(shop.world.api.post(path, body | {"trialPeriod": "PT3H"}, expect=400))
    assert "trialEndsAt" in str(shop.world.api.post(path, body | {"trialEndsAt": JANUARY}, expect=400))
    assert "trialPeriod" in str(shop.world.api.patch(f"/v0/plans/{plan}", {"trialPeriod": "P1M1D"}, expect=400))
    assert shop.world.api.patch(f"/v0/plans/{plan}", {"trialPeriod": None})["trialPeriod"] is None


def test_another_plan_in_a_trial_takes_the_rest_along(shop: Shop) -> None:
    small, large = shop.plan(), shop.plan("62.00", trialPeriod="P3M")
    subscription = shop.start(small)
    shop.send(subscription, "2026-01-02T00:00:00Z", 4)
    shop.advance("2026-01-05T00:00:00Z")
    changed = shop.world.api.post(f"/v0/subscriptions/{subscription['id']}/planChange", {"planId": large}, expect=200)
    assert (changed["status"], changed["trialEndsAt"]) == ("active", "2026-01-15T00:00:00Z")
    shop.advance("2026-02-16T00:00:00Z")
    assert shop.bills(subscription) == [("2026-01-01", "2026-01-05", "4.00")]
    assert shop.bills(changed)[:2] == [
        ("2026-01-05", "2026-01-15", "62.00"),
        ("2026-01-15", "2026-02-15", "62.00"),
    ]


def test_another_plan_after_a_trial_begins_none(shop: Shop) -> None:
    small, large = shop.plan(trialPeriod=None), shop.plan("62.00")
    subscription = shop.start(small)
    shop.world.pay(subscription["payment"]["invoiceId"])
    shop.advance("2026-01-05T00:00:00Z")
    changed = shop.world.api.post(f"/v0/subscriptions/{subscription['id']}/planChange", {"planId": large}, expect=200)
    assert "trialEndsAt" not in changed


def test_a_pause_over_the_end_of_a_trial_costs_only_what_is_served(shop: Shop) -> None:
    subscription = shop.start(shop.plan(billingAnchor=JANUARY))  # to 15 January
    path = f"/v0/subscriptions/{subscription['id']}"
    shop.advance("2026-01-10T00:00:00Z")
    shop.world.api.post(f"{path}/pause", expect=200)
    shop.advance("2026-01-22T00:00:00Z")
    shop.world.api.post(f"{path}/resume", expect=200)
    shop.advance("2026-02-02T00:00:00Z")
    # 22 to 31 January: 10 days of 31, on the invoice that was open then, with February's fee.
    assert [total for *_, total in shop.bills(subscription)][:2] == ["0.00", "41.00"]


def test_a_late_start_within_the_trial_keeps_its_end(shop: Shop) -> None:
    shop.advance("2026-01-20T00:00:00Z")
    plan = shop.plan()
    running = shop.start(plan, trialPeriod="P1M")
    assert (running["status"], running["trialEndsAt"]) == ("active", "2026-02-01T00:00:00Z")
    over = shop.start(plan, elapsedPeriodBilling="per_period")
    # From 15 January on it is a month that was never paid for.
    assert over["status"] == "pending_payment"
    assert over["payment"]["amount"] == "31.00"


def test_an_own_calendar_always_counts_from_the_end_of_the_trial(shop: Shop) -> None:
    subscription = shop.start(shop.plan())
    row = Subscription.objects.filter(public_id=subscription["id"])
    with pytest.raises(IntegrityError), transaction.atomic():
        row.update(trial_ends_at=at("2026-01-16T00:00:00Z"))
    with pytest.raises(IntegrityError), transaction.atomic():
        row.update(trial_ends_at=at(JANUARY), billing_anchor=at(JANUARY))


def test_projections_know_the_trial(shop: Shop) -> None:
    subscription = shop.start(shop.plan())
    rows = shop.world.api.get(f"/v2/invoices/projected?subscriptionId={subscription['id']}&to=2026-02-16T00:00:00Z")
    assert [(r["periodEnd"][:10], r["grandTotal"]) for r in rows["data"]] == [
        ("2026-01-15", "31.00"),
        ("2026-02-15", "31.00"),
    ]


def test_the_admin_moves_the_end_of_a_trial(shop: Shop) -> None:
    subscription = shop.start(shop.plan())
    row = Subscription.objects.get(public_id=subscription["id"])
    shop.advance("2026-01-05T00:00:00Z")
    client = Client()
    client.force_login(shop.world.owner)
    url = f"/admin/subscriptions/subscription/{row.pk}/move-trial-end/"
    client.post(url, {"ends_at": "2026-01-20T00:00:00Z", "_form_submitted": "1"})
    row.refresh_from_db()
    assert row.trial_ends_at == at("2026-01-20T00:00:00Z")
    client.post(url, {"ends_at": "", "_form_submitted": "1"})
    row.refresh_from_db()
    assert row.trial_ends_at == at("2026-01-05T00:00:00Z")
    assert Invoice.objects.get(subscription=row, sequence_number=1).status == "CLOSING"
    shop.advance("2026-01-05T02:00:00Z")
    assert Invoice.objects.get(subscription=row, sequence_number=1).grand_total == Decimal("31")
