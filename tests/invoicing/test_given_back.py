"""Credit notes and later bills of the same charge: together they never give back more than was billed."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.invoicing.models import CreditNote, CreditNoteLine, Invoice, InvoiceLine
from apps.metering.services.merge import drain
from tests.world import World, make_world

JANUARY = "2026-01-01T00:00:00Z"
MONTHS = ["2026-02-01T02:00:00Z", "2026-03-01T02:00:00Z", "2026-04-01T02:00:00Z", "2026-05-01T02:00:00Z"]


class Usage:
    """A customer with usage at 0.10, and a fee that keeps the bills above zero."""

    def __init__(self, world: World, **taxes: Any) -> None:
        self.world = world
        product = world.product()
        prices = [
            world.fee_price(product, "500.00", paymentTerm="in_arrears"),
            world.usage_price(world.metric(product), "0.10"),
        ]
        self.customer, self.clock = world.customer(**taxes), world.clock(JANUARY)
        plan = world.plan(product, prices)
        self.subscription = world.subscribe(self.customer, plan, at=JANUARY, clock=self.clock)["id"]

    def use(self, key: str, tokens: int, at: str = "2026-01-10T00:00:00Z") -> None:
        self.world.send(self.customer, at, key=key, tokens=tokens)

    def void(self, key: str) -> None:
        drain()
        self.world.api.post("/v0/events/void", {"reason": "Wrong", "idempotencyKeys": [key]}, expect=200)

    def bill(self, month: int) -> Any:
        self.world.advance(self.clock, MONTHS[month - 1])
        return next(row for row in self.world.invoices(self.subscription) if row["sequenceNumber"] == month)

    def usage_line(self, month: int) -> InvoiceLine:
        return InvoiceLine.objects.get(invoice__sequence_number=month, kind="metered", is_late=False)

    def credit(self, month: int, expect: int = 201, **body: Any) -> Any:
        invoice = self.usage_line(month).invoice.public_id
        return self.world.api.post(f"/v2/invoices/{invoice}/creditNotes", {"reason": "x", **body}, expect=expect)

    def credit_usage(self, month: int, amount: str, expect: int = 201) -> Any:
        lines = [{"lineId": self.usage_line(month).public_id, "amount": amount}]
        return self.credit(month, expect=expect, lines=lines)

    def given_back(self) -> tuple[Decimal, Decimal]:
        """Give what was billed of January's usage, and what credit notes and corrections gave back of it."""
        lines = InvoiceLine.objects.filter(kind="metered", period_start__lt="2026-02-01T00:00:00Z")
        issued = lines.exclude(invoice__status="CANCELLED")
        up = issued.filter(gross__gt=0).aggregate(total=Sum("gross"))["total"] or Decimal(0)
        down = issued.filter(gross__lt=0).aggregate(total=Sum("gross"))["total"] or Decimal(0)
        noted = CreditNoteLine.objects.filter(invoice_line__in=issued, credit_note__status="ISSUED")
        return up, (noted.aggregate(total=Sum("subtotal"))["total"] or Decimal(0)) - down


@pytest.mark.django_db
def test_what_a_correction_gave_back_is_not_credited_again(world: World) -> None:
    shop = Usage(world)
    shop.use("a", 100)
    shop.use("b", 50)
    assert shop.bill(1)["grandTotal"] == "515.00"
    shop.void("a")
    assert shop.bill(2)["grandTotal"] == "490.00"
    # 15.00 were billed and 10.00 given back.
    refused = shop.credit_usage(1, "5.01", expect=400)
    assert "5.00 is left" in refused["message"]
    note = shop.credit(1)
    assert note["total"] == "505.00"
    assert shop.given_back() == (Decimal(15), Decimal(15))
    assert shop.credit(1, expect=409)["code"] == "INVOICE_CREDITED"


@pytest.mark.django_db
def test_a_correction_gives_back_what_credit_notes_left(world: World) -> None:
    shop = Usage(world, taxRates={"default": 20})
    shop.use("a", 100)
    shop.use("b", 50)
    shop.bill(1)
    shop.credit_usage(1, "12.00")
    shop.void("a")
    # 10.00 less is due for January, of which 3.00 are not given back yet: with tax 3.60.
    assert shop.bill(2)["grandTotal"] == "596.40"
    # What was not given back is set off against usage that comes later, and adds no line until then.
    third = shop.bill(3)
    assert (third["grandTotal"], third["itemCount"]) == ("600.00", 2)
    shop.use("c", 90)
    assert shop.bill(4)["grandTotal"] == "602.40"
    assert shop.given_back() == (Decimal(17), Decimal(15))


