"""The customer's balance: credits that pay later invoices, the oldest first."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db.models import Sum

from apps.invoicing.domain.crediting import use_oldest_first
from apps.invoicing.events import CustomerBalanceChanged
from apps.invoicing.models import BalanceEntry, BalanceEntryKind, CreditNote, CustomerBalance, Invoice
from apps.invoicing.selectors.credits import open_credits
from apps.kernel.errors import ConflictError
from apps.kernel.rows import insert_rows, many, update_rows
from apps.outbox.services import Announcement, publish_all


def credit_balance(*, note: CreditNote, as_of: datetime) -> None:
    """Put what a credit note leaves to the customer on the balance (caller's transaction)."""
    _write([_entry(note, BalanceEntryKind.CREDIT, note.balance_amount, as_of)], as_of)


def credit_below_zero(*, invoices: Sequence[Invoice], as_of: datetime) -> None:
    """Put what issued invoices come to below zero on their customers' balances (caller's transaction)."""
    _write(
        [
            BalanceEntry(
                organization_id=invoice.organization_id,
                customer_id=invoice.customer_id,
                currency=invoice.currency,
                kind=BalanceEntryKind.CREDIT,
                amount=-invoice.grand_total,
                invoice=invoice,
                occurred_at=as_of,
            )
            for invoice in sorted(invoices, key=lambda row: (row.customer_id, row.pk))
            if invoice.grand_total < 0
        ],
        as_of,
    )


def void_credit(*, note: CreditNote, as_of: datetime) -> None:
    """Take an unused credit from the balance again (caller's transaction).

    Raises:
        ConflictError: it paid an invoice.
    """
    _lock([note.customer_id])
    credit = BalanceEntry.objects.get(credit_note=note, kind=BalanceEntryKind.CREDIT)
    moved = credit.movements.aggregate(total=Sum("amount"))["total"]
    if moved:
        raise ConflictError(
            "The credit has paid an invoice already, so it cannot be voided; bill the amount again instead.",
            code="CREDIT_NOTE_USED",
        )
    _write([_entry(note, BalanceEntryKind.VOID, -note.balance_amount, as_of, source=credit)], as_of)


def use_balances(*, invoices: Sequence[Invoice], as_of: datetime) -> None:
    """Let what customers have left pay invoices that are being issued (caller's transaction).

    The oldest credits go first, and to the invoices in their order. Totals stay; less is due.

    Args:
        invoices: of one organization, locked; `balance_applied` is set and saved.
        as_of: the moment of issue.
    """
    payable = [invoice for invoice in invoices if invoice.unpaid_amount > 0]
    held = _lock({invoice.customer_id for invoice in payable})
    if not held:
        return
    credits = open_credits([balance.customer_id for balance in held])
    entries: list[BalanceEntry] = []
    changed = []
    for invoice in payable:
        rows = credits.get((invoice.customer_id, invoice.currency), [])
        parts = use_oldest_first([row.remaining for row in rows], invoice.unpaid_amount)  # type: ignore[attr-defined]
        for row, part in zip(rows, parts, strict=True):
            if part:
                row.remaining -= part  # type: ignore[attr-defined]
                entries.append(
                    BalanceEntry(
                        organization_id=invoice.organization_id,
                        customer_id=invoice.customer_id,
                        currency=invoice.currency,
                        kind=BalanceEntryKind.USE,
                        amount=-part,
                        credit_note_id=row.credit_note_id,
                        source=row,
                        invoice=invoice,
                        occurred_at=as_of,
                    )
                )
        if any(parts):
            invoice.balance_applied = sum(parts, Decimal(0))
            changed.append(invoice)
    update_rows(changed, ["balance_applied"])
    _write(entries, as_of)


def return_balance(*, invoice: Invoice, as_of: datetime) -> None:
    """Give back what the balance paid of a locked invoice that is not collected any more (caller's transaction).

    The invoice is saved by the caller.
    """
    if not invoice.balance_applied:
        return
    _lock([invoice.customer_id])
    used = BalanceEntry.objects.filter(invoice=invoice, kind=BalanceEntryKind.USE).order_by("pk")
    _write(
        [
            BalanceEntry(
                organization_id=row.organization_id,
                customer_id=row.customer_id,
                currency=row.currency,
                kind=BalanceEntryKind.RETURN,
                amount=-row.amount,
                credit_note_id=row.credit_note_id,
                source_id=row.source_id,
                invoice=invoice,
                occurred_at=as_of,
            )
            for row in used
        ],
        as_of,
    )
    invoice.balance_applied = Decimal(0)


def _lock(customer_ids: Sequence[int] | set[int]) -> list[CustomerBalance]:
    """Lock what customers have, in one order, so that two who use it cannot deadlock."""
    rows = CustomerBalance.objects.select_for_update().filter(customer_id__in=many(customer_ids))
    return [row for row in rows.order_by("pk") if row.amount > 0]


def _entry(
    note: CreditNote, kind: BalanceEntryKind, amount: Decimal, as_of: datetime, source: BalanceEntry | None = None
) -> BalanceEntry:
    return BalanceEntry(
        organization_id=note.organization_id,
        customer_id=note.customer_id,
        currency=note.currency,
        kind=kind,
        amount=amount,
        credit_note=note,
        source=source,
        occurred_at=as_of,
    )


def _write(entries: Sequence[BalanceEntry], as_of: datetime) -> None:
    if not entries:
        return
    insert_rows(entries)
    publish_all(
        [
            Announcement(
                CustomerBalanceChanged(
                    customer_id=entry.customer.public_id,
                    kind=entry.kind,
                    amount=entry.amount,
                    currency=entry.currency,
                    credit_note_id=None if entry.credit_note is None else entry.credit_note.public_id,
                    invoice_id=None if entry.invoice is None else entry.invoice.public_id,
                ),
                entry.organization_id,
                entry.public_id,
                as_of,
            )
            for entry in BalanceEntry.objects.filter(
                public_id__in=[entry.public_id for entry in entries]
            ).select_related("customer", "credit_note", "invoice")
        ]
    )
