"""Two ends of one invoice at the same moment, on real connections: exactly one consistent state is left."""

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Sum

from apps.documents.models import InvoiceParties
from apps.invoicing.models import (
    BalanceEntry,
    CreditNote,
    Invoice,
    InvoiceDecision,
    InvoiceLine,
    NumberSeries,
    PaymentSession,
)
from apps.invoicing.services.issuing import approve_invoice, calculate_or_set_aside
from apps.metering.services.merge import drain
from apps.outbox.models import OutboxEvent
from tests.concurrency import at_once
from tests.invoicing.test_given_back import MONTHS, Usage
from tests.world import Api, World, at, make_world

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 5
JANUARY = "2026-01-01T00:00:00Z"
CLOSING, GRACE_OVER = "2026-03-01T00:30:00Z", at("2026-03-01T02:00:00Z")
D = Decimal


def post(world: World, path: str, body: dict[str, Any]) -> int:
    return int(Api(world.secret).call("post", path, body).status_code)


def calculate(invoice: Invoice) -> int:
    return calculate_or_set_aside(invoice_ids=[invoice.pk], as_of=GRACE_OVER)


def finish(invoice: Invoice) -> Invoice:
    """Calculate an invoice that another held when its turn was."""
    calculate(invoice)
    invoice.refresh_from_db()
    return invoice


def january_and_february(shop: Usage, subject: str) -> tuple[Invoice, Invoice]:
    """Give January's bill, issued and unpaid, and February's, which is to correct January's usage."""
    shop.use(f"{subject}-kept", 100)
    shop.use(f"{subject}-wrong", 50)
    shop.bill(1)
    shop.void(f"{subject}-wrong")
    drain()
    shop.world.advance(shop.clock, CLOSING)
    rows = Invoice.objects.filter(subscription__public_id=shop.subscription)
    return rows.get(sequence_number=1), rows.get(sequence_number=2, status="CLOSING")


def test_a_void_or_the_bill_that_builds_on_it() -> None:
    seen: Counter[tuple[int, str, int]] = Counter()
    for number in range(ROUNDS):
        world = make_world()
        shop = Usage(world)
        first, second = january_and_february(shop, f"v{number}")
        voided, _ = at_once(
            [
                lambda world=world, first=first: post(world, f"/v2/invoices/{first.public_id}/void", {"reason": "x"}),
                lambda second=second: calculate(second),
            ]
        )
        second = finish(second)
        first.refresh_from_db()
        corrections = InvoiceLine.objects.filter(invoice=second, is_late=True)
        seen[voided, first.status, corrections.count()] += 1
        assert second.status == "ISSUED"
        assert second.grand_total == 500 + sum(line.gross for line in corrections)
        assert InvoiceDecision.objects.filter(invoice=first).count() == (voided == 200)
    # What is voided counts as never billed, so nothing is left of it to correct.
    assert set(seen) <= {(200, "CANCELLED", 0), (409, "ISSUED", 1)}, seen


def test_a_write_off_and_the_money_that_comes_after_all() -> None:
    for number in range(ROUNDS):
        world = make_world()
        shop = Usage(world)
        shop.use(f"w{number}", 100)
        invoice = shop.bill(1)["id"]
        world.api.post(f"/v2/invoices/{invoice}/payment", {"method": "hosted_link"}, expect=200)
        path = f"/v2/invoices/{invoice}"
        written, paid, voided = at_once(
            [
                lambda world=world, path=path: post(world, f"{path}/writeOff", {"reason": "x"}),
                lambda world=world, path=path: post(world, f"{path}/payment", {"method": "out_of_band"}),
                lambda world=world, path=path: post(world, f"{path}/void", {"reason": "x"}),
            ]
        )
        row = Invoice.objects.get(public_id=invoice)
        kinds = sorted(InvoiceDecision.objects.filter(invoice=row).values_list("kind", flat=True))
        said = (written, paid, voided, row.status, row.paid_amount, kinds)
        # Money is taken of what was written off; what was voided or paid first stays so.
        assert said in [
            (200, 200, 409, "PAID", D(510), ["write_off"]),
            (409, 200, 409, "PAID", D(510), []),
            (409, 409, 200, "CANCELLED", D(0), ["void"]),
        ], said
        assert not PaymentSession.objects.filter(invoice=row, status="pending").exists()
        assert OutboxEvent.objects.filter(event_type="invoice.paid.v0", object_id=invoice).count() == (paid == 200)


