"""Terms that are followed by another or by the end, and what is announced ahead: once for each period."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from apps.kernel.lifecycle import run_due
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import Subscription
from apps.subscriptions.services.reminders import run_reminders
from tests.concurrency import at_once
from tests.world import World, at, make_world

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


class Shop:
    """A fee of 31.00 a month in advance, agreed for three months at a time."""

    def __init__(self, world: World) -> None:
        self.world, self.product = world, world.product()
        self.clock = world.clock(JANUARY)

    def plan(self, amount: str = "31.00", **extra: Any) -> str:
        fee = self.world.fee_price(self.product, amount)
        return self.world.plan(self.product, [fee], **{"termPeriods": 3, "name": f"Plan {amount}", **extra})

    def start(self, plan: str, *, when: str = JANUARY, **extra: Any) -> dict[str, Any]:
        made = self.world.subscribe(self.world.customer(), plan, at=when, clock=self.clock, **extra)
        if made.get("payment", {}).get("status") == "pending":
            self.world.pay(made["payment"]["invoiceId"])
        return made

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)

    def read(self, subscription: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.world.api.get(f"/v0/subscriptions/{subscription['id']}")
        return found

    def patch(self, subscription: dict[str, Any], expect: int = 200, **changes: Any) -> dict[str, Any]:
        path = f"/v0/subscriptions/{subscription['id']}"
        found: dict[str, Any] = self.world.api.patch(path, changes, expect=expect)
        return found

    def totals(self, subscription: dict[str, Any]) -> list[str]:
        return [i["grandTotal"] for i in self.world.invoices(subscription["id"])]


@pytest.fixture
def shop(world: World) -> Shop:
    return Shop(world)


def announced(topic: str, field: str) -> list[tuple[str, str]]:
    events = OutboxEvent.objects.filter(event_type=topic).order_by("pk")
    return [(event.occurred_at.strftime("%Y-%m-%dT%H:%M"), event.payload[field]) for event in events]


def test_a_term_is_followed_by_another(shop: Shop) -> None:
    subscription = shop.start(shop.plan())
    assert (subscription["termNumber"], subscription["termEndsAt"]) == (1, "2026-04-01T00:00:00Z")
    shop.advance("2026-04-01T02:00:00Z")
    after = shop.read(subscription)
    assert (after["termNumber"], after["termEndsAt"]) == (2, "2026-07-01T00:00:00Z")
    shop.advance("2027-01-01T02:00:00Z")
    assert shop.read(subscription)["termNumber"] == 5
    renewed = OutboxEvent.objects.filter(event_type="subscription.renewed.v0").order_by("pk")
    assert [event.payload["termNumber"] for event in renewed[:4]] == [1, 1, 2, 2]


def test_a_term_without_renewal_ends_the_subscription(shop: Shop) -> None:
    subscription = shop.start(shop.plan(autoRenew=False))
    shop.advance("2026-06-01T00:00:00Z")
    ended = shop.read(subscription)
    assert (ended["status"], ended["terminatedAt"]) == ("terminated", "2026-04-01T00:00:00Z")
    assert ended["terminatedBy"] == "term"
    # Three months were agreed: Invoice 0 and two boundaries billed one each, the last boundary none.
    assert shop.totals(subscription) == ["31.00", "31.00", "31.00", "0.00"]
    # The last boundary is no renewal, so it is not announced as one.
    assert announced("subscription.renewal_upcoming.v0", "renewsAt") == [
        ("2026-01-29T00:00", "2026-02-01T00:00:00Z"),
        ("2026-02-26T00:00", "2026-03-01T00:00:00Z"),
    ]


def test_turning_renewal_off_and_on_again_leaves_nothing(shop: Shop) -> None:
    subscription = shop.start(shop.plan())
    shop.advance("2026-03-10T00:00:00Z")
    assert shop.patch(subscription, autoRenew=False)["autoRenew"] is False
    assert shop.world.api.get(f"/v2/invoices/projected?subscriptionId={subscription['id']}")["data"][0][
        "grandTotal"
    ] == ("0.00")
    shop.patch(subscription, autoRenew=True)
    shop.advance("2026-04-02T00:00:00Z")
    assert (shop.read(subscription)["status"], shop.totals(subscription)[-2]) == ("active", "31.00")


def test_an_end_in_the_middle_of_a_cut_term_is_given_back_on_another_plan(shop: Shop) -> None:
    """The rest of a term goes along with the calendar; with another calendar only an agreed end does."""
    subscription = shop.start(shop.plan())
    shop.advance("2026-01-11T00:00:00Z")
    path = f"/v0/subscriptions/{subscription['id']}/planChange"
    larger = shop.world.api.post(path, {"planId": shop.plan("62.00", termPeriods=12)}, expect=200)
    assert (larger["termPeriods"], larger["termNumber"], larger["termEndsAt"]) == (3, 1, "2026-04-01T00:00:00Z")
    yearly = shop.world.plan(
        shop.product, [shop.world.fee_price(shop.product, "365.00", billingCadence="P1Y")], billingCadence="P1Y"
    )
    path = f"/v0/subscriptions/{larger['id']}/planChange"
    changed = shop.world.api.post(path, {"planId": yearly}, expect=200)
    assert "termEndsAt" not in changed
    assert "endingAt" not in changed


def test_an_agreed_end_goes_along_to_another_calendar(shop: Shop) -> None:
    subscription = shop.start(shop.plan(autoRenew=False))
    shop.advance("2026-01-11T00:00:00Z")
    weekly = shop.world.plan(
        shop.product, [shop.world.fee_price(shop.product, "7.00", billingCadence="P1W")], billingCadence="P1W"
    )
    path = f"/v0/subscriptions/{subscription['id']}/planChange"
    changed = shop.world.api.post(path, {"planId": weekly}, expect=200)
    assert changed["endingAt"] == "2026-04-01T00:00:00Z"


def test_a_stub_and_a_trial_come_on_top_of_a_term(shop: Shop) -> None:
    anchored = shop.plan(billingDay=1, termPeriods=2)
    subscription = shop.start(anchored, when="2026-01-01T00:00:00Z")
    assert subscription["termEndsAt"] == "2026-03-01T00:00:00Z"
    shop.advance("2026-01-10T00:00:00Z")
    assert shop.start(anchored, when="2026-01-10T00:00:00Z")["termEndsAt"] == "2026-04-01T00:00:00Z"
    tried = shop.start(shop.plan(trialPeriod="P14D"), when="2026-01-10T00:00:00Z")
    assert tried["termEndsAt"] == "2026-04-24T00:00:00Z"
    shop.advance("2026-01-12T00:00:00Z")
    moved = shop.world.api.post(
        f"/v0/subscriptions/{tried['id']}/trial", {"trialEndsAt": "2026-02-01T00:00:00Z"}, expect=200
    )
    assert moved["termEndsAt"] == "2026-05-01T00:00:00Z"


def test_terms_that_are_said_with_the_subscription(shop: Shop) -> None:
    plan = shop.plan()
    assert "termEndsAt" not in shop.start(plan, termPeriods=0)
    assert shop.start(plan, termPeriods=12, autoRenew=False)["termEndsAt"] == "2027-01-01T00:00:00Z"
    dated = shop.start(plan, endingAt="2026-05-10T00:00:00Z")
    assert "termEndsAt" not in dated
    assert shop.patch(dated, autoRenew=False, expect=409)["code"] == "NO_TERM"
    body = {"name": "Sub", "planId": plan, "customerId": shop.world.customer(), "startedAt": JANUARY}
    both = {**body, "termPeriods": 2, "endingAt": "2026-05-10T00:00:00Z"}
    assert "termPeriods" in str(shop.world.api.post("/v0/subscriptions", both, expect=400))


def test_a_start_long_ago_is_in_its_running_term(shop: Shop) -> None:
    plan = shop.plan()
    shop.advance("2026-11-20T00:00:00Z")
    late = shop.start(plan)
    assert (late["termNumber"], late["termEndsAt"]) == (4, "2027-01-01T00:00:00Z")
    body = {"name": "Sub", "planId": plan, "customerId": shop.world.customer(), "startedAt": JANUARY}
    body |= {"testClockId": shop.clock, "autoRenew": False}
    assert shop.world.api.post("/v0/subscriptions", body, expect=400)["errors"][0]["field"] == "termPeriods"


def test_renewals_are_announced_as_many_days_ahead_as_agreed(shop: Shop) -> None:
    subscription = shop.start(shop.plan(renewalReminderDays=7))
    shop.advance("2026-01-26T00:00:00Z")
    assert shop.read(subscription)["remindedAt"] == "2026-01-25T00:00:00Z"
    shop.patch(subscription, renewalReminderDays=2)
    # Said once for January; February by the new days.
    shop.advance("2026-03-02T00:00:00Z")
    assert announced("subscription.renewal_upcoming.v0", "renewsAt") == [
        ("2026-01-25T00:00", "2026-02-01T00:00:00Z"),
        ("2026-02-27T00:00", "2026-03-01T00:00:00Z"),
    ]
    shop.patch(subscription, renewalReminderEnabled=False)
    shop.advance("2026-05-02T00:00:00Z")
    assert len(announced("subscription.renewal_upcoming.v0", "renewsAt")) == 2


def test_a_period_shorter_than_the_days_is_announced_as_it_begins(shop: Shop) -> None:
    daily = shop.world.plan(
        shop.product, [shop.world.fee_price(shop.product, "1.00", billingCadence="P1D")], billingCadence="P1D"
    )
    shop.start(daily)
    shop.advance("2026-01-03T12:00:00Z")
    assert announced("subscription.renewal_upcoming.v0", "renewsAt") == [
        ("2026-01-01T00:00", "2026-01-02T00:00:00Z"),
        ("2026-01-02T00:00", "2026-01-03T00:00:00Z"),
        ("2026-01-03T00:00", "2026-01-04T00:00:00Z"),
    ]


def test_the_end_of_a_trial_is_announced_again_when_it_moves(shop: Shop) -> None:
    subscription = shop.start(shop.plan(trialPeriod="P14D"))
    shop.advance("2026-01-13T00:00:00Z")
    assert announced("subscription.trial_ending.v0", "trialEndsAt") == [("2026-01-12T00:00", "2026-01-15T00:00:00Z")]
    path = f"/v0/subscriptions/{subscription['id']}"
    shop.world.api.post(f"{path}/trial", {"trialEndsAt": "2026-01-20T00:00:00Z"}, expect=200)
    shop.advance("2026-01-21T00:00:00Z")
    assert announced("subscription.trial_ending.v0", "trialEndsAt")[1:] == [
        ("2026-01-17T00:00", "2026-01-20T00:00:00Z")
    ]
    assert announced("subscription.renewal_upcoming.v0", "renewsAt") == []


def test_who_leaves_or_is_paused_is_not_reminded(shop: Shop) -> None:
    plan = shop.plan()
    leaving, paused = shop.start(plan), shop.start(plan)
    undone = shop.start(plan)
    for subscription in (leaving, undone):
        path = f"/v0/subscriptions/{subscription['id']}/cancellation"
        shop.world.api.post(path, {"reason": "enough"}, expect=200)
    shop.world.api.delete(f"/v0/subscriptions/{undone['id']}/cancellation", expect=200)
    shop.world.api.post(f"/v0/subscriptions/{paused['id']}/pause", expect=200)
    shop.advance("2026-01-30T00:00:00Z")
    told = OutboxEvent.objects.filter(event_type="subscription.renewal_upcoming.v0")
    assert list(told.values_list("object_id", flat=True)) == [undone["id"]]
    # Resumed with the boundary still ahead: now it is a renewal, and said.
    shop.world.api.post(f"/v0/subscriptions/{paused['id']}/resume", expect=200)
    shop.advance("2026-01-31T00:00:00Z")
    assert list(told.order_by("pk").values_list("object_id", flat=True)) == [undone["id"], paused["id"]]


def test_what_is_late_is_not_announced_after_its_boundary(shop: Shop) -> None:
    subscription = shop.start(shop.plan())
    row = Subscription.objects.get(public_id=subscription["id"])
    # On the wall clock, two months late.
    Subscription.objects.filter(pk=row.pk).update(test_clock=None)
    run_due(clock_id=None, until=at("2026-03-15T00:00:00Z"), in_simulated_time=False)
    assert announced("subscription.renewal_upcoming.v0", "renewsAt") == []
    run_due(clock_id=None, until=at("2026-03-30T00:00:00Z"), in_simulated_time=False)
    run_due(clock_id=None, until=at("2026-03-30T00:00:00Z"), in_simulated_time=False)
    assert announced("subscription.renewal_upcoming.v0", "renewsAt") == [("2026-03-30T00:00", "2026-04-01T00:00:00Z")]


def test_the_database_knows_what_a_term_is(shop: Shop) -> None:
    subscription = shop.start(shop.plan())
    row = Subscription.objects.filter(public_id=subscription["id"])
    for broken in ({"term_ends_at": None}, {"term_number": 0}, {"term_periods": None}):
        with pytest.raises(IntegrityError), transaction.atomic():
            row.update(**broken)


def test_the_admin_sets_what_follows_a_term(shop: Shop) -> None:
    subscription = shop.start(shop.plan())
    row = Subscription.objects.get(public_id=subscription["id"])
    client = Client()
    client.force_login(shop.world.owner)
    url = f"/admin/subscriptions/subscription/{row.pk}/set-auto-renewal/"
    client.post(url, {"renews": "no", "_form_submitted": "1"})
    row.refresh_from_db()
    assert row.auto_renew is False
    assert b"Renewal_" not in client.get(f"/admin/subscriptions/subscription/{row.pk}/change/").content


@pytest.mark.django_db(transaction=True)
def test_two_workers_announce_once() -> None:
    shop = Shop(make_world())
    plan = shop.plan()
    rows = [shop.start(plan) for _ in range(8)]
    Subscription.objects.update(test_clock=None)
    moment = at("2026-01-30T00:00:00Z")
    at_once([lambda: run_reminders(None, moment) for _ in range(4)])
    told = OutboxEvent.objects.filter(event_type="subscription.renewal_upcoming.v0")
    assert sorted(told.values_list("object_id", flat=True)) == sorted(row["id"] for row in rows)