@pytest.mark.django_db
def test_a_voided_credit_note_lets_the_correction_give_back(world: World) -> None:
    shop = Usage(world)
    shop.use("a", 100)
    shop.bill(1)
    note = shop.credit_usage(1, "10.00")
    shop.void("a")
    assert shop.bill(2)["grandTotal"] == "500.00"
    world.api.post(f"/v2/creditNotes/{note['id']}/void", {}, expect=200)
    assert shop.bill(3)["grandTotal"] == "490.00"
    assert shop.bill(4)["grandTotal"] == "500.00"


@pytest.mark.django_db
def test_the_database_refuses_to_give_back_twice(world: World) -> None:
    shop = Usage(world)
    shop.use("a", 100)
    shop.bill(1)
    shop.void("a")
    shop.bill(2)
    line = shop.usage_line(1)
    fee = InvoiceLine.objects.get(invoice=line.invoice, kind="fee")
    note = {
        "organization": world.merchant, "invoice": line.invoice, "customer_id": line.invoice.customer_id,
        "number": "X-1", "currency": "USD", "subtotal": 5, "total_tax": 0, "total": 5, "due_amount": 5,
        "balance_amount": 0, "refund_amount": 0, "reason": "x", "issued_at": line.created_at,
    }  # fmt: skip
    made = CreditNote.objects.create(**note)
    given = {"organization": world.merchant, "credit_note": made, "display_name": "x", "tax_amount": 0}
    with pytest.raises(IntegrityError, match="never exceeds it"), transaction.atomic():
        CreditNoteLine.objects.create(invoice_line=line, subtotal=5, total=5, **given)
    # Of another charge of the same invoice it may.
    CreditNoteLine.objects.create(invoice_line=fee, subtotal=5, total=5, **given)
    with pytest.raises(DatabaseError), transaction.atomic():
        CreditNoteLine.objects.create(invoice_line=fee, subtotal=500, total=500, **given)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.integers(1, 99)),
        st.tuples(st.just("void"), st.integers(0, 5)),
        st.tuples(st.just("credit"), st.integers(1, 1200)),
        st.tuples(st.just("whole"), st.just(0)),
        st.tuples(st.just("void note"), st.integers(0, 3)),
        st.tuples(st.just("bill"), st.just(0)),
    ),
    min_size=3,
    max_size=9,
)


@pytest.mark.django_db
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=st.integers(1, 120), steps=STEPS, rate=st.sampled_from([0, 7]))
def test_never_more_is_given_back_than_was_billed(first: int, steps: list[tuple[str, int]], rate: int) -> None:
    shop = Usage(make_world(), taxRates={"default": rate})
    prefix = shop.subscription
    keys = [f"{prefix}-0"]
    shop.use(keys[0], first)
    shop.bill(1)
    month, line = (
        1,
        InvoiceLine.objects.get(
            invoice__subscription__public_id=shop.subscription, invoice__sequence_number=1, kind="metered"
        ),
    )
    for what, number in steps:
        if what == "use":
            keys.append(f"{prefix}-{len(keys)}-{number}")
            shop.use(keys[-1], number)
        elif what == "void" and number < len(keys):
            shop.void(keys[number])
        elif what == "credit":
            asked = {"lineId": line.public_id, "amount": f"{number / 100:.2f}"}
            body = {"reason": "x", "lines": [asked]}
            shop.world.api.call("post", f"/v2/invoices/{line.invoice.public_id}/creditNotes", body)
        elif what == "whole":
            shop.world.api.call("post", f"/v2/invoices/{line.invoice.public_id}/creditNotes", {"reason": "x"})
        elif what == "void note":
            notes = CreditNote.objects.filter(invoice=line.invoice).order_by("pk")
            if number < len(notes):
                shop.world.api.call("post", f"/v2/creditNotes/{notes[number].public_id}/void", {})
        elif what == "bill" and month < 4:
            month += 1
            shop.bill(month)
        subscription = {"invoice__subscription__public_id": shop.subscription}
        rows = InvoiceLine.objects.filter(kind="metered", invoice__issued_at__isnull=False, **subscription)
        rows = rows.filter(period_start__lt="2026-02-01T00:00:00Z")
        billed = sum(row.gross for row in rows)
        noted = CreditNoteLine.objects.filter(invoice_line__in=rows, credit_note__status="ISSUED")
        assert sum(row.subtotal for row in noted) <= billed
        assert not Invoice.objects.filter(status="FAILED", subscription__public_id=shop.subscription).exists()