@pytest.mark.parametrize("amount", ["5.00", "12.00"])
def test_a_credit_note_and_a_correction_give_back_no_more_than_was_billed(amount: str) -> None:
    seen: Counter[tuple[int, Decimal, str]] = Counter()
    for number in range(ROUNDS):
        world = make_world()
        shop = Usage(world)
        first, second = january_and_february(shop, f"c{number}")
        # 15.00 were billed, and the correction is to give back 5.00 of it.
        line = InvoiceLine.objects.get(invoice=first, kind="metered").public_id
        body = {"reason": "x", "lines": [{"lineId": line, "amount": amount}]}
        credited, _ = at_once(
            [
                lambda world=world, first=first, body=body: post(
                    world, f"/v2/invoices/{first.public_id}/creditNotes", body
                ),
                lambda second=second: calculate(second),
            ]
        )
        second = finish(second)
        corrected = sum((row.gross for row in InvoiceLine.objects.filter(invoice=second, is_late=True)), D(0))
        seen[credited, corrected, second.status] += 1
        noted = CreditNote.objects.filter(invoice=first).aggregate(total=Sum("total"))["total"] or D(0)
        assert noted - corrected <= 15
        assert second.grand_total == 500 + corrected
        numbers = sorted(CreditNote.objects.filter(invoice=first).values_list("number", flat=True))
        assert numbers == (["INV-CN-2026-000001"] if credited == 201 else [])
    wanted = {(201, D(-5), "ISSUED")}
    if amount == "12.00":
        # Whoever comes first gives back its own; the correction then only what is left, or the note is refused.
        wanted = {(201, D(-3), "ISSUED"), (400, D(-5), "ISSUED")}
    assert set(seen) <= wanted, seen


def test_issuing_again_and_at_once_adds_nothing() -> None:
    world = make_world()
    products = [world.product() for _ in range(2)]
    plan, other = (world.plan(one, [world.fee_price(one, "49.99")], defaultTaxRate="19") for one in products)
    customer, clock = world.customer(), world.clock(JANUARY)
    first = world.subscribe(customer, plan, at=JANUARY, clock=clock)["payment"]["invoiceId"]
    world.pay(first)
    # Something for the balance to pay, so that it could be used twice.
    world.api.post(f"/v2/invoices/{first}/creditNotes", {"amount": "10.00", "reason": "x"})
    made = world.subscribe(customer, other, at=JANUARY, clock=clock, autoApprove=False)
    zero = Invoice.objects.get(subscription__public_id=made["id"], sequence_number=0)

    def approve() -> str:
        return str(approve_invoice(invoice_id=zero.pk, as_of=at("2026-01-02T00:00:00Z")).number)

    def state() -> tuple[Any, ...]:
        row = Invoice.objects.get(pk=zero.pk)
        entries = BalanceEntry.objects.aggregate(total=Sum("amount"))["total"]
        told = OutboxEvent.objects.filter(object_id=row.public_id).values_list("event_type", flat=True)
        return (
            row.number, row.status, row.grand_total, row.balance_applied, row.lines.count(), entries, sorted(told),
            InvoiceParties.objects.filter(invoice=row).count(),
            NumberSeries.objects.get(kind="invoice").last_number,
        )  # fmt: skip

    assert set(at_once([approve] * 4)) == {"INV-2026-000002"}
    once = state()
    assert once[3] == 10
    assert (once[6].count("invoice.issued.v0"), once[7], once[8]) == (1, 1, 2)
    approve()
    at_once([approve] * 4)
    calculate_or_set_aside(invoice_ids=[zero.pk], as_of=at("2026-01-03T00:00:00Z"))
    assert state() == once


def test_calculating_again_and_at_once_adds_nothing() -> None:
    world = make_world()
    shop = Usage(world)
    _, second = january_and_february(shop, "twice")
    assert sorted(at_once([lambda: calculate(second)] * 4)) == [0, 0, 0, 1]
    second.refresh_from_db()
    lines = list(second.lines.order_by("pk").values())
    assert at_once([lambda: calculate(second)] * 2) == [0, 0]
    world.advance(shop.clock, MONTHS[1])
    assert list(second.lines.order_by("pk").values()) == lines
    assert OutboxEvent.objects.filter(event_type="invoice.issued.v0", object_id=second.public_id).count() == 1
    assert NumberSeries.objects.get(kind="invoice").last_number == Invoice.objects.exclude(number=None).count()
