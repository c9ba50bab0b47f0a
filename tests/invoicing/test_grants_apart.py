"""Prices whose grants are shown as discounts: the same bill, read in another way."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.catalog.domain.thresholds import LIFETIME
from apps.invoicing.models import CreditNote, Invoice
from apps.invoicing.selectors.watching import usage_so_far
from apps.rating.reading import recompute
from apps.subscriptions.models import Subscription
from tests.documents.papers import equip
from tests.documents.rules import problems
from tests.entitlements.kit import MILLION, Kit
from tests.recomputing import _issued_is_recomputed  # noqa: F401 - a fixture
from tests.world import make_world

SOFT = {**MILLION, "isSoftLimit": True}
JANUARY, FEBRUARY = "2026-01-10T00:00:00Z", "2026-02-02T00:00:00Z"


@pytest.fixture
def kit(db: None) -> Kit:
    return Kit.make(make_world())


class Bill:
    """January of a subscriber with an allowance of a million tokens."""

    def __init__(
        self, kit: Kit, tokens: int = 1_300_000, template: dict[str, Any] = SOFT, *, apart: bool = True,
        unit_price: str = "0.000002", price: dict[str, Any] | None = None, key: str = "tokens", **plan: Any,
    ) -> None:  # fmt: skip
        self.kit, self.api = kit, kit.world.api
        self.price = kit.price(
            kit.feature(key), template, grantDiscountEnabled=apart, unit_price=unit_price, **(price or {})
        )
        self.customer, self.subscription, self.clock = kit.subscriber([self.price], **plan)
        if tokens:
            kit.use(self.customer, JANUARY, tokens)

    def close(self, until: str = FEBRUARY) -> dict[str, Any]:
        self.kit.world.advance(self.clock, until)
        issued = (row for row in self.kit.world.invoices(self.subscription) if row["invoiceNumber"])
        periods = (row for row in issued if not row["part"] and "grantPurchase" not in row)
        return max(periods, key=lambda row: row["sequenceNumber"])

    def lines(self) -> list[dict[str, Any]]:
        return self.kit.world.lines(self.close()["id"])


def figures(lines: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (line["eventType"], line["lineItemType"], line["quantity"], line["unitPrice"], line["totalPrice"])
        for line in lines
    ]


def test_usage_is_billed_in_full_and_a_line_takes_off_what_grants_pay(kit: Kit) -> None:
    bill = Bill(kit)
    lines = bill.lines()
    assert figures(lines) == [
        ("usage", "charge", 1_300_000, "0.000002", "2.60"),
        ("discount", "refund", 1_000_000, "-0.000002", "-2.00"),
    ]
    assert lines[1]["invoiceDisplayName"].startswith("Paid by grants: ")
    assert lines[1]["priceId"] == bill.price
    assert [recompute(line["provenance"]) for line in lines] == [Decimal("2.60"), Decimal("-2.00")]
    assert bill.close()["grandTotal"] == "0.60"
    ledger = bill.api.get(f"/v2/invoices/lineItems?invoiceId={bill.close()['id']}")["data"]
    assert [(row["type"], row["subtotal"]) for row in ledger] == [("metered", "2.60"), ("discount", "-2.00")]


@pytest.mark.parametrize("template", [SOFT, MILLION])
@pytest.mark.parametrize("tokens", [0, 999_999, 1_000_000, 1_000_001, 1_300_000, 7_654_321])
@pytest.mark.parametrize(("unit_price", "behavior"), [("0.000002", "exclusive"), ("0.00000333333", "inclusive")])
def test_totals_are_those_without_it(
    kit: Kit, template: dict[str, Any], tokens: int, unit_price: str, behavior: str
) -> None:
    terms: dict[str, Any] = {"unit_price": unit_price, "taxBehavior": behavior, "defaultTaxRate": 19}
    apart = Bill(kit, tokens, template, **terms)
    plain = Bill(kit, tokens, template, apart=False, key="tokens-2", **terms)
    one, other = apart.close(), plain.close()
    for name in ("subtotal", "totalTax", "grandTotal"):
        assert one[name] == other[name], name
    assert len(apart.lines()) == (2 if tokens else 1)


def test_it_changes_nothing_about_percentages_caps_and_coupons(kit: Kit) -> None:
    bills = []
    for number, apart in enumerate((True, False)):
        bill = Bill(kit, 9_300_001, apart=apart, key=f"tokens-{number}", price={"spendCap": {"amount": "15.00"}})
        off = {"type": "percentageDiscount", "percentageDiscount": "0.15", "effectiveFrom": "2026-01-01T00:00:00Z"}
        bill.api.post(f"/v0/subscriptions/{bill.subscription}/adjustments", off)
        coupon = {
            "merchantId": kit.world.id, "code": f"X{number}", "name": "X", "percentageOff": "0.1", "duration": "once",
        }  # fmt: skip
        bill.api.post("/v0/coupons", coupon)
        bill.api.post(f"/v0/subscriptions/{bill.subscription}/coupons", {"code": f"X{number}"})
        bills.append(bill)
    apart, plain = bills
    assert apart.close()["grandTotal"] == plain.close()["grandTotal"]
    assert len(apart.lines()) == len(plain.lines()) + 1


def test_bought_units_and_the_allowance_are_taken_off_alike(kit: Kit) -> None:
    bill = Bill(kit, 1_800_000)
    right = kit.right(bill.customer)["entitlementId"]
    body = {"amount": 500_000, "price": "5.00", "idempotencyKey": "k"}
    sold = bill.api.post(f"/v1/entitlements/{right}/grants/purchase", body)
    kit.world.pay(sold["invoiceId"])
    # What was paid for them before decides nothing here: they cover what they cover.
    assert [row[-1] for row in figures(bill.lines())] == ["3.60", "-3.00"]


def test_late_usage_is_billed_beyond_what_was_covered(kit: Kit) -> None:
    bill = Bill(kit, 900_000)
    assert [row[-1] for row in figures(bill.lines())] == ["1.80", "-1.80"]
    kit.use(bill.customer, "2026-01-11T00:00:00Z", 300_000)
    march = bill.close("2026-03-02T00:00:00Z")
    assert march["grandTotal"] == "0.40"
    # 300,000 more, of which 100,000 are covered.
    lines = [line for line in kit.world.lines(march["id"]) if line["totalPrice"] != "0.00"]
    assert figures(lines) == [
        ("usage", "charge", 300_000, "0.000002", "0.60"),
        ("discount", "refund", 100_000, "-0.000002", "-0.20"),
    ]
    assert [line["isLate"] for line in lines] == [True, False]
    assert [recompute(line["provenance"]) for line in lines] == [Decimal("0.60"), Decimal("-0.20")]


def test_the_live_bill_reads_the_same(kit: Kit) -> None:
    bill = Bill(kit)
    kit.world.advance(bill.clock, "2026-01-20T00:00:00Z")
    opened = next(row for row in kit.world.invoices(bill.subscription) if row["status"] == "ACTIVE")
    assert opened["grandTotal"] == "0.60"
    assert [row[-1] for row in figures(kit.world.lines(opened["id"]))] == ["2.60", "-2.00"]


def test_what_is_billed_early_is_shown_less_what_grants_pay(kit: Kit) -> None:
    bill = Bill(kit)
    kit.world.advance(bill.clock, "2026-01-15T00:00:00Z")
    early = bill.api.post(f"/v0/subscriptions/{bill.subscription}/earlyBill", {})
    assert figures(kit.world.lines(early["id"])) == [
        ("usage", "charge", 1_300_000, "0.000002", "2.60"),
        ("discount", "refund", 1_000_000, "-0.000002", "-2.00"),
    ]
    assert early["grandTotal"] == "0.60"
    kit.use(bill.customer, "2026-01-16T00:00:00Z", 100_000)
    own = bill.close()
    assert own["grandTotal"] == "0.20"
    # All units were taken off already.
    assert [row[-1] for row in figures(kit.world.lines(own["id"]))] == ["0.20"]


def test_the_rest_of_a_period_takes_off_what_its_early_bill_did_not(kit: Kit) -> None:
    """The units cover more by the end, as some were granted after the early bill."""
    bill = Bill(kit)
    kit.world.advance(bill.clock, "2026-01-15T00:00:00Z")
    bill.api.post(f"/v0/subscriptions/{bill.subscription}/earlyBill", {})
    right = kit.right(bill.customer)["entitlementId"]
    bill.api.post(f"/v1/entitlements/{right}/grants", {"amount": 200_000, "idempotencyKey": "g"})
    kit.use(bill.customer, "2026-01-16T00:00:00Z", 500_000)
    own = bill.close()
    assert own["grandTotal"] == "0.60"
    lines = kit.world.lines(own["id"])
    assert figures(lines) == [
        ("usage", "charge", 500_000, "0.000002", "1.00"),
        ("discount", "refund", 200_000, "-0.000002", "-0.40"),
    ]
    assert [recompute(line["provenance"]) for line in lines] == [Decimal("1.00"), Decimal("-0.40")]
    # What is given back is the charge of both bills, and no more.
    bill.api.post(f"/v2/invoices/{own['id']}/creditNotes", {"reason": "x"})
    assert CreditNote.objects.get().total == Decimal("0.60")


@pytest.mark.parametrize("seed", range(3))
def test_bills_of_a_life_come_to_the_same_with_it_and_without(kit: Kit, seed: int) -> None:
    """Early bills, grants, late usage, usage taken back and credit notes; every bill agrees to the minor unit."""
    chance = random.Random(seed)
    rate = chance.choice(["0.000002", "0.00000333333"])
    template = chance.choice([SOFT, {**SOFT, "preserveOverageAtReset": True}, MILLION])
    terms: dict[str, Any] = {"unit_price": rate, "template": template, "tokens": 0, "defaultTaxRate": 19}
    bills = [Bill(kit, apart=apart, key=f"tokens-{number}", **terms) for number, apart in enumerate((True, False))]
    apart, plain = bills
    now, parted = datetime(2026, 1, 2, tzinfo=UTC), 0
    for number in range(28):
        now += timedelta(hours=chance.randint(20, 110))
        for bill in bills:
            kit.world.advance(bill.clock, now.isoformat().replace("+00:00", "Z"))
        kind = chance.choice(["use", "use", "use", "late", "early", "grant", "back", "credit"])
        tokens = chance.randint(1, 900_000)
        back = timedelta(hours=chance.randint(1, 15))
        late = timedelta(days=chance.randint(10, 40))
        if kind in ("use", "late", "back"):
            at = max(now - (late if kind != "use" else back), datetime(2026, 1, 1, 6, tzinfo=UTC))
            for bill in bills:
                kit.use(
                    bill.customer, at.isoformat().replace("+00:00", "Z"), -tokens // 4 if kind == "back" else tokens
                )
        elif kind == "early":
            answers = [
                bill.api.call("post", f"/v0/subscriptions/{bill.subscription}/earlyBill", {}) for bill in bills
            ]
            assert answers[0].status_code == answers[1].status_code
        elif kind == "grant":
            for bill in bills:
                right = kit.right(bill.customer)["entitlementId"]
                body = {"amount": tokens, "idempotencyKey": f"g{number}"}
                bill.api.post(f"/v1/entitlements/{right}/grants", body)
        else:
            issued = [[row for row in _issued(bill) if Decimal(row["grandTotal"]) > 0] for bill in bills]
            place = chance.randrange(len(issued[0])) if issued[0] else None
            answers = [
                bill.api.call("post", f"/v2/invoices/{rows[place]['id']}/creditNotes", {"reason": "x"})
                for bill, rows in zip(bills, issued, strict=True)
                if place is not None
            ]
            assert len({answer.status_code for answer in answers}) <= 1
        ours, theirs = _issued(apart), _issued(plain)
        assert [_sums(row) for row in ours] == [_sums(row) for row in theirs], (number, kind)
    for row in _issued(apart):
        lines = kit.world.lines(row["id"])
        parted += sum(line["eventType"] == "discount" for line in lines)
        for line in lines:
            assert recompute(line["provenance"]) == Decimal(line["totalPrice"])
    assert parted > 1
    totals = [
        sum(
            CreditNote.objects.filter(invoice__subscription__public_id=bill.subscription).values_list(
                "total", flat=True
            )
        )
        for bill in bills
    ]
    assert totals[0] == totals[1]


def _issued(bill: Bill) -> list[dict[str, Any]]:
    rows = [row for row in bill.kit.world.invoices(bill.subscription) if row["invoiceNumber"]]
    return sorted(rows, key=lambda row: (row["sequenceNumber"], row["part"] or 99))


def _sums(row: dict[str, Any]) -> list[Any]:
    return [row[name] for name in ("sequenceNumber", "part", "subtotal", "totalTax", "grandTotal")]


def test_thresholds_and_alerts_see_what_is_charged(kit: Kit) -> None:
    amounts = []
    for number, apart in enumerate((True, False)):
        bill = Bill(kit, apart=apart, key=f"tokens-{number}")
        bill.close()
        kit.use(bill.customer, "2026-02-01T12:00:00Z", 1_200_000)
        row = Subscription.objects.get(public_id=bill.subscription)
        amounts.append(usage_so_far(row, LIFETIME))
    # 0.60 in January and 0.40 by now.
    assert amounts == [Decimal("1.00")] * 2


def test_no_more_is_credited_than_was_owed(kit: Kit) -> None:
    bill = Bill(kit)
    invoice = bill.close()
    line = kit.world.lines(invoice["id"])[0]["id"]
    over = {"reason": "x", "lines": [{"lineId": line, "amount": "0.61"}]}
    bill.api.post(f"/v2/invoices/{invoice['id']}/creditNotes", over, expect=400)
    bill.api.post(f"/v2/invoices/{invoice['id']}/creditNotes", {"reason": "x"})
    assert CreditNote.objects.get().total == Decimal("0.60")
    # All of it is given back: usage that is taken back later gives nothing back again.
    kit.use(bill.customer, "2026-01-11T00:00:00Z", -200_000)
    march = bill.close("2026-03-02T00:00:00Z")
    assert march["grandTotal"] == "0.00"


def test_its_documents_hold(kit: Kit) -> None:
    equip(kit.world)
    bill = Bill(kit, 7_654_321, unit_price="0.00000333333", defaultTaxRate=19, currency="EUR")
    invoice = bill.close()
    for kind in ("ubl", "cii"):
        found = bill.api.call("get", f"/v2/invoices/{invoice['id']}/eInvoice?format={kind}", expect=200).content
        assert problems(found, kind) == []
    assert Invoice.objects.get(public_id=invoice["id"]).line_count == 2


def test_documents_of_early_bills_and_late_usage_hold(kit: Kit) -> None:
    equip(kit.world)
    bill = Bill(kit, 1_300_000, unit_price="0.00000333333", defaultTaxRate=19, currency="EUR")
    kit.world.advance(bill.clock, "2026-01-15T00:00:00Z")
    early = bill.api.post(f"/v0/subscriptions/{bill.subscription}/earlyBill", {})
    right = kit.right(bill.customer)["entitlementId"]
    bill.api.post(f"/v1/entitlements/{right}/grants", {"amount": 100_001, "idempotencyKey": "g"})
    kit.use(bill.customer, "2026-01-16T00:00:00Z", 300_007)
    own = bill.close()
    bill.api.post(f"/v1/entitlements/{right}/grants", {
        "amount": 77_777, "idempotencyKey": "h", "effectiveAt": "2026-01-20T00:00:00Z",
    })  # fmt: skip
    kit.use(bill.customer, "2026-01-11T00:00:00Z", 500_003)
    for invoice in (early, own, bill.close("2026-03-02T00:00:00Z")):
        assert [line["eventType"] for line in kit.world.lines(invoice["id"])].count("discount") == 1
        for kind in ("ubl", "cii"):
            found = bill.api.call("get", f"/v2/invoices/{invoice['id']}/eInvoice?format={kind}", expect=200).content
            assert problems(found, kind) == []
