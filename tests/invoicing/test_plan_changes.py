"""Another plan now, with the period, or on a date: what was prepaid comes back, and not a cent more."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError
from django.test import Client

from apps.catalog.models import Plan
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.services.changing import pass_boundary
from apps.rating.reading import recompute
from apps.subscriptions.models import Subscription
from tests.world import World, at

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


class Shop:
    """A product with a small plan of 31.00 and a large one of 62.00 a month, each with usage at 1.00."""

    def __init__(self, world: World) -> None:
        self.world, self.product = world, world.product()
        self.metric = world.metric(self.product)
        self.clock = world.clock(JANUARY)
        self.small, self.large = self.plan("31.00"), self.plan("62.00")

    def plan(self, amount: str, cadence: str = "P1M", **extra: Any) -> str:
        fee = self.world.fee_price(self.product, amount, billingCadence=cadence)
        usage = self.world.usage_price(self.metric, unit_price="1")
        return self.world.plan(self.product, [fee, usage], billingCadence=cadence, name=f"Plan {amount}", **extra)

    def start(self, plan: str) -> str:
        subscription = self.world.subscribe(self.world.customer(), plan, at=JANUARY, clock=self.clock)
        self.world.pay(subscription["payment"]["invoiceId"])
        return str(subscription["id"])

    def send(self, subscription: str, when: str, tokens: int) -> None:
        customer = self.world.api.get(f"/v0/subscriptions/{subscription}")["customerId"]
        self.world.send(customer, when, tokens=tokens)

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)

    def change(self, subscription: str, plan: str, expect: int = 200, **extra: Any) -> dict[str, Any]:
        path = f"/v0/subscriptions/{subscription}/planChange"
        found: dict[str, Any] = self.world.api.post(path, {"planId": plan, **extra}, expect=expect)
        return found

    def preview(self, subscription: str, plan: str, **extra: Any) -> dict[str, Any]:
        path = f"/v0/subscriptions/{subscription}/planChange/preview"
        found: dict[str, Any] = self.world.api.post(path, {"planId": plan, **extra}, expect=200)
        return found

    def totals(self, subscription: str) -> list[str]:
        return [i["grandTotal"] for i in self.world.invoices(subscription) if i["status"] in {"ISSUED", "PAID"}]


@pytest.fixture
def shop(world: World) -> Shop:
    return Shop(world)


def test_up_in_the_middle_of_the_month(shop: Shop) -> None:
    old = shop.start(shop.small)
    shop.send(old, "2026-01-05T00:00:00Z", 3)
    shop.advance("2026-01-11T00:00:00Z")
    previewed = shop.preview(old, shop.large)
    assert (previewed["credit"], previewed["closing"]["total"], previewed["opening"]["total"]) == (
        "-21.00", "-18.00", "42.00",
    )  # fmt: skip
    assert (previewed["net"], previewed["effectiveAt"]) == ("24.00", "2026-01-11T00:00:00Z")
    assert Subscription.objects.count() == 1

    new = shop.change(old, shop.large)
    assert (new["status"], new["planId"], new["replacesSubscriptionId"]) == ("active", shop.large, old)
    ended = shop.world.api.get(f"/v0/subscriptions/{old}")
    assert (ended["status"], ended["terminatedAt"]) == ("terminated", "2026-01-11T00:00:00Z")
    shop.send(old, "2026-01-20T00:00:00Z", 5)
    shop.advance("2026-03-02T00:00:00Z")
    # Three units and 21 of 31 days back; the large plan's 21 days, then January's other usage and February, and on.
    assert shop.totals(old) == ["31.00", "-18.00"]
    assert shop.totals(new["id"]) == ["42.00", "67.00", "62.00"]
    credit = InvoiceLine.objects.get(reference__startswith="unused:")
    assert recompute(credit.provenance) == credit.gross == Decimal("-21.00")


def test_down_with_the_period_and_undone(shop: Shop) -> None:
    old = shop.start(shop.large)
    shop.advance("2026-01-11T00:00:00Z")
    assert shop.preview(old, shop.small, timing="period_end")["credit"] == "0.00"
    answer = shop.change(old, shop.small, timing="period_end")
    assert (answer["id"], answer["nextPlanId"], answer["cancelsAt"]) == (old, shop.small, "2026-02-01T00:00:00Z")
    shop.world.api.delete(f"/v0/subscriptions/{old}/cancellation", expect=200)
    shop.advance("2026-02-02T00:00:00Z")
    assert shop.totals(old) == ["62.00", "62.00"]
    assert Subscription.objects.count() == 1

    shop.change(old, shop.small, timing="period_end")
    shop.advance("2026-04-02T00:00:00Z")
    new = Subscription.objects.get(replaces__public_id=old)
    assert (new.started_at, new.status) == (at("2026-03-01T00:00:00Z"), "active")
    assert shop.totals(old) == ["62.00", "62.00", "0.00"]
    assert shop.totals(new.public_id) == ["31.00", "31.00"]


def test_on_a_date_gives_back_the_rest(shop: Shop) -> None:
    old = shop.start(shop.small)
    when = "2026-02-15T00:00:00Z"
    assert shop.preview(old, shop.large, effectiveAt="2026-01-11T00:00:00Z")["credit"] == "-21.00"
    previewed = shop.preview(old, shop.large, effectiveAt=when)
    # February's fee was due with its end in sight: 14 of its 28 days, and nothing to give back.
    assert (previewed["credit"], previewed["opening"]["total"]) == ("0.00", "31.00")
    shop.change(old, shop.large, effectiveAt=when)
    shop.advance("2026-03-02T00:00:00Z")
    new = Subscription.objects.get(replaces__public_id=old)
    assert shop.totals(old) == ["31.00", "15.50", "0.00"]
    assert shop.totals(new.public_id) == ["31.00", "62.00"]


def test_another_cadence_begins_a_calendar_of_its_own(shop: Shop) -> None:
    old, yearly = shop.start(shop.small), shop.plan("365.00", "P1Y")
    shop.advance("2026-01-11T00:00:00Z")
    new = shop.change(old, yearly)
    assert new["billingAnchor"] == "2026-01-11T00:00:00Z"
    zero = shop.world.invoices(new["id"])[0]
    assert (zero["periodEnd"], zero["grandTotal"]) == ("2027-01-11T00:00:00Z", "365.00")


def test_at_the_very_start_all_of_it_comes_back(shop: Shop) -> None:
    old = shop.start(shop.small)
    new = shop.change(old, shop.large)
    shop.advance("2026-01-02T00:00:00Z")
    assert shop.totals(old) == ["31.00", "-31.00"]
    assert shop.totals(new["id"]) == ["62.00"]


def test_up_and_down_ten_times_costs_what_each_plan_was_had_for(shop: Shop) -> None:
    current, plans = shop.start(shop.small), [shop.large, shop.small]
    for day in range(2, 12):
        shop.advance(f"2026-01-{day:02}T00:00:00Z")
        current = str(shop.change(current, plans[day % 2])["id"])
    shop.advance("2026-01-31T00:00:00Z")
    ids = list(Subscription.objects.order_by("pk").values_list("public_id", flat=True))
    assert len(ids) == 11
    paid = sum(Decimal(total) for public_id in ids for total in shop.totals(public_id))
    # 1 January small; then five days large and five small in turn, the last of them to the end of the month.
    assert paid == Decimal(1 + 5 * 2 + 5 * 1 + 20 * 1)
    for public_id in ids:
        assert sum(map(Decimal, shop.totals(public_id))) >= 0


def test_late_and_twice_makes_one_follower(shop: Shop) -> None:
    old = Subscription.objects.get(public_id=shop.start(shop.small))
    shop.change(old.public_id, shop.large, timing="period_end")
    late = at("2026-03-20T00:00:00Z")
    assert [pass_boundary(subscription_id=old.pk, as_of=late) for _ in range(3)] == [True, False, False]
    new = Subscription.objects.get(replaces=old)
    assert (new.started_at, new.billing_starts_at) == (at("2026-02-01T00:00:00Z"), at("2026-02-01T00:00:00Z"))
    assert Invoice.objects.get(subscription=new, sequence_number=0).grand_total == 62


@pytest.mark.parametrize("what", ["termination", "term"])
def test_an_end_that_comes_before_the_change_is_followed_by_nothing(shop: Shop, what: str) -> None:
    old = shop.start(shop.small)
    shop.change(old, shop.large, timing="period_end")
    shop.advance("2026-01-11T00:00:00Z")
    if what == "termination":
        shop.world.api.post(f"/v0/subscriptions/{old}/termination", {"reason": "x"}, expect=200)
    else:
        shop.world.api.patch(f"/v0/subscriptions/{old}", {"endingAt": "2026-01-21T00:00:00Z"})
    shop.advance("2026-03-02T00:00:00Z")
    assert Subscription.objects.count() == 1
    # The plan gives nothing back at its end.
    assert shop.totals(old) == ["31.00", "0.00"]


def test_a_paused_one_and_plans_that_do_not_fit_are_refused(shop: Shop) -> None:
    world, old = shop.world, shop.start(shop.small)
    other = world.product()
    euros = world.plan(shop.product, [world.fee_price(shop.product)], currency="EUR")
    for plan in (shop.small, world.plan(other, [world.fee_price(other)]), euros):
        assert shop.change(old, plan, expect=400)["errors"][0]["field"] == "planId"
    assert shop.change(old, "plan_x", expect=404)["code"] == "NOT_FOUND"
    past = shop.change(old, shop.large, expect=400, effectiveAt="2025-01-01T00:00:00Z")
    assert past["errors"][0]["field"] == "effectiveAt"
    world.api.patch(f"/v0/subscriptions/{old}", {"endingAt": "2026-02-01T00:00:00Z"})
    assert shop.change(old, shop.large, expect=400, timing="period_end")["errors"][0]["field"] == "effectiveAt"
    world.api.post(f"/v0/subscriptions/{old}/pause", expect=200)
    assert shop.change(old, shop.large, expect=409)["code"] == "SUBSCRIPTION_PAUSED"
    row = Subscription.objects.get(public_id=old)
    with pytest.raises(IntegrityError, match="changes_to_another_plan"):
        Subscription.objects.update(next_plan_id=row.plan_id)


def test_in_the_admin(shop: Shop) -> None:
    row = Subscription.objects.get(public_id=shop.start(shop.small))
    shop.advance("2026-01-11T00:00:00Z")
    client = Client()
    client.force_login(shop.world.owner)

    def act(action: str, **sent: str) -> str:
        path = f"/admin/subscriptions/subscription/{row.pk}/{action}/"
        assert client.get(path).status_code == 200
        answer = client.post(path, {"effective_at": "", **sent, "_form_submitted": "1"}, follow=True)
        return answer.content.decode()

    said = act("change-plan", plan=shop.large, timing="now", preview="1")
    assert "$21.00" in said
    assert "$42.00" in said
    assert "There is no plan plan_x" in act("change-plan", plan="plan_x", timing="now")
    assert "can be undone" in act("change-plan", plan=shop.large, timing="period_end")
    row.refresh_from_db()
    assert row.next_plan == Plan.objects.get(public_id=shop.large)
    act("change-plan", plan=shop.large, timing="now")
    assert Subscription.objects.get(replaces=row).status == "active"
