"""Which usage that a rate feed prices is billed."""

from datetime import datetime

from django.db.models import Max
from django.db.models.functions import Least

from apps.catalog.models import RateFeed
from apps.catalog.selectors.feeds import revisions_by_feed
from apps.invoicing.models import InvoiceLine, InvoiceStatus, LineKind


def billed_until(feed: RateFeed) -> datetime | None:
    """Give the moment up to which calculated invoices have billed usage by a feed; None while none has."""
    lines = InvoiceLine.objects.filter(
        organization_id=feed.organization_id,
        kind=LineKind.METERED,
        price_revision__in=revisions_by_feed(feed),
        invoice__calculated_at__isnull=False,
    ).exclude(invoice__status=InvoiceStatus.CANCELLED)
    # A bill that was calculated within its period has nothing of what comes later.
    until: datetime | None = lines.aggregate(until=Max(Least("period_end", "invoice__calculated_at")))["until"]
    return until
