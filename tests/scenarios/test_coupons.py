"""Coupons from their code to the invoice: how long they last, who may redeem them, and what they leave to pay."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.catalog.models import Coupon, Plan
from apps.invoicing.models import AppliedCoupon, Invoice, InvoiceLine
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.invoicing.services.issuing import calculate_or_set_aside, retry_failed
from apps.outbox.models import OutboxEvent
from apps.rating.lines import recompute
from apps.subscriptions.models import Subscription
from tests.concurrency import at_once
from tests.world import World, at, make_world

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


class Case:
    """A subscription from 1 January on a fee of 30.00 in arrears and usage at 1.00 a token."""

    def __init__(self, world: World, *, fee: dict[str, Any] | None = None, **plan: Any) -> None:
        self.world = world
        self.product = world.product()
        self.metric = world.metric(self.product)
        self.usage = world.usage_price(self.metric, "1")
        self.fee = world.fee_price(self.product, "30.00", **(fee or {"paymentTerm": "in_arrears"}))
        self.plan = world.plan(self.product, [self.usage, self.fee], **plan)
        self.customer = world.customer()
        self.clock = world.clock(JANUARY)
        self.id = ""

    def begin(self) -> "Case":
        self.id = self.world.subscribe(self.customer, self.plan, at=JANUARY, clock=self.clock)["id"]
        return self

    def coupon(self, code: str, *, expect: int = 201, **terms: Any) -> dict[str, Any]:
        body = {"merchantId": self.world.id, "code": code, "name": f"Deal {code}", "duration": "forever", **terms}
        found: dict[str, Any] = self.world.api.post("/v0/coupons", body, expect=expect)
        return found

    def redeem(self, code: str, *, of: str = "", expect: int = 201) -> dict[str, Any]:
        path = of or f"/v0/customers/{self.customer}"
        found: dict[str, Any] = self.world.api.post(f"{path}/coupons", {"code": code}, expect=expect)
        return found

    @property
    def path(self) -> str:
        return f"/v0/subscriptions/{self.id}"

    def invoice(self, number: int) -> dict[str, Any]:
        """Give an invoice by its place among those of the subscription."""
        return self.world.invoices(self.id)[number]

    def lines(self, number: int) -> list[tuple[str, str]]:
        """Give names and amounts of an invoice, each recomputed from what it keeps."""
        found = self.world.lines(self.invoice(number)["id"])
        for line in found:
            assert recompute(line["provenance"]) == Decimal(line["totalPrice"]), line
        return [(line["invoiceDisplayName"], line["totalPrice"]) for line in found]

    def off(self, number: int) -> list[str]:
        return [amount for name, amount in self.lines(number) if name.startswith("Deal ")]

    def use(self, moment: str, tokens: int, key: str | None = None) -> None:
        self.world.send(self.customer, moment, key=key, tokens=tokens)

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)


def test_three_months_at_twenty_percent(world: World) -> None:
    case = Case(world).begin()
    case.coupon("WELCOME", percentageOff="0.2", duration="repeating", durationPeriods=3)
    applied = case.redeem("WELCOME")
    case.use("2026-01-03T10:15:00Z", 71)
    live = world.invoices(case.id)[0]["grandTotal"]
    case.advance("2026-06-02T00:00:00Z")
    # 20 % of 101.00 is 20.20, of which 71 tokens have 14.20 and the fee 6.00.
    assert case.lines(0) == [
        ("Tokens", "71.00"), ("Platform fee", "30.00"), ("Deal WELCOME: Tokens", "-14.20"),
        ("Deal WELCOME: Platform fee", "-6.00"),
    ]  # fmt: skip
    assert [case.invoice(number)["grandTotal"] for number in range(5)] == [
        "80.80",
        "24.00",
        "24.00",
        "30.00",
        "30.00",
    ]
    # Nothing was merged when it was first looked at: 20 % of the fee.
    assert live == "24.00"
    (shown,) = world.api.get(f"/v0/customers/{case.customer}/coupons")["data"]
    assert shown == {
        **applied, "status": "used_up", "invoicesUsed": 3, "amountsUsed": {"USD": "32.20"},
    }  # fmt: skip


def test_an_amount_that_is_off_once_goes_on_until_it_is_used(world: World) -> None:
    case = Case(world).begin()
    case.coupon("GIFT", amountOff="50.00", currency="USD", duration="once")
    case.redeem("GIFT", of=case.path)
    case.advance("2026-04-02T00:00:00Z")
    assert [case.off(number) for number in range(3)] == [["-30.00"], ["-20.00"], []]
    assert [case.invoice(number)["grandTotal"] for number in range(3)] == ["0.00", "10.00", "30.00"]


def test_several_apply_one_after_the_other_and_taxes_follow(world: World) -> None:
    case = Case(world, defaultTaxRate=20)
    world.api.patch(f"/v0/customers/{case.customer}", {"taxRates": {case.metric: 7, "default": 20}})
    case.begin()
    case.coupon("ALL", percentageOff="0.5")
    case.coupon("TEN", amountOff="10.00", currency="USD", billableMetricIds=[case.metric])
    case.redeem("ALL")
    case.redeem("TEN", of=case.path)
    case.use("2026-01-03T10:15:00Z", 100)
    case.advance("2026-02-02T00:00:00Z")
    # 10 off the usage leaves 90 and 30; half of 120 is 60, of which the usage has 45 and the fee 15.
    assert case.lines(0)[2:] == [
        ("Deal TEN: Tokens", "-10.00"), ("Deal ALL: Tokens", "-45.00"), ("Deal ALL: Platform fee", "-15.00"),
    ]  # fmt: skip
    invoice = case.invoice(0)
    # 7 % of 45 is 3.15, 20 % of 15 is 3.00.
    assert (invoice["subtotal"], invoice["totalTax"], invoice["grandTotal"]) == ("60.00", "6.15", "66.15")


def test_a_manual_credit_and_coupons_never_pass_zero(world: World) -> None:
    case = Case(world).begin()
    case.coupon("FREE", percentageOff="1")
    case.redeem("FREE")
    (invoice,) = world.invoices(case.id)
    body = {
        "subscriptionId": case.id, "displayName": "Goodwill", "currency": "USD", "quantity": "1",
        "unitPrice": "-12.00",
    }  # fmt: skip
    world.api.post("/v2/invoices/lineItems", body)
    case.advance("2026-02-02T00:00:00Z")
    assert case.lines(0) == [
        ("Goodwill", "-12.00"), ("Tokens", "0.00"), ("Platform fee", "30.00"), ("Deal FREE: Platform fee", "-18.00"),
    ]  # fmt: skip
    assert world.api.get(f"/v2/invoices/{invoice['id']}")["status"] == "PAID"


def test_a_coupon_before_the_start_reduces_invoice_zero(world: World) -> None:
    case = Case(world, fee={"paymentTerm": "in_advance"})
    case.coupon("START", percentageOff="0.5", duration="once")
    case.redeem("START")
    case.begin()
    assert case.lines(0) == [("Platform fee", "30.00"), ("Deal START: Platform fee", "-15.00")]
    world.pay(case.invoice(0)["id"])
    case.advance("2026-02-02T00:00:00Z")
    assert case.invoice(1)["grandTotal"] == "30.00"


def test_an_invoice_that_is_cancelled_gives_back_what_it_used(world: World) -> None:
    case = Case(world, fee={"paymentTerm": "in_advance"})
    case.coupon("START", amountOff="20.00", currency="USD", duration="once")
    applied = case.redeem("START")
    case.begin()
    assert case.off(0) == ["-20.00"]
    # It is never paid, and the customer comes back.
    world.api.post(f"{case.path}/termination", {"reason": "x"}, expect=200)
    assert case.invoice(0)["status"] == "CANCELLED"
    (shown,) = world.api.get(f"/v0/customers/{case.customer}/coupons")["data"]
    assert shown == applied
    again = world.subscribe(case.customer, case.plan, at=JANUARY, clock=case.clock)["id"]
    assert again != case.id
    assert world.invoices(again)[0]["grandTotal"] == "10.00"


def test_what_fell_due_before_goes_without(world: World) -> None:
    case = Case(world).begin()
    case.coupon("LATE", percentageOff="0.5", duration="repeating", durationPeriods=1)
    # In the hour of grace: January is over.
    case.advance("2026-02-01T00:30:00Z")
    case.redeem("LATE")
    case.advance("2026-04-02T00:00:00Z")
    assert [case.invoice(number)["grandTotal"] for number in range(3)] == ["30.00", "15.00", "30.00"]


def test_a_failed_calculation_uses_nothing_and_its_retry_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(world).begin()
    case.coupon("GIFT", amountOff="20.00", currency="USD", duration="once")
    case.redeem("GIFT")
    with monkeypatch.context() as broken:
        broken.setattr("apps.invoicing.services.issuing.issue_group", lambda **given: 1 / 0)
        case.advance("2026-02-02T00:00:00Z")
    row = Invoice.objects.get(sequence_number=1)
    assert (row.status, row.lines.count()) == ("FAILED", 0)
    assert world.api.get(f"/v0/customers/{case.customer}/coupons")["data"][0]["invoicesUsed"] == 0
    retry_failed(invoice_id=row.pk, as_of=at("2026-02-02T00:00:00Z"))
    for _ in range(2):
        calculate_or_set_aside(invoice_ids=[row.pk], as_of=at("2026-02-02T00:00:00Z"))
    assert case.off(0) == ["-20.00"]
    shown = world.api.get(f"/v0/customers/{case.customer}/coupons")["data"][0]
    assert (shown["invoicesUsed"], shown["amountsUsed"]) == (1, {"USD": "20.00"})


def test_three_invoices_across_a_change_of_plan(world: World) -> None:
    case = Case(world, fee={"paymentTerm": "in_advance"})
    bigger = world.plan(
        case.product, [case.usage, world.fee_price(case.product, "60.00", invoiceDisplayName="Big fee")], name="Big"
    )
    case.begin()
    world.pay(case.invoice(0)["id"])
    case.coupon("WELCOME", percentageOff="0.5", duration="repeating", durationPeriods=3)
    case.redeem("WELCOME", of=case.path)
    # January's bill: February's fee of 30.00 at half.
    case.advance("2026-02-15T00:00:00Z")
    assert case.off(1) == ["-15.00"]
    world.api.post(f"{case.path}/planChange", {"planId": bigger, "timing": "now"}, expect=200)
    follower = Subscription.objects.get(replaces__public_id=case.id).public_id
    case.advance("2026-05-02T00:00:00Z")
    # The half of February that is left was paid at half: 7.50 come back, and nothing is off a credit.
    assert case.lines(2) == [("Unused: Platform fee", "-7.50"), ("Tokens", "0.00")]
    # It goes on with what follows: half of February of 60.00, then March, and then it is used up.
    assert [row["grandTotal"] for row in world.invoices(follower)] == ["15.00", "30.00", "60.00", "60.00", "60.00"]


def test_a_removed_coupon_ends_with_what_it_reduced(world: World) -> None:
    case = Case(world).begin()
    coupon = case.coupon("DEAL", percentageOff="0.5", maxRedemptions=1)
    unused = case.redeem("DEAL")
    # Nobody else may have it until it is given back.
    path = f"/v0/customers/{case.customer}/coupons"
    case.redeem("DEAL", of=f"/v0/customers/{world.customer()}", expect=409)
    world.api.delete(f"{path}/{unused['id']}", expect=204)
    world.api.delete(f"{path}/{unused['id']}", expect=404)
    assert world.api.get(f"/v0/coupons/{coupon['id']}")["redemptionCount"] == 0
    used = case.redeem("DEAL")
    case.advance("2026-02-02T00:00:00Z")
    left = world.api.delete(f"{path}/{used['id']}", expect=200)
    assert (left["status"], left["removedAt"]) == ("removed", "2026-02-02T00:00:00Z")
    assert world.api.delete(f"{path}/{used['id']}", expect=200) == left
    case.advance("2026-03-02T00:00:00Z")
    assert [case.invoice(number)["grandTotal"] for number in range(2)] == ["15.00", "30.00"]
    assert world.api.get(f"/v0/coupons/{coupon['id']}/redemptions")["data"] == [left]
    told = OutboxEvent.objects.filter(event_type__startswith="coupon.").order_by("pk")
    assert [event.event_type.split(".")[1] for event in told] == ["applied", "removed", "applied", "removed"]


def test_live_figures_are_those_that_are_stored(world: World) -> None:
    case = Case(world).begin()
    case.coupon("A", percentageOff="0.333", priceIds=[case.usage])
    case.coupon("B", amountOff="7.77", currency="USD", duration="once")
    case.redeem("A")
    case.redeem("B")
    case.use("2026-01-03T10:15:00Z", 17)
    case.advance("2026-02-01T00:30:00Z")
    row = with_neighbours(Invoice.objects.all()).get(sequence_number=1)
    assert row.status == "CLOSING"
    live = target_lines([row], as_of=None)[row.pk]
    case.advance("2026-02-02T00:00:00Z")
    stored = InvoiceLine.objects.filter(invoice=row)
    assert {(line.reference, line.gross, line.subtotal, line.tax_amount) for line in live} == {
        (line.reference, line.gross, line.subtotal, line.tax_amount) for line in stored
    }
    assert len(live) == 5


def test_coupons_ask_a_fixed_number_of_questions(world: World) -> None:
    case = Case(world).begin()
    case.coupon("A", percentageOff="0.1", maxRedemptionsPerCustomer=None)
    case.redeem("A", of=case.path)
    asked = []
    for _ in range(2):
        other = Case(world).begin()
        case.redeem("A", of=other.path)
        case.redeem("A", of=f"/v0/customers/{other.customer}")
        rows = list(with_neighbours(Invoice.objects.order_by("pk")))
        with CaptureQueriesContext(connection) as queries:
            found = target_lines(rows, as_of=None)
        asked.append(len(queries))
        assert all(len(lines) > 2 for lines in found.values())
    assert asked[0] == asked[1]


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
