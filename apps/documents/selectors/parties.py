"""Who an invoice is from and to: as it was kept, or as it is now."""

from collections.abc import Mapping
from dataclasses import dataclass

from apps.customers.models import Customer
from apps.documents.domain.parties import Party
from apps.documents.models import InvoiceParties, Logo
from apps.invoicing.models import Invoice
from apps.organizations.models import Organization


@dataclass(frozen=True, slots=True)
class Sides:
    """Both parties of an invoice, and what else of their terms a document says."""

    seller: Party
    buyer: Party
    is_tax_exempt: bool
    timezone: str


def find_sides(invoice: Invoice) -> Sides | None:
    """Find what was kept when the invoice was issued."""
    row = InvoiceParties.objects.filter(invoice=invoice).select_related("seller", "buyer").first()
    if row is None:
        return None
    return Sides(Party.of_facts(row.seller.facts), Party.of_facts(row.buyer.facts), row.is_tax_exempt, row.timezone)


def current_sides(invoice: Invoice) -> Sides:
    """Give what a document issued now would say."""
    merchant = invoice.organization
    logos = current_logos([merchant.pk])
    return Sides(
        seller_of(merchant, logos.get(merchant.pk, "")),
        buyer_of(invoice.customer),
        invoice.subscription.tax_exempt,
        invoice.subscription.timezone,
    )


def current_logos(organization_ids: list[int]) -> Mapping[int, str]:
    """Give the digests of the pictures that merchants use now."""
    rows = Logo.objects.filter(organization_id__in=organization_ids, is_current=True)
    return dict(rows.values_list("organization_id", "digest"))


def seller_of(merchant: Organization, logo: str) -> Party:
    return Party(
        name=merchant.legal_name or merchant.name,
        line1=merchant.line1,
        line2=merchant.line2,
        city=merchant.city,
        state=merchant.state,
        zip_code=merchant.zip_code,
        country=merchant.country,
        email=merchant.email,
        phone=merchant.phone,
        tax_id=merchant.vat_id,
        registration_number=merchant.registration_number,
        iban=merchant.iban,
        bic=merchant.bic,
        logo=logo,
        timezone=merchant.timezone,
    )


def buyer_of(customer: Customer) -> Party:
    consumer = customer.consumer
    return Party(
        name=consumer.legal_name or consumer.name,
        line1=consumer.line1,
        line2=consumer.line2,
        city=consumer.city,
        state=consumer.state,
        zip_code=consumer.zip_code,
        country=consumer.country,
        email=consumer.email,
        tax_id=customer.tax_id,
        registration_number=consumer.registration_number,
        reference=customer.billing_reference,
        zero_tax_reason=customer.zero_tax_reason,
        zero_tax_note=customer.zero_tax_note,
    )
