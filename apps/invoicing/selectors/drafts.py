"""Early bills before they are stored, and what usage of an open period comes to."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from apps.catalog.models import GROWING, PriceRevision
from apps.catalog.selectors.terms import revisions_by_id
from apps.invoicing.domain.apart import OFF_USAGE
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceStatus, LineKind
from apps.kernel.money import EXACT


def early_revisions(opened: Sequence[Invoice]) -> dict[int, list[PriceRevision]]:
    """Give, by the key of an open invoice, the price revisions whose usage can be billed before its end."""
    revisions = revisions_by_id(i for invoice in opened for i in invoice.price_revision_ids)
    return {
        invoice.pk: [
            revision
            for revision in (revisions[i] for i in invoice.price_revision_ids if i in revisions)
            if revision.bills_usage and revision.metric is not None and revision.metric.aggregation in GROWING
        ]
        for invoice in opened
    }


def draw_up(opened: Invoice, *, revision_ids: Sequence[int], as_of: datetime, number: int = 0) -> Invoice:
    """Make, without storing it, an early bill of the period of an open invoice.

    Args:
        opened: the open invoice, with subscription, customer and organization at hand.
        revision_ids: the price revisions whose usage it bills.
        as_of: the present of the subscription, not before the period's start.
        number: 0 or 1, where two are drawn up together.

    Returns:
        The bill under a negative key of its own, which no stored invoice has.
    """
    return Invoice(
        pk=-(2 * opened.pk + number),
        organization=opened.organization,
        customer=opened.customer,
        subscription=opened.subscription,
        sequence_number=opened.sequence_number,
        part=1,
        status=InvoiceStatus.CALCULATING,
        currency=opened.currency,
        period_start=opened.period_start,
        period_end=as_of,
        due_after=opened.due_after,
        due_until=max(as_of, opened.due_after + timedelta(microseconds=1)),
        price_revision_ids=list(revision_ids),
        grace_period_end=as_of,
    )


def usage_lines(lines: Iterable[TargetLine]) -> list[TargetLine]:
    """Give the lines of usage among the lines of an invoice, and those of what units paid of it."""
    return [
        line
        for line in lines
        if line.metric_id is not None and (line.kind == LineKind.METERED or line.reference.startswith(OFF_USAGE))
    ]


def usage_amount(lines: Iterable[TargetLine]) -> Decimal:
    """Give what usage of a whole period comes to by now, before tax and discounts, by the lines of its early bill."""
    total = Decimal(0)
    for line in usage_lines(lines):
        total = EXACT.add(total, line.whole or Decimal(0))
    return total
