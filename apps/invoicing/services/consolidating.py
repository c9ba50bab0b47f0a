"""Several invoices of a customer issued as one document."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db import connection

from apps.invoicing.domain import states
from apps.invoicing.events import InvoiceConsolidated
from apps.invoicing.models import CALCULATED_COLUMNS, Invoice, InvoiceStatus
from apps.invoicing.selectors.consolidation import consolidating, documents_of
from apps.kernel.rows import many, update_rows
from apps.outbox.services import Announcement, publish_all

# The class of the advisory locks by which calculations of one customer's documents take turns.
DOCUMENT_LOCKS = 7_202


def take_document_turns(invoice_ids: Sequence[int]) -> None:
    """Let the invoices of a customer who gets one document be calculated by one worker at a time.

    Of two at once each would take some of them, and make a document of these (caller's transaction).
    """
    # By their keys alone, like those that are calculated: one that is calculated by now costs a lock, no more.
    rows = consolidating(Invoice.objects.filter(pk__in=many(invoice_ids)))
    customers = sorted(set(rows.values_list("customer_id", flat=True)))
    if customers:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(%s, key) FROM (SELECT unnest(%s::int[]) AS key ORDER BY key) AS keys",
                [DOCUMENT_LOCKS, customers],
            )


def consolidate(*, invoices: Sequence[Invoice], as_of: datetime) -> list[Invoice]:
    """Put calculated invoices of one organization on the documents that they share (caller's transaction).

    Args:
        invoices: locked, with their neighbours, stored with their lines; not yet saved as calculated.
        as_of: the moment of issue.

    Returns:
        What is to be issued: documents, and invoices that stand alone, in the order of the first of each.
    """
    to_issue, members = [], []
    for group in documents_of(invoices):
        if len(group) == 1:
            to_issue.extend(group)
            continue
        document = _drawn_up(group)
        document.save()
        for invoice in group:
            states.require(InvoiceStatus.CALCULATING, InvoiceStatus.CONSOLIDATED)
            invoice.status, invoice.next_action_at = InvoiceStatus.CONSOLIDATED, None
            invoice.consolidated_into, invoice.issued_at = document, as_of
        members.extend(group)
        to_issue.append(document)
    update_rows(members, (*CALCULATED_COLUMNS, "issued_at", "consolidated_into"))
    publish_all([_announcement(invoice, as_of) for invoice in members])
    return to_issue


def _drawn_up(members: Sequence[Invoice]) -> Invoice:
    """Give the document of calculated invoices: the sum of their rounded totals, in the terms they share."""
    first = members[0]
    return Invoice(
        organization=first.organization,
        customer=first.customer,
        # Whose terms, clock and zone it has; those of the others are the same.
        subscription=first.subscription,
        sequence_number=first.sequence_number,
        has_members=True,
        status=InvoiceStatus.CALCULATING,
        currency=first.currency,
        period_start=min(invoice.period_start for invoice in members),
        period_end=max(invoice.period_end for invoice in members),
        due_after=min(invoice.due_after for invoice in members),
        due_until=first.due_until,
        grace_period_end=max(invoice.grace_period_end for invoice in members),
        calculated_at=first.calculated_at,
        subtotal=sum((invoice.subtotal for invoice in members), Decimal(0)),
        total_tax=sum((invoice.total_tax for invoice in members), Decimal(0)),
        grand_total=sum((invoice.grand_total for invoice in members), Decimal(0)),
        line_count=sum(invoice.line_count for invoice in members),
    )


def _announcement(invoice: Invoice, at: datetime) -> Announcement:
    assert invoice.consolidated_into is not None
    told = InvoiceConsolidated(
        invoice_id=invoice.public_id,
        subscription_id=invoice.subscription.public_id,
        consolidated_invoice_id=invoice.consolidated_into.public_id,
    )
    return Announcement(told, invoice.organization_id, invoice.public_id, at)
