"""Least and most that periods bill: commitments with their true-ups, caps, and what comes late."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.catalog.models import Plan, Price, PriceRevision, SpendTerms
from apps.invoicing.models import Invoice, InvoiceLine, SpendAgreement
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.invoicing.services.early import bill_usage_now
from apps.invoicing.services.issuing import calculate_or_set_aside, retry_failed
from apps.organizations.models import Organization
from apps.outbox.models import OutboxEvent
from apps.rating.lines import recompute
from apps.subscriptions.models import Subscription
from tests.concurrency import at_once
from tests.world import World, at

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


class Case:
    """A subscription on usage at 1.00 a token, and on a fee where one is given."""

    def __init__(
        self,
        world: World,
        *,
        fee: dict[str, Any] | None = None,
        usage: dict[str, Any] | None = None,
        started: str = JANUARY,
        **plan: Any,
    ) -> None:
        self.world = world
        self.product = world.product()
        self.metric = world.metric(self.product)
        self.usage = world.usage_price(self.metric, **{"unit_price": "1", **(usage or {})})
        self.prices = [self.usage]
        if fee is not None:
            self.prices.append(world.fee_price(self.product, **{"amount": "30.00", **fee}))
        self.plan = world.plan(self.product, self.prices, **plan)
        self.customer = world.customer()
        self.clock = world.clock(started)
        made = world.subscribe(self.customer, self.plan, at=started, clock=self.clock)
        self.id = made["id"]
        if "payment" in made:
            world.pay(made["payment"]["invoiceId"])
        self.path = f"/v0/subscriptions/{self.id}"

    def invoices(self) -> list[dict[str, Any]]:
        """Give the invoices of the periods, the first one's first."""
        return [row for row in self.world.invoices(self.id) if row["sequenceNumber"]]

    def lines(self, number: int) -> list[tuple[str, str]]:
        """Give names and amounts of the n-th period's invoice, each recomputed from what it keeps."""
        found = self.world.lines(self.invoices()[number - 1]["id"])
        for line in found:
            assert recompute(line["provenance"]) == Decimal(line["totalPrice"]), line
        return [(line["invoiceDisplayName"], line["totalPrice"]) for line in found]

    def use(self, moment: str, tokens: int, key: str | None = None) -> None:
        self.world.send(self.customer, moment, key=key, tokens=tokens)

    def void(self, key: str) -> None:
        self.world.api.post("/v0/events/void", {"reason": "test", "idempotencyKeys": [key]}, expect=200)

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)

    def billed(self) -> Decimal:
        """Give what all issued invoices come to."""
        rows = Invoice.objects.filter(subscription__public_id=self.id, number__isnull=False)
        return sum((row.grand_total for row in rows), Decimal(0))


def test_a_warehouse_commits_to_twelve_thousand_a_year_and_is_billed_monthly(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "12000.00", "cadence": "P1Y"})
    for month in range(1, 13):
        case.use(f"2026-{month:02d}-10T10:00:00Z", 800)
    case.advance("2026-12-15T00:00:00Z")
    assert [row["grandTotal"] for row in case.invoices()[:11]] == ["800.00"] * 11
    # The year ends with December: 12 × 800 are 9,600, of 12,000.
    case.advance("2027-01-02T00:00:00Z")
    assert case.lines(12) == [("Tokens", "800.00"), ("Minimum commitment", "2400.00")]
    assert case.billed() == 12000
    # What was used in November and December, and comes late, was paid with the true-up.
    case.use("2026-11-20T10:00:00Z", 100)
    case.use("2026-12-20T10:00:00Z", 50)
    case.use("2027-01-10T10:00:00Z", 5)
    case.advance("2027-02-02T00:00:00Z")
    assert case.lines(13) == [
        ("Tokens", "5.00"), ("Tokens (late usage)", "100.00"), ("Tokens (late usage)", "50.00"),
        ("Minimum commitment", "-150.00"),
    ]  # fmt: skip
    # So much that the year passes its commitment: 9,750 and 3,000 are 750 above it.
    case.use("2026-12-21T10:00:00Z", 3000)
    case.advance("2027-03-02T00:00:00Z")
    assert case.lines(14) == [
        ("Tokens", "0.00"), ("Tokens (late usage)", "3000.00"), ("Minimum commitment", "-2250.00"),
    ]  # fmt: skip
    assert case.billed() == 12750 + 5


