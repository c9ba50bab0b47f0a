"""What a subscriber sees of its subscription: what is used, what is left, what was billed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.entitlements.selectors.entitlements import entitlements_of, in_force, present_of
from apps.entitlements.selectors.histories import histories
from apps.invoicing.domain.targets import TargetLine, Totals, totals_of
from apps.invoicing.models import Invoice, InvoiceStatus, PaymentSession, SessionStatus
from apps.invoicing.selectors.invoices import billing, invoices_of, live_lines, with_neighbours
from apps.subscriptions.models import Subscription

SHOWN_INVOICES = 36


@dataclass(frozen=True, slots=True)
class Bill:
    """An issued invoice.

    Attributes:
        session: the page where it can be paid now.
    """

    invoice: Invoice
    session: PaymentSession | None


@dataclass(frozen=True, slots=True)
class Left:
    """What a right leaves.

    Attributes:
        balance: units; None where nothing is counted.
    """

    name: str
    balance: Decimal | None


@dataclass(frozen=True, slots=True)
class Running:
    """The open period's bill as it is by now."""

    invoice: Invoice
    lines: Sequence[TargetLine]
    totals: Totals


def running_bill(subscription: Subscription) -> Running | None:
    """Give what the open period comes to by now; None where none is open, or it cannot be told."""
    rows = with_neighbours(Invoice.objects.filter(subscription=subscription, status=InvoiceStatus.ACTIVE))
    invoice = rows.first()
    if invoice is None:
        return None
    lines = live_lines([invoice]).get(invoice.pk)
    return None if lines is None else Running(invoice, lines, totals_of(lines))


def bills_of(subscription: Subscription, *, at: datetime) -> list[Bill]:
    """Give the newest documents of a subscription."""
    rows = billing(invoices_of(organization_id=subscription.organization_id), subscription)
    invoices = list(rows.filter(number__isnull=False)[:SHOWN_INVOICES])
    sessions = {
        session.invoice_id: session
        for session in PaymentSession.objects.filter(
            invoice__in=invoices, status=SessionStatus.PENDING, expires_at__gt=at
        )
    }
    return [Bill(invoice, sessions.get(invoice.pk)) for invoice in invoices]


def find_bill(subscription: Subscription, public_id: str) -> Invoice | None:
    """Find one of a subscription's documents."""
    rows = billing(invoices_of(organization_id=subscription.organization_id), subscription)
    return rows.filter(public_id=public_id, number__isnull=False).first()


def rights_left(subscription: Subscription) -> list[Left]:
    """Give the rights that a subscription brings, with what is left of them."""
    rows = entitlements_of(organization_id=subscription.organization_id).filter(subscription=subscription)
    now = next((present_of(row) for row in rows[:1]), None)
    if now is None:
        return []
    live = list(in_force(rows, now))
    found = histories([(row, now) for row in live])
    return [
        Left(row.right_to.name, found[row.pk].state.balance if row.is_metered else None) for row in reversed(live)
    ]
