"""From a closed period to an issued document."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError, transaction

from apps.invoicing.domain import states
from apps.invoicing.domain.targets import TargetLine, totals_of
from apps.invoicing.events import InvoiceFailed, InvoiceIssued
from apps.invoicing.models import CALCULATED_COLUMNS, Invoice, InvoiceLine, InvoiceStatus, LineKind
from apps.invoicing.selectors.consolidation import units_of
from apps.invoicing.selectors.invoices import join_neighbours, with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.invoicing.services.activation import activate_paid_subscription
from apps.invoicing.services.balances import credit_below_zero, use_balances
from apps.invoicing.services.consolidating import consolidate, take_document_turns
from apps.invoicing.services.coupons import hold_coupons
from apps.invoicing.services.holding import hold_rates
from apps.invoicing.services.numbers import next_number
from apps.invoicing.services.settlement import lock_for_settlement, mark_paid
from apps.invoicing.services.spend import take_turns
from apps.invoicing.services.taxing import TAX_COLUMNS, tax_columns
from apps.invoicing.services.turns import take_credit_turns
from apps.kernel.clock import wall_now
from apps.kernel.ids import derived_id
from apps.kernel.rows import insert_values, many, update_rows, update_values
from apps.outbox.services import Announcement, publish, publish_all

logger = logging.getLogger(__name__)

# What higher apps keep of invoices, in the transaction that issues them.
_keepers: list[Callable[[Sequence[Invoice]], None]] = []

STORED_KINDS = (LineKind.MANUAL, LineKind.ADJUSTMENT)


def register_issue_keeper(keep: Callable[[Sequence[Invoice]], None]) -> None:
    """Let a higher app write down what it needs of invoices, of one organization, that are being issued.

    It is called before they are numbered.
    """
    _keepers.append(keep)


def calculate_invoices(*, invoice_ids: Sequence[int], as_of: datetime) -> int:
    """Calculate invoices whose grace period is over, and issue those that need no approval.

    All in one transaction where that works; when one cannot be calculated, the others are in smaller groups
    and only the one that fails is set aside as FAILED. The others of its document are issued without it.

    Returns:
        How many changed their state.
    """
    try:
        return _calculate(invoice_ids, as_of)
    except Exception:
        if len(invoice_ids) == 1:
            raise
    return _calculate_halves(units_of(invoice_ids), as_of)


def calculate_or_set_aside(*, invoice_ids: Sequence[int], as_of: datetime) -> int:
    """As `calculate_invoices`, also for a single one: a failure is written down, never raised."""
    try:
        return calculate_invoices(invoice_ids=invoice_ids, as_of=as_of)
    except Exception as error:
        logger.exception("invoice %s could not be calculated", invoice_ids)
        return sum(_set_aside(invoice_id, error, as_of) for invoice_id in invoice_ids)


def _calculate_halves(units: Sequence[Sequence[int]], as_of: datetime) -> int:
    """Find those that cannot be calculated by halves: one in a thousand costs ten more tries, not a thousand.

    Args:
        units: invoices that may share documents, none of which is parted.
    """
    if len(units) == 1:
        return _calculate_apart(units[0], as_of)
    moved = 0
    for half in (units[: len(units) // 2], units[len(units) // 2 :]):
        try:
            moved += _calculate([pk for unit in half for pk in unit], as_of)
        except Exception:
            moved += _calculate_halves(half, as_of)
    return moved


def _calculate_apart(invoice_ids: Sequence[int], as_of: datetime) -> int:
    """Calculate invoices that may share a document, each for itself; what can be calculated is issued together."""
    if len(invoice_ids) > 1:
        try:
            return _calculate_what_can_be(invoice_ids, as_of)
        except Exception:
            # What they share cannot be issued: no more than each by itself is left.
            logger.exception("invoices %s could not be issued together", invoice_ids)
    moved = 0
    for invoice_id in invoice_ids:
        try:
            moved += _calculate([invoice_id], as_of)
        except Exception as error:
            logger.exception("invoice %s could not be calculated", invoice_id)
            moved += _set_aside(invoice_id, error, as_of)
    return moved


@transaction.atomic
def _calculate_what_can_be(invoice_ids: Sequence[int], as_of: datetime) -> int:
    take_document_turns(invoice_ids)
    calculated: list[Invoice] = []
    failures: list[tuple[int, Exception]] = []
    for invoice_id in invoice_ids:
        try:
            with transaction.atomic():
                stored = _stored([invoice_id], as_of)
                # For the next one it is calculated: a coupon that it uses up is used up.
                update_rows(stored, CALCULATED_COLUMNS)
                calculated += stored
        except Exception as error:
            logger.exception("invoice %s could not be calculated", invoice_id)
            failures.append((invoice_id, error))
    _pass_on(calculated, as_of)
    return len(calculated) + sum(_set_aside(invoice_id, error, as_of) for invoice_id, error in failures)


@transaction.atomic
def _calculate(invoice_ids: Sequence[int], as_of: datetime) -> int:
    take_document_turns(invoice_ids)
    invoices = _stored(invoice_ids, as_of)
    _pass_on(invoices, as_of)
    return len(invoices)


def _stored(invoice_ids: Sequence[int], as_of: datetime) -> list[Invoice]:
    """Lock invoices that are to be calculated and store their lines; gives those that no other worker has."""
    # What is merged after this moment counts as late; read before the usage, so nothing falls between.
    counted_at = wall_now()
    # By their keys alone: looked for by their state too, all that are closing would be read for every group, since
    # the planner believes that there are few.
    locked = (
        Invoice.objects.select_for_update(skip_locked=True, no_key=True)
        .defer("metadata")
        .filter(pk__in=many(invoice_ids))
    )
    invoices = [row for row in locked.order_by("organization_id", "pk") if row.status == InvoiceStatus.CLOSING]
    if not invoices:
        return []
    join_neighbours(invoices)
    take_turns(invoices)
    hold_coupons(invoices)
    hold_rates(invoices)
    lines = target_lines(invoices, as_of=as_of)
    correcting = {row.subscription_id for row in invoices if any(_gives_back(line) for line in lines[row.pk])}
    if correcting:
        # Credit notes of the same charges wait from here on, and what others gave back meanwhile is read.
        take_credit_turns(correcting)
        lines = target_lines(invoices, as_of=as_of)
    store_calculations(invoices=invoices, lines=lines, as_of=as_of, counted_at=counted_at)
    return invoices


def _gives_back(line: TargetLine) -> bool:
    return line.is_late and line.gross < 0


def _pass_on(invoices: Sequence[Invoice], as_of: datetime) -> None:
    """Issue calculated invoices, or leave them as drafts."""
    to_issue = [invoice for invoice in invoices if invoice.auto_approve]
    drafts = [invoice for invoice in invoices if not invoice.auto_approve]
    for invoice in drafts:
        invoice.status, invoice.next_action_at = InvoiceStatus.DRAFT, None
    update_rows(drafts, CALCULATED_COLUMNS)
    # Numbers last: their counters stay locked to the end of the transaction.
    for organization_id in dict.fromkeys(invoice.organization_id for invoice in to_issue):
        group = [invoice for invoice in to_issue if invoice.organization_id == organization_id]
        issue_group(invoices=consolidate(invoices=group, as_of=as_of), as_of=as_of)


ISSUED_COLUMNS = (*CALCULATED_COLUMNS, "number", "issued_at", "due_at")


def store_calculations(
    *, invoices: Sequence[Invoice], lines: Mapping[int, Sequence[TargetLine]], as_of: datetime, counted_at: datetime
) -> None:
    """Write the lines of invoices as they should be, in place of an earlier calculation's (caller's transaction).

    The invoices themselves have their totals then, and are saved by whoever decides what becomes of them.
    """
    again = [invoice.pk for invoice in invoices if invoice.calculated_at is not None]
    if again:
        InvoiceLine.objects.filter(invoice_id__in=again).exclude(kind__in=STORED_KINDS).delete()
    taxes = tax_columns(invoices, lines)
    insert_values(
        InvoiceLine,
        LINE_COLUMNS,
        [
            (line_public_id(public_id, line.reference), *of_invoice, *_cells(line), *taxes(invoice, line))
            for invoice in invoices
            for public_id in [invoice.public_id]
            for of_invoice in [(invoice.organization_id, invoice.pk, invoice.currency)]
            for line in lines[invoice.pk]
            if line.stored_id is None
        ],
    )
    update_values(
        InvoiceLine,
        ["subtotal", "total", *TAX_COLUMNS],
        [
            (line.stored_id, line.subtotal, line.total, *taxes(invoice, line))
            for invoice in invoices
            for line in lines[invoice.pk]
            if line.stored_id is not None
        ],
    )
    for invoice in invoices:
        totals = totals_of(lines[invoice.pk])
        invoice.subtotal, invoice.total_tax = totals.subtotal, totals.total_tax
        invoice.grand_total = totals.grand_total
        invoice.line_count = len(lines[invoice.pk])
        invoice.calculated_at, invoice.usage_counted_at = as_of, counted_at
        invoice.failure_reason = ""


def issue_group(*, invoices: Sequence[Invoice], as_of: datetime) -> None:
    """Number, freeze and announce calculated invoices of one organization (caller's transaction).

    The customers' balances pay what they can; an invoice with nothing left to pay is settled at once.
    """
    if not invoices:
        return
    # Before the numbers, whose counter others wait for until this transaction ends.
    for keep in _keepers:
        keep(invoices)
    numbers = next_number(organization=invoices[0].organization, as_of=as_of, count=len(invoices))
    # The money is due at midnight UTC, the payment term after the day of issue.
    day = as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    for invoice, number in zip(invoices, numbers, strict=True):
        invoice.number = number
        invoice.status = InvoiceStatus.ISSUED
        invoice.issued_at = as_of
        invoice.due_at = day + timedelta(days=invoice.subscription.payment_term_days)
        invoice.next_action_at = None
    update_rows(invoices, ISSUED_COLUMNS)
    publish_all(
        [
            Announcement(
                InvoiceIssued(
                    invoice_id=invoice.public_id,
                    invoice_number=number,
                    grand_total=invoice.grand_total,
                    currency=invoice.currency,
                ),
                invoice.organization_id,
                invoice.public_id,
                as_of,
            )
            for invoice, number in zip(invoices, numbers, strict=True)
        ]
    )
    # First, so that what one gives back pays for another that is issued with it.
    credit_below_zero(invoices=invoices, as_of=as_of)
    use_balances(invoices=invoices, as_of=as_of)
    for invoice in invoices:
        if invoice.unpaid_amount <= 0:
            note = "Paid from the customer's balance" if invoice.balance_applied else "Nothing to pay"
            note = "To the customer's balance" if invoice.grand_total < 0 else note
            mark_paid(invoice=invoice, as_of=as_of, note=note)


@transaction.atomic
def approve_invoice(*, invoice_id: int, as_of: datetime) -> Invoice:
    """Issue a draft that waited for approval; an issued one is given back as it is."""
    lock_for_settlement(invoice_id=invoice_id)
    invoice = with_neighbours(Invoice.objects.all()).get(pk=invoice_id)
    if invoice.number is not None:
        return invoice
    states.require(invoice.status, InvoiceStatus.ISSUED)
    issue_group(invoices=[invoice], as_of=as_of)
    if invoice.sequence_number == 0 and invoice.status == InvoiceStatus.PAID:
        activate_paid_subscription(subscription_id=invoice.subscription_id, as_of=as_of)
    return invoice


@transaction.atomic
def retry_failed(*, invoice_id: int, as_of: datetime) -> Invoice:
    """Send an invoice whose calculation failed back to be calculated at the next run."""
    invoice = Invoice.objects.select_for_update(no_key=True).get(pk=invoice_id)
    states.require(invoice.status, InvoiceStatus.CALCULATING)
    invoice.status, invoice.next_action_at, invoice.failure_reason = InvoiceStatus.CLOSING, as_of, ""
    invoice.save()
    return invoice


@transaction.atomic
def _set_aside(invoice_id: int, error: Exception, as_of: datetime) -> int:
    if isinstance(error, OperationalError):
        # A deadlock, a lost connection: nothing of the invoice, so the next run tries again.
        return 0
    invoice = Invoice.objects.select_for_update(no_key=True).get(pk=invoice_id)
    if invoice.status != InvoiceStatus.CLOSING:
        return 0
    invoice.status, invoice.next_action_at = InvoiceStatus.FAILED, None
    invoice.failure_reason = f"{type(error).__name__}: {error}"[:2000]
    invoice.save()
    publish(
        InvoiceFailed(invoice_id=invoice.public_id, reason=invoice.failure_reason),
        organization_id=invoice.organization_id,
        object_id=invoice.public_id,
        at=as_of,
    )
    return 1


def line_public_id(invoice_public_id: str, reference: str) -> str:
    """Give the id of a computed line: the same before it is stored and at every calculation."""
    return derived_id("li", invoice_public_id, reference)


# Of a line, in the order of `_cells`.
CELLS = (
    "kind",
    "reference",
    "price_revision_id",
    "display_name",
    "description",
    "payment_term",
    "period_start",
    "period_end",
    "quantity",
    "unit_price",
    "gross",
    "subtotal",
    "total",
    "is_late",
    "provenance",
)
LINE_COLUMNS = (
    *("public_id", "organization_id", "invoice_id", "currency"),
    *CELLS,
    *("tax_rate", "tax_amount", "tax_treatment_id", "tax_parts"),
)


def _cells(line: TargetLine) -> tuple[Any, ...]:
    return (
        line.kind,
        line.reference,
        line.price_revision_id,
        line.display_name,
        line.description,
        line.payment_term,
        line.period_start,
        line.period_end,
        line.quantity,
        line.unit_price,
        line.gross,
        line.subtotal,
        line.total,
        line.is_late,
        line.provenance,
    )