def test_a_true_up_says_how_it_was_calculated(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "100.00"}, started="2026-01-01T00:00:00Z", fee={})
    case.use("2026-01-10T10:00:00Z", 20)
    case.advance("2026-02-02T00:00:00Z")
    # The fee of January was on Invoice 0; it counts all the same.
    assert case.lines(1) == [("Tokens", "20.00"), ("Platform fee", "30.00"), ("Minimum commitment", "50.00")]
    (line,) = [
        row for row in world.lines(case.invoices()[0]["id"]) if row["invoiceDisplayName"] == "Minimum commitment"
    ]
    assert line["eventType"] == "fee"
    assert (line["periodStart"], line["periodEnd"]) == (JANUARY, "2026-02-01T00:00:00Z")
    provenance = line["provenance"]
    assert [(step["op"], step["out"]) for step in provenance["steps"]] == [
        ("replace", "100"), ("round", "100"), ("subtract", "50"),
    ]  # fmt: skip
    version = world.api.get(f"/v0/plans/{case.plan}/versions/1")
    assert provenance["sources"]["spend"] == {
        "type": "planVersion", "ref": {"planVersionId": version["id"]},
        "window": {"start": JANUARY, "end": "2026-02-01T00:00:00Z"},
    }  # fmt: skip
    assert version["minimumCommitment"] == {"amount": "100", "cadence": None}


def test_short_periods_commit_to_their_part(world: World) -> None:
    # On calendar months from 22 January: 10 of 31 days, by the second; it ends in the midst of March.
    case = Case(
        world, minimumCommitment={"amount": "310.00"}, billingAnchor=JANUARY, started="2026-01-22T00:00:00Z",
    )  # fmt: skip
    case.use("2026-01-25T10:00:00Z", 40)
    case.advance("2026-03-11T12:00:00Z")
    assert case.lines(1)[1:] == [("Minimum commitment", "60.00")]
    assert case.lines(2)[1:] == [("Minimum commitment", "310.00")]
    world.api.post(f"{case.path}/termination", {"reason": "x"}, expect=200)
    case.advance("2026-03-12T00:00:00Z")
    # 10.5 of 31 days of 310.00.
    assert case.lines(3) == [("Tokens", "0.00"), ("Minimum commitment", "105.00")]


def test_a_commitment_of_a_year_ends_in_proportion_with_the_subscription(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "3650.00", "cadence": "P1Y"}, proration="day")
    case.use("2026-01-10T10:00:00Z", 100)
    # Ended on a boundary, after the last invoice was calculated: a bill of no time takes the true-up.
    case.advance("2026-02-02T00:00:00Z")
    world.api.post(f"{case.path}/termination", {"reason": "x"}, expect=200)
    case.advance("2026-03-02T00:00:00Z")
    # 32 of 365 days.
    assert case.lines(2) == [("Tokens", "0.00"), ("Minimum commitment", "220.00")]
    other = Case(world, minimumCommitment={"amount": "3650.00", "cadence": "P1Y"}, proration="day")
    other.advance("2026-02-01T02:00:00Z")
    body = {"status": "terminated", "terminatedAt": "2026-02-01T00:00:00Z", "terminationReason": "x"}
    world.api.patch(other.path, body)
    other.advance("2026-02-02T00:00:00Z")
    # 31 of 365 days, on a bill of no time, because January's was issued before anybody knew.
    assert other.lines(1) == [("Tokens", "0.00")]
    assert other.lines(2) == [("Minimum commitment", "310.00")]


def test_prices_and_plans_commit_each_for_themselves(world: World) -> None:
    case = Case(
        world, usage={"minimumCommitment": {"amount": "50.00"}}, fee={"paymentTerm": "in_arrears"},
        minimumCommitment={"amount": "100.00"}, defaultTaxRate=20,
    )  # fmt: skip
    world.api.patch(f"/v0/customers/{case.customer}", {"taxRates": {case.metric: 10, "default": 20}})
    case.use("2026-01-10T10:00:00Z", 10)
    case.advance("2026-02-02T00:00:00Z")
    # Usage is trued up to 50, which with the fee of 30 misses 20 of the plan's 100.
    assert case.lines(1) == [
        ("Tokens", "10.00"), ("Platform fee", "30.00"), ("Minimum commitment: Tokens", "40.00"),
        ("Minimum commitment", "20.00"),
    ]  # fmt: skip
    # 10 % of 50 and 20 % of 50.
    assert [case.invoices()[0][name] for name in ("subtotal", "totalTax", "grandTotal")] == [
        "100.00",
        "15.00",
        "115.00",
    ]


