"""Credits made, used and voided at the same moment, on real connections: never more than there is."""

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Sum

from apps.invoicing.models import BalanceEntry, CreditNote, CreditNoteLine, CustomerBalance, Invoice, NumberSeries
from tests.concurrency import at_once
from tests.world import Api, World, make_world

pytestmark = pytest.mark.django_db(transaction=True)

JANUARY = "2026-01-01T00:00:00Z"
D = Decimal


def plan_of(world: World) -> str:
    product = world.product()
    return world.plan(product, [world.fee_price(product, "10.00")])


def paid_invoice(world: World, customer: str, clock: str) -> str:
    invoice = world.subscribe(customer, plan_of(world), at=JANUARY, clock=clock)["payment"]["invoiceId"]
    world.pay(invoice)
    return str(invoice)


def post(world: World, path: str, body: dict[str, Any]) -> int:
    return int(Api(world.secret).call("post", path, body).status_code)


def test_credits_of_one_invoice_never_exceed_it() -> None:
    world = make_world()
    customer, clock = world.customer(taxRates={"default": 20}), world.clock(JANUARY)
    invoice = paid_invoice(world, customer, clock)
    path, body = f"/v2/invoices/{invoice}/creditNotes", {"amount": "2.50", "reason": "x"}
    answers = at_once([lambda: post(world, path, body) for _ in range(8)])
    # 12.00: four times 2.50, then 2.00 is left.
    assert Counter(answers) == {201: 4, 400: 4}
    assert post(world, path, {"reason": "the rest"}) == 201
    row = Invoice.objects.get(public_id=invoice)
    assert CreditNote.objects.aggregate(total=Sum("total"), tax=Sum("total_tax")) == {"total": 12, "tax": 2}
    assert CreditNoteLine.objects.aggregate(net=Sum("subtotal"))["net"] == row.subtotal
    assert CustomerBalance.objects.get().amount == 12
    # Numbers without a gap, whoever was refused.
    numbers = sorted(CreditNote.objects.values_list("number", flat=True))
    assert numbers == [f"INV-CN-2026-{n:06d}" for n in range(1, 6)]
    assert NumberSeries.objects.get(kind="credit_note").last_number == 5


def test_one_balance_pays_many_invoices_once() -> None:
    world = make_world()
    customer, clock = world.customer(), world.clock(JANUARY)
    invoice = paid_invoice(world, customer, clock)
    other = paid_invoice(world, customer, clock)
    assert post(world, f"/v2/invoices/{invoice}/creditNotes", {"amount": "7.00", "reason": "x"}) == 201
    assert post(world, f"/v2/invoices/{other}/creditNotes", {"amount": "8.00", "reason": "x"}) == 201

    # Four sign-ups, four invoices of 10.00, and 15.00 to pay them with.
    plans = [plan_of(world) for _ in range(4)]

    def sign_up(chosen: str) -> int:
        body = {"name": "S", "planId": chosen, "customerId": customer, "startedAt": JANUARY, "testClockId": clock}
        return post(world, "/v0/subscriptions", body)

    assert at_once([lambda chosen=chosen: sign_up(chosen) for chosen in plans]) == [201] * 4
    applied = Invoice.objects.filter(balance_applied__gt=0).values_list("balance_applied", flat=True)
    assert sorted(applied) == [5, 10]
    assert CustomerBalance.objects.get().amount == 0
    assert BalanceEntry.objects.aggregate(total=Sum("amount"))["total"] == 0
    for source in BalanceEntry.objects.filter(kind="credit"):
        assert source.amount + (source.movements.aggregate(total=Sum("amount"))["total"] or 0) == 0


def test_a_credit_is_used_or_voided_never_both() -> None:
    world = make_world()
    customer, clock = world.customer(), world.clock(JANUARY)
    for _ in range(5):
        invoice = paid_invoice(world, customer, clock)
        body = {"amount": "4.00", "reason": "x"}
        note = world.api.post(f"/v2/invoices/{invoice}/creditNotes", body)["id"]
        sign_up = {"name": "S", "planId": plan_of(world), "customerId": customer, "startedAt": JANUARY,
                   "testClockId": clock}  # fmt: skip
        voided, made = at_once(
            [
                lambda note=note: post(world, f"/v2/creditNotes/{note}/void", {}),
                lambda sign_up=sign_up: post(world, "/v0/subscriptions", sign_up),
            ]
        )
        assert made == 201
        applied = Invoice.objects.latest("pk").balance_applied
        assert (voided, applied) in {(200, D(0)), (409, D(4))}
        assert CustomerBalance.objects.get().amount == 0


def test_paying_and_crediting_at_once_settles_once() -> None:
    world = make_world()
    customer, clock = world.customer(), world.clock(JANUARY)
    for _ in range(5):
        invoice = world.subscribe(customer, plan_of(world), at=JANUARY, clock=clock)["payment"]["invoiceId"]
        paid, credited = at_once(
            [
                lambda invoice=invoice: post(world, f"/v2/invoices/{invoice}/payment", {"method": "out_of_band"}),
                lambda invoice=invoice: post(
                    world, f"/v2/invoices/{invoice}/creditNotes", {"reason": "x", "destination": "refund"}
                ),
            ]
        )
        row = Invoice.objects.get(public_id=invoice)
        note = CreditNote.objects.get(invoice=row)
        assert row.status == "PAID"
        assert credited == 201
        # Either it was paid and is to be paid back, or it was credited and nothing is left to pay.
        assert (paid, row.paid_amount, note.refund_amount, note.due_amount) in {
            (200, D(10), D(10), D(0)),
            (409, D(0), D(0), D(10)),
        }
