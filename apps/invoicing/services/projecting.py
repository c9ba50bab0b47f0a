"""Invoices that the coming periods will bring: time goes on, each bill is calculated, and all of it is undone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from apps.invoicing.domain.cuts import PREFIX, charge_of
from apps.invoicing.domain.targets import TargetLine, Totals, totals_of
from apps.invoicing.models import Invoice, InvoiceStatus, LineKind
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.invoicing.services.issuing import store_calculations
from apps.invoicing.services.periods import cross_boundaries
from apps.invoicing.services.previewing import MOST_PERIODS, undone
from apps.invoicing.services.terminating import locked
from apps.kernel.clock import wall_now
from apps.kernel.time import Cadence, Period, add
from apps.subscriptions.models import Subscription, SubscriptionStatus

DEFAULT_SPAN = Cadence.parse("P1M")
LONGEST_SPAN = Cadence.parse("P1Y")


@dataclass(frozen=True, slots=True)
class ProjectedInvoice:
    """The bill a future boundary will bring as far as it is known today: without usage.

    Attributes:
        totals: of all but usage. Commitments, caps and coupons are worked out with the usage that is counted by now.
    """

    public_id: str
    sequence_number: int
    period: Period
    totals: Totals
    line_count: int


def projected_invoices(
    subscription: Subscription, *, start: datetime | None, end: datetime | None, as_of: datetime
) -> list[ProjectedInvoice]:
    """Give the invoices whose period ends in `(start, end]`, the open one first; at most of 120 periods.

    Each is what the production code bills at its boundary, from what is agreed by now; nothing stays of it.

    Args:
        start: not before the present, which is also the default.
        end: a month after the start by default, at most a year ahead.
    """
    first = max(start or as_of, as_of)
    last = min(end or add(first, DEFAULT_SPAN), add(as_of, LONGEST_SPAN))

    def look() -> list[ProjectedInvoice]:
        found: list[ProjectedInvoice] = []
        for _ in range(MOST_PERIODS):
            ends_at = _open_end(subscription.pk)
            if ends_at is None or ends_at > last:
                break
            projected = _pass(subscription, ends_at)
            if ends_at > first:
                found.append(projected)
        return found

    return undone(look)


def _open_end(subscription_id: int) -> datetime | None:
    row = locked(subscription_id)
    return row.period_end if row.status == SubscriptionStatus.ACTIVE else None


def _pass(subscription: Subscription, ends_at: datetime) -> ProjectedInvoice:
    """Close the open period and calculate its invoice, so that the next one knows what it billed."""
    opened = Invoice.objects.get(subscription=subscription, status=InvoiceStatus.ACTIVE)
    cross_boundaries(subscription_ids=[subscription.pk], as_of=ends_at)
    invoice = with_neighbours(Invoice.objects.all()).get(pk=opened.pk)
    lines = target_lines([invoice], as_of=ends_at)[invoice.pk]
    store_calculations(invoices=[invoice], lines={invoice.pk: lines}, as_of=ends_at, counted_at=wall_now())
    invoice.status, invoice.next_action_at = InvoiceStatus.DRAFT, None
    invoice.save()
    kept = _without_usage(lines)
    period = Period(invoice.period_start, invoice.period_end)
    return ProjectedInvoice(
        _stable_id(subscription, period), invoice.sequence_number, period, totals_of(kept), len(kept)
    )


def _without_usage(lines: Sequence[TargetLine]) -> list[TargetLine]:
    """Leave out usage, and what is off it."""
    usage = {line.reference for line in lines if line.kind == LineKind.METERED}
    return [
        line
        for line in lines
        if line.reference not in usage
        and not (line.reference.startswith(PREFIX) and charge_of(line.reference) in usage)
    ]


def _stable_id(subscription: Subscription, period: Period) -> str:
    """Give the same id for the same future invoice at every call; it cannot be read by it."""
    text = f"{subscription.public_id}:{period.start.isoformat()}"
    return "inv_" + hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