def test_coupons_and_manual_lines_do_not_change_a_true_up(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "100.00"})
    coupon = {"merchantId": world.id, "code": "HALF", "name": "Half", "percentageOff": "0.5", "duration": "forever"}
    world.api.post("/v0/coupons", coupon)
    world.api.post(f"{case.path}/coupons", {"code": "HALF"})
    body = {
        "subscriptionId": case.id,
        "displayName": "Setup",
        "currency": "USD",
        "quantity": "1",
        "unitPrice": "75.00",
    }
    world.api.post("/v2/invoices/lineItems", body)
    case.use("2026-01-10T10:00:00Z", 10)
    case.advance("2026-02-02T00:00:00Z")
    assert case.lines(1) == [
        ("Setup", "75.00"), ("Tokens", "10.00"), ("Minimum commitment", "90.00"), ("Half: Tokens", "-5.00"),
        ("Half: Minimum commitment", "-45.00"),
    ]  # fmt: skip


def test_a_coupon_of_a_price_is_off_its_true_up(world: World) -> None:
    case = Case(world, fee={"paymentTerm": "in_arrears"}, usage={"minimumCommitment": {"amount": "50.00"}})
    coupon = {"merchantId": world.id, "code": "TEN", "name": "Ten", "percentageOff": "0.1", "duration": "forever"}
    world.api.post("/v0/coupons", {**coupon, "billableMetricIds": [case.metric]})
    world.api.post(f"/v0/customers/{case.customer}/coupons", {"code": "TEN"})
    case.advance("2026-02-02T00:00:00Z")
    assert case.lines(1) == [
        ("Tokens", "0.00"), ("Platform fee", "30.00"), ("Minimum commitment: Tokens", "50.00"),
        ("Ten: Minimum commitment: Tokens", "-5.00"),
    ]  # fmt: skip


def test_a_correction_is_given_back_as_far_as_the_commitment_lets_it(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "100.00"})
    case.use("2026-01-10T10:00:00Z", 150, key="big")
    case.use("2026-01-11T10:00:00Z", 30)
    case.advance("2026-02-02T00:00:00Z")
    assert case.lines(1) == [("Tokens", "180.00")]
    case.void("big")
    case.advance("2026-03-02T00:00:00Z")
    # January is worth 30 now, so it misses 70; February misses all of it.
    assert case.lines(2) == [
        ("Tokens", "0.00"), ("Tokens (correction)", "-150.00"), ("Minimum commitment", "70.00"),
        ("Minimum commitment", "100.00"),
    ]  # fmt: skip
    assert case.billed() == 200


def test_a_cap_cuts_what_passes_it_and_late_usage_of_its_period(world: World) -> None:
    case = Case(world, fee={"paymentTerm": "in_arrears"}, spendCap={"amount": "100.00"})
    case.use("2026-01-10T10:00:00Z", 60)
    case.advance("2026-02-02T00:00:00Z")
    assert case.lines(1) == [("Tokens", "60.00"), ("Platform fee", "30.00")]
    # 30 come late, of which January takes 10; February has 140 and is cut by 40, shared out by 110 and 30.
    case.use("2026-01-20T10:00:00Z", 30, key="late")
    case.use("2026-02-10T10:00:00Z", 110)
    case.advance("2026-03-02T00:00:00Z")
    assert case.lines(2) == [
        ("Tokens", "110.00"), ("Spend cap: Tokens", "-31.43"), ("Platform fee", "30.00"),
        ("Spend cap: Platform fee", "-8.57"), ("Tokens (late usage)", "30.00"),
        ("Spend cap: Tokens (late usage)", "-20.00"),
    ]  # fmt: skip
    assert case.billed() == 200
    # More of January is free; what is voided of it was cut, and only then reduces the bill.
    case.use("2026-01-21T10:00:00Z", 7)
    case.advance("2026-04-02T00:00:00Z")
    assert case.lines(3)[2:] == [("Tokens (late usage)", "7.00"), ("Spend cap: Tokens (late usage)", "-7.00")]
    case.void("late")
    case.advance("2026-05-02T00:00:00Z")
    # 30 of 127 are gone: 97 are below the cap, so all 27 that were cut come back, and the invoice gives 3.
    assert case.lines(4) == [
        ("Tokens", "0.00"), ("Platform fee", "30.00"), ("Tokens (correction)", "-30.00"),
        ("Spend cap, given back: Tokens", "27.00"),
    ]  # fmt: skip


