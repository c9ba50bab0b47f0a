"""Who may redeem which coupon, how often, and at once."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.catalog.models import Coupon, Plan
from apps.invoicing.models import AppliedCoupon, Invoice
from apps.invoicing.services.issuing import calculate_or_set_aside
from apps.subscriptions.models import Subscription
from tests.concurrency import at_once
from tests.scenarios.coupons import Case
from tests.world import World, at, make_world

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"percentageOff": "0.1", "code": "two words"}, "code"),
        ({"percentageOff": "1.1"}, "percentageOff"),
        ({"percentageOff": "0"}, "percentageOff"),
        ({}, "percentageOff"),
        ({"percentageOff": "0.1", "amountOff": "1.00", "currency": "USD"}, "percentageOff"),
        ({"percentageOff": "0.1", "currency": "USD"}, "currency"),
        ({"amountOff": "1.00"}, "currency"),
        ({"amountOff": "1.00", "currency": "XXX"}, "currency"),
        ({"amountOff": "1.001", "currency": "USD"}, "amountOff"),
        ({"amountOff": "0", "currency": "USD"}, "amountOff"),
        ({"percentageOff": "0.1", "duration": "twice"}, "duration"),
        ({"percentageOff": "0.1", "duration": "repeating"}, "durationPeriods"),
        ({"percentageOff": "0.1", "duration": "once", "durationPeriods": 3}, "durationPeriods"),
        ({"percentageOff": "0.1", "maxRedemptions": 0}, "maxRedemptions"),
        ({"percentageOff": "0.1", "expiresAt": "soon"}, "expiresAt"),
    ],
)
def test_wrong_coupons_are_refused(world: World, body: dict[str, Any], field: str) -> None:
    sent = {"merchantId": world.id, "code": "X", "name": "X", "duration": "forever", **body}
    answer = world.api.post("/v0/coupons", sent, expect=400)
    assert {problem["field"] for problem in answer["errors"]} == {field}


def test_who_may_redeem(world: World) -> None:
    case = Case(world).begin()
    coupon = case.coupon("DEAL", percentageOff="0.1", maxRedemptions=3)
    assert case.coupon("DEAL", percentageOff="0.2", expect=409)["code"] == "COUPON_CODE_TAKEN"
    assert case.redeem("NONE", expect=400)["errors"][0]["field"] == "code"
    case.redeem("DEAL")
    assert case.redeem("DEAL", expect=409)["code"] == "COUPON_ALREADY_REDEEMED"
    assert world.api.get(f"/v0/coupons/{coupon['id']}")["redemptionCount"] == 1
    euros = case.coupon("EUROS", amountOff="5.00", currency="EUR")
    assert case.redeem("EUROS", of=case.path, expect=422)["code"] == "CURRENCY_MISMATCH"
    # For all of the customer's it is only not off what is in dollars.
    case.redeem("EUROS")
    case.coupon("OVER", percentageOff="0.1", expiresAt="2026-01-01T00:00:00Z")
    assert case.redeem("OVER", expect=409)["code"] == "COUPON_EXPIRED"
    changed = {"name": "Renamed", "maxRedemptions": None, "maxRedemptionsPerCustomer": 2}
    assert world.api.patch(f"/v0/coupons/{coupon['id']}", changed)["name"] == "Renamed"
    case.redeem("DEAL", of=case.path)
    world.api.patch(f"/v0/coupons/{coupon['id']}", {"maxRedemptions": 1}, expect=400)
    archived = world.api.post(f"/v0/coupons/{coupon['id']}/archive", expect=200)
    assert world.api.post(f"/v0/coupons/{coupon['id']}/archive", expect=200) == archived
    assert case.redeem("DEAL", expect=400)["errors"][0]["code"] == "not_found"
    # Its code is free again, and whoever has it keeps it.
    case.coupon("DEAL", percentageOff="0.2")
    case.advance("2026-02-02T00:00:00Z")
    assert case.lines(0)[2:] == [("Renamed: Platform fee", "-3.00"), ("Renamed: Platform fee", "-2.70")]
    assert [row["id"] for row in world.api.get("/v0/coupons?code=EUROS")["data"]] == [euros["id"]]
    world.api.post(f"{case.path}/termination", {"reason": "x"}, expect=200)
    assert case.redeem("DEAL", of=case.path, expect=409)["code"] == "SUBSCRIPTION_TERMINATED"


def test_coupons_stay_within_the_merchant(world: World) -> None:
    case, other = Case(world).begin(), make_world()
    coupon = case.coupon("DEAL", percentageOff="0.1")
    applied = case.redeem("DEAL")
    stranger = other.customer()
    assert other.api.post(f"/v0/customers/{stranger}/coupons", {"code": "DEAL"}, expect=400)["errors"]
    for kind, own in (("priceIds", case.usage), ("billableMetricIds", case.metric), ("planIds", case.plan)):
        body = {
            "merchantId": other.id,
            "code": "X",
            "name": "X",
            "duration": "once",
            "percentageOff": "0.1",
            kind: [own],
        }
        other.api.post("/v0/coupons", body, expect=404)
    other.api.delete(f"/v0/customers/{stranger}/coupons/{applied['id']}", expect=404)
    # A coupon of one customer is not found under another, or under a subscription that it is not for.
    world.api.delete(f"/v0/customers/{world.customer()}/coupons/{applied['id']}", expect=404)
    world.api.delete(f"{case.path}/coupons/{applied['id']}", expect=404)
    assert other.api.get("/v0/coupons")["data"] == []
    body = {"merchantId": world.id, "code": "X", "name": "X", "duration": "once", "percentageOff": "0.1"}
    assert other.api.call("post", "/v0/coupons", body).status_code == 403
    assert json.loads(other.api.call("get", f"/v0/coupons/{coupon['id']}").content)["code"] == "NOT_FOUND"


def test_people_make_apply_and_archive_in_the_admin(world: World) -> None:
    case = Case(world).begin()
    client = Client()
    client.force_login(world.owner)
    plan = Plan.objects.get()
    sent = {
        "organization": world.merchant.pk, "code": "SPRING", "name": "Spring", "percentage": "0.25",
        "duration": "repeating", "duration_periods": "", "plans": [plan.pk], "currency": "",
        "max_redemptions_per_customer": "1",
    }  # fmt: skip
    add = reverse("admin:catalog_coupon_add")
    assert "Say how many invoices it reduces." in client.post(add, sent).content.decode()
    assert client.post(add, {**sent, "duration_periods": "2"}).status_code == 302
    coupon = Coupon.objects.get()
    assert [target.plan_id for target in coupon.targets.all()] == [plan.pk]
    page = client.get(reverse("admin:catalog_coupon_changelist")).content.decode()
    assert "25 %" in page
    assert "2 invoices" in page
    customer = Subscription.objects.get().customer
    url = f"/admin/customers/customer/{customer.pk}/apply-coupon/"
    assert (
        "There is no coupon NO"
        in client.post(url, {"code": "NO", "_form_submitted": "1"}, follow=True).content.decode()
    )
    client.post(url, {"code": "SPRING", "_form_submitted": "1"})
    applied = AppliedCoupon.objects.get()
    assert (applied.customer_id, applied.subscription_id) == (customer.pk, None)
    case.advance("2026-02-02T00:00:00Z")
    listed = client.get(reverse("admin:invoicing_appliedcoupon_changelist")).content.decode()
    assert "$7.50 on 1 invoices" in listed
    paper = client.get(reverse("admin:invoicing_invoice_change", args=[Invoice.objects.get(sequence_number=1).pk]))
    assert "Spring: Platform fee" in paper.content.decode()
    assert "take its share of it: 30 of 30 → -7.5" in paper.content.decode()
    client.post(f"/admin/invoicing/appliedcoupon/{applied.pk}/remove/", {"_form_submitted": "1"})
    applied.refresh_from_db()
    assert applied.removed_at == at("2026-02-02T00:00:00Z")
    client.post(f"/admin/catalog/coupon/{coupon.pk}/archive/", {"_form_submitted": "1"})
    coupon.refresh_from_db()
    assert coupon.archived_at is not None
    row = Subscription.objects.get()
    url = reverse("admin:subscriptions_subscription_apply_coupon", args=[row.pk])
    assert (
        "There is no coupon SPRING"
        in client.post(url, {"code": "SPRING", "_form_submitted": "1"}, follow=True).content.decode()
    )


@pytest.mark.django_db(transaction=True)
def test_of_twenty_at_once_five_get_it(world: World) -> None:
    case = Case(world)
    case.coupon("FIVE", percentageOff="0.1", maxRedemptions=5)
    paths = [f"/v0/customers/{world.customer()}/coupons" for _ in range(20)]
    answers = at_once(
        [lambda path=path: world.api.call("post", path, {"code": "FIVE"}).status_code for path in paths]
    )
    assert sorted(answers) == [201] * 5 + [409] * 15
    assert Coupon.objects.get().redemption_count == AppliedCoupon.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_one_customer_at_once_gets_it_once(world: World) -> None:
    case = Case(world).begin()
    case.coupon("ONE", percentageOff="0.1")
    paths = [case.path, f"/v0/customers/{case.customer}"] * 4
    answers = at_once(
        [lambda path=path: world.api.call("post", f"{path}/coupons", {"code": "ONE"}).status_code for path in paths]
    )
    assert sorted(answers) == [201] + [409] * 7


@pytest.mark.django_db(transaction=True)
def test_invoices_calculated_at_once_share_what_is_left(world: World) -> None:
    first, second = Case(world).begin(), Case(world)
    second.customer = first.customer
    second.clock = first.clock
    second.begin()
    first.coupon("GIFT", amountOff="40.00", currency="USD", duration="once")
    first.redeem("GIFT")
    first.advance("2026-02-01T00:30:00Z")
    ids = list(Invoice.objects.filter(status="CLOSING").values_list("pk", flat=True))
    assert len(ids) == 2
    when = at("2026-02-02T00:00:00Z")
    at_once([lambda pk=pk: calculate_or_set_aside(invoice_ids=[pk], as_of=when) for pk in ids * 2])
    assert sorted(first.off(0) + second.off(0)) == ["-10.00", "-30.00"]
