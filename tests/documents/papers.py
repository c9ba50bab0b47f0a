"""Invoices to make documents of: a merchant and a customer with everything a document says, and months of theirs."""

import io
from dataclasses import dataclass
from typing import Any

from pypdf import PdfReader

from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.invoicing.selectors.invoices import with_neighbours
from apps.organizations.models import Organization
from tests.world import World

SELLER = {
    "legal_name": "Northlight Überbau GmbH", "line1": "Straße 1", "city": "Berlin", "zip_code": "10115",
    "country": "DE",
    "vat_id": "DE136695976", "registration_number": "HRB 1", "iban": "DE75512108001245126199", "bic": "SOLADEST600",
}  # fmt: skip


@dataclass
class Billed:
    """A customer whose first month is over: Invoice 0 is paid, invoice 1 is issued, invoice 2 is open."""

    world: World
    customer: str
    subscription: str
    clock: str

    def invoice(self, sequence_number: int = 1) -> Invoice:
        rows = Invoice.objects.filter(subscription__public_id=self.subscription, sequence_number=sequence_number)
        return with_neighbours(rows).get()


def equip(world: World, **facts: str) -> None:
    """Give a merchant what documents say of it."""
    Organization.objects.filter(pk=world.merchant.pk).update(**{**SELLER, **facts})


def bill(
    world: World,
    *,
    tokens: int = 1_000_000,
    price: str = "0.000002",
    fee: str = "49.00",
    currency: str = "EUR",
    lines: list[dict[str, Any]] | None = None,
    customer: dict[str, Any] | None = None,
    **plan: Any,
) -> Billed:
    """Bill a month of a fee and of usage, and what else is given as manual lines."""
    product = world.product()
    prices = [world.fee_price(product, fee), world.usage_price(world.metric(product), price)]
    offered = world.plan(product, prices, currency=currency, **plan)
    who = world.customer(taxId="FR40303265045", **(customer or {}))
    clock = world.clock("2026-01-01T00:00:00Z")
    made = world.subscribe(who, offered, at="2026-01-01T00:00:00Z", clock=clock, paymentTermDays=14)
    if made["payment"]["status"] != "paid":
        world.pay(made["payment"]["invoiceId"])
    world.send(who, "2026-01-03T10:15:00Z", tokens=tokens)
    for line in lines or []:
        world.api.post("/v2/invoices/lineItems", {"subscriptionId": made["id"], "currency": currency, **line})
    world.advance(clock, "2026-02-02T00:00:00Z")
    return Billed(world, who, made["id"], clock)


def rename(customer: str, **facts: str) -> None:
    """Change what is known of a customer."""
    Organization.objects.filter(pk=Customer.objects.get(public_id=customer).consumer_id).update(**facts)


def text_of(pdf: bytes) -> str:
    """Give the text of a PDF, page by page."""
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