def test_a_cap_of_a_price_and_of_a_year(world: World) -> None:
    case = Case(
        world, usage={"spendCap": {"amount": "50.00"}}, fee={"paymentTerm": "in_arrears"},
        spendCap={"amount": "200.00", "cadence": "P1Y"},
    )  # fmt: skip
    for month in range(1, 5):
        case.use(f"2026-{month:02d}-10T10:00:00Z", 70)
    case.advance("2026-05-02T00:00:00Z")
    # 50 of usage and 30 a month; of the third month's 80 only 40 are left of the year's 200.
    assert case.lines(1) == [("Tokens", "70.00"), ("Spend cap: Tokens", "-20.00"), ("Platform fee", "30.00")]
    assert [row["grandTotal"] for row in case.invoices()[:4]] == ["80.00", "80.00", "40.00", "0.00"]
    assert case.lines(3) == [
        ("Tokens", "70.00"), ("Spend cap: Tokens", "-20.00"), ("Spend cap: Tokens", "-25.00"),
        ("Platform fee", "30.00"), ("Spend cap: Platform fee", "-15.00"),
    ]  # fmt: skip


def test_prepaid_fees_come_back_as_the_cap_left_them(world: World) -> None:
    case = Case(world, fee={"amount": "60.00"}, spendCap={"amount": "30.00"})
    assert world.invoices(case.id)[0]["grandTotal"] == "30.00"
    case.advance("2026-01-16T12:00:00Z")
    world.api.post(f"{case.path}/pause", expect=200)
    assert case.lines(1)[-1] == ("Unused: Platform fee", "-15.00")


def test_a_period_keeps_the_terms_it_opened_with(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "100.00"}, usage={"spendCap": {"amount": "500.00"}})
    world.api.patch(f"/v0/plans/{case.plan}", {"minimumCommitment": {"amount": "120.00"}})
    shown = world.api.patch(f"/v0/prices/{case.usage}", {"spendCap": {"amount": "80.00", "cadence": "P1M"}})
    assert shown["spendCap"] == {"amount": "80", "cadence": "P1M"}
    case.use("2026-01-10T10:00:00Z", 90)
    case.use("2026-02-10T10:00:00Z", 90)
    case.advance("2026-03-02T00:00:00Z")
    assert case.lines(1) == [("Tokens", "90.00"), ("Minimum commitment", "10.00")]
    assert case.lines(2) == [("Tokens", "90.00"), ("Spend cap: Tokens", "-10.00"), ("Minimum commitment", "40.00")]
    # A version keeps what it was published with; another set of prices keeps it too, until it is taken away.
    other = world.fee_price(case.product, "5.00", paymentTerm="in_arrears")
    minted = world.api.post(f"/v0/plans/{case.plan}/versions", {"prices": [case.usage, other]})
    assert minted["minimumCommitment"] == {"amount": "120", "cadence": None}
    assert [price.get("spendCap") for price in minted["prices"]] == [{"amount": "80", "cadence": "P1M"}, None]
    bare = world.api.patch(f"/v0/plans/{case.plan}", {"minimumCommitment": None})
    assert "minimumCommitment" not in bare
    numbers = [world.api.get(f"/v0/plans/{case.plan}/versions/{n}").get("minimumCommitment") for n in range(1, 5)]
    assert [row and row["amount"] for row in numbers] == ["100", "120", "120", None]
    # Nothing changed, so nothing is published.
    world.api.patch(f"/v0/plans/{case.plan}", {"minimumCommitment": None, "name": "Bare"})
    assert world.api.get(f"/v0/plans/{case.plan}/versions")["pagination"]["total"] == 4
    world.api.patch(f"/v0/prices/{case.usage}", {"invoiceDisplayName": "Renamed"})
    assert world.api.get(f"/v0/prices/{case.usage}")["spendCap"] == {"amount": "80", "cadence": "P1M"}
    assert PriceRevision.objects.filter(price__public_id=case.usage).count() == 3
    with pytest.raises(Exception, match="Cannot update"):
        SpendTerms.objects.update(amount=1)


def test_a_year_keeps_its_commitment_over_a_new_version(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "1200.00", "cadence": "P1Y"})
    case.advance("2026-06-15T00:00:00Z")
    world.api.patch(f"/v0/plans/{case.plan}", {"minimumCommitment": {"amount": "100.00", "cadence": "P1M"}})
    case.advance("2027-03-02T00:00:00Z")
    trued_up = {n: case.lines(n)[1:] for n in range(1, 15) if case.lines(n)[1:]}
    assert trued_up == {
        12: [("Minimum commitment", "1200.00")],
        13: [("Minimum commitment", "100.00")],
        14: [("Minimum commitment", "100.00")],
    }


