"""What of issued invoices was credited and what can be, and what customers have left of it."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from decimal import Decimal

from django.db.models import F, QuerySet, Sum
from django.db.models.functions import Coalesce

from apps.invoicing.domain.crediting import BilledLine, Creditable, creditable_lines
from apps.invoicing.models import (
    BalanceEntry,
    BalanceEntryKind,
    CreditNote,
    CreditNoteLine,
    CreditNoteStatus,
    CustomerBalance,
    Invoice,
    InvoiceLine,
)
from apps.invoicing.selectors.given_back import within_later_bills
from apps.invoicing.selectors.invoices import stored_lines

ZERO = Decimal(0)


def credit_notes_of(*, organization_id: int) -> QuerySet[CreditNote]:
    """Give a merchant's credit notes, newest first, with their lines."""
    return (
        CreditNote.objects.filter(organization_id=organization_id)
        .select_related("organization", "invoice__subscription__test_clock", "customer__consumer")
        .prefetch_related("lines__invoice_line__price_revision", "lines__invoice_line__tax_treatment")
        .order_by("-id")
    )


def credit_notes_on(invoice: Invoice) -> QuerySet[CreditNote]:
    """Give the credit notes of an invoice that hold."""
    return CreditNote.objects.filter(invoice=invoice, status=CreditNoteStatus.ISSUED)


def creditable_of(invoice: Invoice) -> tuple[list[Creditable], dict[int, InvoiceLine]]:
    """Give what can be given back of an issued invoice, charge by charge in document order, and its lines by key."""
    rows = {line.pk: line for line in stored_lines(invoice)}
    # Members of a document are told apart, as what is off a charge names it by price and time alone.
    by_member: dict[int, list[InvoiceLine]] = defaultdict(list)
    for row in rows.values():
        by_member[row.invoice_id].append(row)
    if any(sum(row.gross for row in lines) < 0 for lines in by_member.values()):
        # What one comes to below zero is off what the others charge.
        by_member = {invoice.pk: list(rows.values())}
    charges = [charge for lines in by_member.values() for charge in _charges(lines, invoice.currency)]
    given: dict[int, list[CreditNoteLine]] = defaultdict(list)
    for line in CreditNoteLine.objects.filter(
        credit_note__invoice=invoice, credit_note__status=CreditNoteStatus.ISSUED
    ):
        given[line.invoice_line_id].append(line)
    found = [_less_given(charge, given[charge.line_id]) for charge in charges]
    return within_later_bills(found, rows, currency=invoice.currency), rows


def _less_given(charge: Creditable, given: Sequence[CreditNoteLine]) -> Creditable:
    parts = [line.tax_parts for line in given if line.tax_parts]
    return replace(
        charge,
        credited_net=sum((line.subtotal for line in given), ZERO),
        credited_tax=sum((line.tax_amount for line in given), ZERO),
        credited_taxes=tuple(sum(column, ZERO) for column in zip(*parts, strict=True)),
    )


def _charges(rows: Sequence[InvoiceLine], currency: str) -> list[Creditable]:
    return creditable_lines(
        [
            BilledLine(
                row.pk,
                row.reference,
                row.gross,
                row.subtotal,
                row.tax_rate,
                row.tax_amount,
                tuple(row.tax_parts or ()),
                row.tax_treatment_id,
                row.invoice_id,
            )
            for row in rows
        ],
        currency=currency,
        # Told by the frozen lines: what the plan says may have changed since.
        is_inclusive=any(row.gross != row.subtotal for row in rows),
    )


def refundable_amount(invoice: Invoice) -> Decimal:
    """Give how much of what was paid of an invoice can still be paid back."""
    refunded = credit_notes_on(invoice).aggregate(total=Sum("refund_amount"))["total"] or ZERO
    return invoice.paid_amount - refunded


def balances_of(*, customer_id: int) -> QuerySet[CustomerBalance]:
    """Give what is held for a customer, by currency."""
    return CustomerBalance.objects.filter(customer_id=customer_id).order_by("currency")


def balance_entries(*, organization_id: int) -> QuerySet[BalanceEntry]:
    """Give the changes of balances of a merchant's customers, newest first."""
    return (
        BalanceEntry.objects.filter(organization_id=organization_id)
        .select_related("credit_note", "invoice", "customer__consumer", "source")
        .order_by("-id")
    )


def open_credits(customer_ids: Collection[int]) -> dict[tuple[int, str], list[BalanceEntry]]:
    """Give the credits with something left (`remaining`), by customer and currency, the oldest first."""
    rows = (
        BalanceEntry.objects.filter(customer_id__in=customer_ids, kind=BalanceEntryKind.CREDIT)
        .annotate(remaining=F("amount") + Coalesce(Sum("movements__amount"), ZERO))
        .filter(remaining__gt=0)
        .order_by("pk")
    )
    found: dict[tuple[int, str], list[BalanceEntry]] = defaultdict(list)
    for row in rows:
        found[row.customer_id, row.currency].append(row)
    return found
