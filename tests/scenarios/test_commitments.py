"""The least that periods bill: commitments with their true-ups, and what comes late."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.catalog.models import PriceRevision, SpendTerms
from apps.invoicing.models import Invoice, InvoiceLine, SpendAgreement
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.invoicing.services.issuing import calculate_or_set_aside, retry_failed
from apps.organizations.models import Organization
from tests.concurrency import at_once
from tests.scenarios.commitments import JANUARY, Case
from tests.world import World, at

pytestmark = pytest.mark.django_db


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