def test_a_true_up_waits_for_an_invoice_that_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(world, minimumCommitment={"amount": "300.00", "cadence": "P2M"})
    case.use("2026-01-10T10:00:00Z", 100)
    case.use("2026-02-10T10:00:00Z", 50)
    with monkeypatch.context() as broken:
        broken.setattr("apps.invoicing.services.issuing.issue_group", lambda **given: 1 / 0)
        case.advance("2026-02-02T00:00:00Z")
    case.advance("2026-03-02T00:00:00Z")
    assert [row["status"] for row in case.invoices()] == ["FAILED", "ISSUED", "ACTIVE"]
    assert case.lines(2) == [("Tokens", "50.00")]
    row = Invoice.objects.get(status="FAILED")
    retry_failed(invoice_id=row.pk, as_of=at("2026-03-02T00:00:00Z"))
    calculate_or_set_aside(invoice_ids=[row.pk], as_of=at("2026-03-02T00:00:00Z"))
    # Now that all of it is known, whichever invoice is calculated last takes it.
    assert case.lines(1) == [("Tokens", "100.00"), ("Minimum commitment", "150.00")]
    case.advance("2026-06-02T00:00:00Z")
    assert [case.lines(n)[1:] for n in (3, 4, 5)] == [[], [("Minimum commitment", "300.00")], []]


def test_a_job_that_is_late_by_months_bills_the_same(world: World) -> None:
    on_time, late = (
        Case(
            world, minimumCommitment={"amount": "700.00", "cadence": "P3M"}, usage={"spendCap": {"amount": "150.00"}}
        )
        for _ in range(2)
    )
    for case, grace_seconds in ((on_time, 3600), (late, 200 * 86_400)):
        Organization.objects.update(grace_period_seconds=grace_seconds)
        for month in range(1, 5):
            case.use(f"2026-{month:02d}-10T10:00:00Z", 60 * month)
        case.advance("2026-05-02T00:00:00Z")
    closed = Invoice.objects.filter(subscription__public_id=late.id, status="CLOSING").order_by("-pk")
    ids = list(closed.values_list("pk", flat=True))
    assert len(ids) == 4
    assert calculate_or_set_aside(invoice_ids=ids, as_of=at("2026-05-02T00:00:00Z")) == 4
    assert [late.lines(n) for n in range(1, 5)] == [on_time.lines(n) for n in range(1, 5)]
    # 60, 120 and 150 of 180 are 330, so the quarter misses 370.
    assert late.lines(3) == [("Tokens", "180.00"), ("Spend cap: Tokens", "-30.00"), ("Minimum commitment", "370.00")]


def test_live_figures_are_those_that_are_stored(world: World) -> None:
    case = Case(
        world, usage={"spendCap": {"amount": "70.00"}}, fee={"paymentTerm": "in_arrears"},
        minimumCommitment={"amount": "250.00"},
    )  # fmt: skip
    case.use("2026-01-10T10:00:00Z", 90)
    case.advance("2026-02-01T00:30:00Z")
    row = with_neighbours(Invoice.objects.all()).get(sequence_number=1)
    live = target_lines([row], as_of=None)[row.pk]
    case.advance("2026-02-02T00:00:00Z")
    stored = InvoiceLine.objects.filter(invoice=row)
    assert {(line.reference, line.gross, line.total) for line in live} == {
        (line.reference, line.gross, line.total) for line in stored
    }
    assert case.lines(1) == [
        ("Tokens", "90.00"), ("Spend cap: Tokens", "-20.00"), ("Platform fee", "30.00"),
        ("Minimum commitment", "150.00"),
    ]  # fmt: skip


