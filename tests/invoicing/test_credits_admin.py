"""Crediting by hand, in the admin."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.customers.models import Customer
from apps.invoicing.models import BalanceEntry, CreditNote, Invoice
from apps.organizations.models import Membership, User
from tests.world import World

pytestmark = pytest.mark.django_db

SENT = {"_form_submitted": "1"}
JANUARY = "2026-01-01T00:00:00Z"


class Case:
    def __init__(self, world: World) -> None:
        product = world.product()
        plan = world.plan(product, [world.fee_price(product), world.usage_price(world.metric(product))])
        self.customer = world.customer(taxRates={"default": 20})
        made = world.subscribe(self.customer, plan, at=JANUARY, clock=world.clock(JANUARY))
        world.pay(made["payment"]["invoiceId"])
        self.row = Invoice.objects.get(public_id=made["payment"]["invoiceId"])
        self.client = Client()
        self.client.force_login(world.owner)

    def url(self, action: str, row: Any, screen: str = "invoice") -> str:
        return reverse(f"admin:invoicing_{screen}_{action}", args=[row.pk])

    def press(self, action: str, row: Any, screen: str = "invoice", **data: str) -> str:
        return self.client.post(self.url(action, row, screen), {**SENT, **data}, follow=True).content.decode()


def test_the_dialog_says_what_it_would_credit_and_then_does(world: World) -> None:
    case = Case(world)
    dialog = case.client.get(case.url("credit", case.row)).content.decode()
    assert "$58.80" in dialog
    asked = case.press("credit", case.row, preview="1", amount="12", destination="balance", reason="Outage")
    assert "$10.00" in asked
    assert "To the customer&#x27;s balance" in asked
    assert "Left to credit: $46.80" in asked
    assert not CreditNote.objects.exists()
    refused = case.press("credit", case.row, preview="1", amount="58.81", destination="balance", reason="Outage")
    assert "At most $58.80 is left" in refused
    said = case.press("credit", case.row, amount="12", destination="balance", reason="Outage")
    note = CreditNote.objects.get()
    assert f"$12.00 credited by {note.number}." in said
    assert note.number in said
    line = case.row.lines.get()
    body = {"line": line.public_id, "destination": "refund", "reason": "Outage"}
    assert "Give the amount of the line" in case.press("credit", case.row, **body)
    case.press("credit", case.row, amount="1.00", **body)
    assert CreditNote.objects.latest("pk").refund_amount == Decimal("1.20")


def test_a_refund_is_recorded_and_a_credit_voided(world: World) -> None:
    case = Case(world)
    case.press("credit", case.row, amount="12", destination="refund", reason="Outage")
    note = CreditNote.objects.get()
    page = case.client.get(reverse("admin:invoicing_creditnote_change", args=[note.pk])).content.decode()
    assert "$12.00 to be paid back" in page
    assert "Platform fee: $10.00, tax $2.00 (20 %)" in page
    waiting = case.client.get(reverse("admin:invoicing_creditnote_changelist"), {"refund": "pending"})
    assert note.number in waiting.content.decode()
    assert "recorded as paid back" in case.press("record_refund", note, "creditnote", reference="SEPA 1")
    waiting = case.client.get(reverse("admin:invoicing_creditnote_changelist"), {"refund": "pending"})
    assert note.number not in waiting.content.decode()
    case.press("credit", case.row, amount="6", destination="balance", reason="Outage")
    other = CreditNote.objects.latest("pk")
    customer = Customer.objects.get(public_id=case.customer)
    shown = case.client.get(reverse("admin:customers_customer_change", args=[customer.pk])).content.decode()
    assert "$6.00" in shown
    assert f"/admin/invoicing/balanceentry/?customer__id__exact={customer.pk}" in shown
    assert "Voided" in case.press("void", other, "creditnote", reason="Mistake")
    assert [entry.kind for entry in BalanceEntry.objects.order_by("pk")] == ["credit", "void"]
    assert "Mistake" in case.press("void", other, "creditnote", reason="again")


def test_support_may_look_and_not_credit(world: World) -> None:
    case = Case(world)
    user = User.objects.create_user("viewer@merchant.test", "correct horse battery", is_staff=True)
    Membership.objects.create(organization=world.merchant, user=user, role="viewer")
    client = Client()
    client.force_login(user)
    body = {**SENT, "amount": "1", "destination": "balance", "reason": "x"}
    assert client.post(case.url("credit", case.row), body).status_code == 403
    assert client.get(reverse("admin:invoicing_creditnote_changelist")).status_code == 200
    assert not CreditNote.objects.exists()
