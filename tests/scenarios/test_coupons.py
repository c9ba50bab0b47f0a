"""Coupons from their code to the invoice: how long they last, who may redeem them, and what they leave to pay."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.invoicing.services.issuing import calculate_or_set_aside, retry_failed
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import Subscription
from tests.scenarios.coupons import JANUARY, Case
from tests.world import World, at

pytestmark = pytest.mark.django_db


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