def test_they_ask_a_fixed_number_of_questions(world: World) -> None:
    asked = []
    for _ in range(3):
        case = Case(world, minimumCommitment={"amount": "100.00"}, usage={"spendCap": {"amount": "10.00"}})
        case.use("2026-01-10T10:00:00Z", 20)
        case.advance("2026-02-02T00:00:00Z")
        rows = list(with_neighbours(Invoice.objects.filter(status="ACTIVE").order_by("pk")))
        with CaptureQueriesContext(connection) as queries:
            target_lines(rows, as_of=None)
        asked.append(len(queries))
    assert asked[1] == asked[2]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"minimumCommitment": {"amount": "0"}}, "minimumCommitment.amount"),
        ({"minimumCommitment": {"amount": "-1"}}, "minimumCommitment.amount"),
        ({"minimumCommitment": {"amount": "1.001"}}, "minimumCommitment.amount"),
        ({"minimumCommitment": {"amount": "1", "cadence": "P1M1D"}}, "minimumCommitment.cadence"),
        ({"minimumCommitment": "100"}, "minimumCommitment"),
        ({"spendCap": {"amount": "100", "cadence": "monthly"}}, "spendCap.cadence"),
        ({"spendCap": {"amount": "99"}, "minimumCommitment": {"amount": "100", "cadence": "P1M"}}, "spendCap.amount"),
    ],
)
def test_wrong_terms_are_refused(world: World, body: dict[str, Any], field: str) -> None:
    product = world.product()
    price = world.usage_price(world.metric(product))
    sent = {"currency": "USD", "merchantId": world.id, "name": "Pro", "productId": product, "prices": [price], **body}
    answer = world.api.post("/v0/plans", sent, expect=400)
    assert field in {problem["field"].removesuffix(".non_field_errors") for problem in answer["errors"]}
    # A price has no currency of its own, so its minor unit is not known, and its cadence is the plan's.
    if body not in ({"minimumCommitment": {"amount": "1.001"}}, {**body, "spendCap": {"amount": "99"}}):
        world.api.call("patch", f"/v0/prices/{price}", body, expect=400)


def test_what_is_charged_once_has_no_period(world: World) -> None:
    product = world.product()
    price = world.fee_price(product, billingCadence="P0D")
    answer = world.api.call("patch", f"/v0/prices/{price}", {"spendCap": {"amount": "5"}}, expect=400)
    assert b"charged once" in answer.content


def test_bills_before_the_end_are_capped_and_trued_up_once(world: World) -> None:
    capped, committed = (
        Case(world, **terms)
        for terms in ({"spendCap": {"amount": "100.00"}}, {"minimumCommitment": {"amount": "200.00"}})
    )
    for case, first, rest in ((capped, 130, 20), (committed, 60, 80)):
        case.use("2026-01-10T10:00:00Z", first)
        case.advance("2026-01-12T00:00:00Z")
        row = Subscription.objects.get(public_id=case.id)
        bill_usage_now(subscription_id=row.pk, as_of=at("2026-01-12T00:00:00Z"))
        case.use("2026-01-20T10:00:00Z", rest)
        case.advance("2026-02-02T00:00:00Z")
    bills = Invoice.objects.filter(sequence_number=1).order_by("subscription_id", "-part")
    assert [[(line.display_name, line.gross) for line in bill.lines.order_by("pk")] for bill in bills] == [
        [("Tokens", 130), ("Spend cap: Tokens", -30)],
        [("Tokens", 20), ("Spend cap: Tokens", -20)],
        [("Tokens", 60)],
        [("Tokens", 80), ("Minimum commitment", 60)],
    ]
    assert all(recompute(line.provenance) == line.gross for line in InvoiceLine.objects.all())


def test_a_trial_commits_to_nothing(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "100.00"}, trialPeriod="P14D")
    case.advance("2026-03-16T00:00:00Z")
    assert [case.lines(n)[1:] for n in range(1, 4)] == [
        [], [("Minimum commitment", "100.00")], [("Minimum commitment", "100.00")],
    ]  # fmt: skip


def test_what_is_agreed_is_previewed(world: World) -> None:
    case = Case(world)
    body = {"type": "minimumCommitment", "amount": "40.00", "effectiveFrom": JANUARY}
    shown = world.api.post(f"{case.path}/spendAgreements/preview", body, expect=200)
    assert (shown["before"]["total"], shown["closing"]["total"]) == ("0.00", "40.00")
    assert not SpendAgreement.objects.exists()


def agree(case: Case, expect: int = 201, **terms: Any) -> dict[str, Any]:
    body = {"type": "minimumCommitment", "effectiveFrom": JANUARY, **terms}
    found: dict[str, Any] = case.world.api.post(f"{case.path}/spendAgreements", body, expect=expect)
    return found


def test_what_is_agreed_takes_the_place_of_the_plans(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "100.00"})
    # February and March at 40.00, then the plan's again; a cap that the plan does not have, from March on.
    agree(case, amount="40.00", effectiveFrom="2026-02-01T00:00:00Z", effectiveTo="2026-04-01T00:00:00Z")
    agree(case, type="spendCap", amount="70.00", effectiveFrom="2026-03-01T00:00:00Z", priceId=case.usage)
    for month in range(1, 5):
        case.use(f"2026-{month:02d}-10T10:00:00Z", 30 * month)
    case.advance("2026-05-02T00:00:00Z")
    assert [case.lines(n) for n in range(1, 5)] == [
        [("Tokens", "30.00"), ("Minimum commitment", "70.00")],
        [("Tokens", "60.00")],
        [("Tokens", "90.00"), ("Spend cap: Tokens", "-20.00")],
        [("Tokens", "120.00"), ("Spend cap: Tokens", "-50.00"), ("Minimum commitment", "30.00")],
    ]


def test_a_year_is_agreed_and_ends_on_its_date(world: World) -> None:
    case = Case(world)
    # From 1 March on for ten months of a year, by the second: 306 of 365 days of 3,650.00.
    agree(
        case,
        amount="3650.00",
        cadence="P1Y",
        effectiveFrom="2026-03-01T00:00:00Z",
        effectiveTo="2027-01-01T00:00:00Z",
    )
    for month in range(1, 13):
        case.use(f"2026-{month:02d}-10T10:00:00Z", 100)
    case.advance("2027-03-02T00:00:00Z")
    trued_up = {n: case.lines(n)[1:] for n in range(1, 15) if case.lines(n)[1:]}
    assert trued_up == {12: [("Minimum commitment", "2060.00")]}


def test_nothing_of_the_plans_holds_where_that_is_agreed(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "100.00"})
    agree(case, amount=None, effectiveTo="2026-03-01T00:00:00Z")
    case.advance("2026-04-02T00:00:00Z")
    assert [case.lines(n)[1:] for n in range(1, 4)] == [[], [], [("Minimum commitment", "100.00")]]


def test_what_is_over_is_not_reached_and_the_latest_agreed_holds(world: World) -> None:
    case = Case(world)
    case.advance("2026-02-01T00:30:00Z")
    agree(case, amount="50.00")
    agree(case, amount="60.00", effectiveFrom="2026-03-01T00:00:00Z")
    case.advance("2026-04-02T00:00:00Z")
    assert [case.lines(n)[1:] for n in range(1, 4)] == [
        [], [("Minimum commitment", "50.00")], [("Minimum commitment", "60.00")],
    ]  # fmt: skip


def test_withdrawing_deletes_what_was_never_billed_and_ends_what_was(world: World) -> None:
    case = Case(world)
    path = f"{case.path}/spendAgreements"
    unused = agree(case, amount="50.00", idempotencyKey="deal")
    assert agree(case, amount="99.00", idempotencyKey="deal", expect=200) == unused
    world.api.delete(f"{path}/{unused['id']}", expect=204)
    world.api.delete(f"{path}/{unused['id']}", expect=404)
    used = agree(case, amount="50.00")
    case.advance("2026-02-15T00:00:00Z")
    left = world.api.delete(f"{path}/{used['id']}", expect=200)
    assert left == {**used, "effectiveTo": "2026-02-01T00:00:00Z"}
    assert world.api.delete(f"{path}/{used['id']}", expect=200) == left
    assert world.api.get(path)["data"] == [left]
    case.use("2026-01-20T00:00:00Z", 10)
    case.advance("2026-03-02T00:00:00Z")
    # February is free of it; January still has it, so that what comes late is paid already.
    assert case.lines(2) == [
        ("Tokens", "0.00"), ("Tokens (late usage)", "10.00"), ("Minimum commitment", "-10.00"),
    ]  # fmt: skip
    told = OutboxEvent.objects.filter(event_type__startswith="spend_agreement.").order_by("pk")
    assert [event.event_type.split(".")[1] for event in told] == ["created", "withdrawn", "created", "withdrawn"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "minimum", "amount": "1"}, "type"),
        ({"amount": "0"}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"amount": "1.001"}, "amount"),
        ({}, "amount"),
        ({"amount": "1", "cadence": "PT1H"}, "cadence"),
        ({"amount": "1", "effectiveTo": JANUARY}, "effectiveTo"),
        ({"amount": "1", "priceId": "price_x"}, "priceId"),
    ],
)
def test_wrong_agreements_are_refused(world: World, body: dict[str, Any], field: str) -> None:
    case = Case(world)
    answer = agree(case, expect=400, **body)
    assert {problem["field"] for problem in answer["errors"]} == {field}


def test_nothing_more_is_agreed_with_an_ended_subscription(world: World) -> None:
    case = Case(world)
    world.api.post(f"{case.path}/termination", {"reason": "x"}, expect=200)
    assert agree(case, amount="1.00", expect=409)["code"] == "SUBSCRIPTION_TERMINATED"


def test_people_see_set_and_agree_them_in_the_admin(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "100.00"})
    client = Client()
    client.force_login(world.owner)
    plan = Plan.objects.get()
    url = reverse("admin:catalog_plan_change", args=[plan.pk])
    form = client.get(url).context["adminform"].form
    sent = {name: value for name, value in form.initial.items() if value is not None and value is not False}
    assert (sent["commitment_amount"], sent["commitment_cadence"]) == (Decimal(100), "")
    assert client.post(url, sent).status_code == 302
    assert plan.versions.count() == 1
    assert "below the commitment" in client.post(url, {**sent, "cap_amount": "99"}).content.decode()
    assert client.post(url, {**sent, "cap_amount": "500", "cap_cadence": "P1Y"}).status_code == 302
    plan.refresh_from_db()
    assert plan.default_version is not None
    page = reverse("admin:catalog_planversion_change", args=[plan.default_version.pk])
    assert "Spend cap" in client.get(page).content.decode()
    price = Price.objects.get()
    url = reverse("admin:catalog_price_change", args=[price.pk])
    form = client.get(url).context["adminform"].form
    sent = {name: value for name, value in form.initial.items() if value is not None and value is not False}
    sent["properties"] = '{"unitPrice": "1"}'
    assert client.post(url, {**sent, "commitment_amount": "0"}).status_code == 200
    assert client.post(url, {**sent, "commitment_amount": "5"}).status_code == 302
    assert world.api.get(f"/v0/prices/{case.usage}")["minimumCommitment"] == {"amount": "5", "cadence": None}
    row = Subscription.objects.get()
    url = reverse("admin:subscriptions_subscription_agree_spend", args=[row.pk])
    deal = {"kind": "commitment", "amount": "40", "effective_from": JANUARY, "_form_submitted": "1"}
    assert "Give an instant" in client.post(url, {**deal, "effective_from": "soon"}).content.decode()
    said = client.post(url, {**deal, "price": "price_x"}, follow=True).content.decode()
    assert "Name a price of this subscription." in said
    client.post(url, deal)
    agreed = SpendAgreement.objects.get()
    page = client.get(reverse("admin:subscriptions_subscription_change", args=[row.pk])).content.decode()
    assert "Minimum commitment 40" in page
    assert "$100.00" in page
    assert "$40.00" in client.get(reverse("admin:invoicing_spendagreement_changelist")).content.decode()
    case.use("2026-01-10T10:00:00Z", 10)
    case.advance("2026-02-02T00:00:00Z")
    invoice = Invoice.objects.get(sequence_number=1)
    paper = client.get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])).content.decode()
    assert "take off what counts for it: 10 → 30" in paper
    client.post(f"/admin/invoicing/spendagreement/{agreed.pk}/withdraw/", {"_form_submitted": "1"})
    agreed.refresh_from_db()
    assert agreed.effective_to == at("2026-02-01T00:00:00Z")


@pytest.mark.django_db(transaction=True)
def test_one_key_at_once_agrees_once(world: World) -> None:
    case = Case(world)
    body = {"type": "spendCap", "amount": "5.00", "effectiveFrom": JANUARY, "idempotencyKey": "deal"}
    path = f"{case.path}/spendAgreements"
    answers = at_once([lambda: world.api.call("post", path, body).status_code] * 6)
    assert sorted(answers) == [200] * 5 + [201]
    assert SpendAgreement.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_invoices_calculated_at_once_true_up_once(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "300.00", "cadence": "P2M"})
    Organization.objects.update(grace_period_seconds=200 * 86_400)
    case.use("2026-01-10T10:00:00Z", 100)
    case.advance("2026-03-02T00:00:00Z")
    ids = list(Invoice.objects.filter(status="CLOSING").values_list("pk", flat=True))
    assert len(ids) == 2
    when = at("2026-03-02T00:00:00Z")
    at_once([lambda pk=pk: calculate_or_set_aside(invoice_ids=[pk], as_of=when) for pk in ids * 2])
    # Whichever came first, the other one takes it.
    assert case.billed() == 300
    assert sum(line.kind == "commitment" for line in InvoiceLine.objects.all()) == 1
