"""Which prices show what units pay on lines of their own, and what earlier bills showed so of a charge."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from django.db.models import Q, Sum

from apps.catalog.models import PriceRevision
from apps.invoicing.domain.apart import NOTHING, OFF_USAGE, Shown, is_rest
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus
from apps.kernel.rows import many

ShownOf = Mapping[int, Callable[[TargetLine], Shown]]
Charge = tuple[int, datetime, datetime]


def shown_apart(
    invoices: Mapping[int, Invoice], lines: Mapping[int, Sequence[TargetLine]], revisions: Mapping[int, PriceRevision]
) -> dict[int, ShownOf]:
    """Give, by invoice key and price revision, what earlier bills took off charges of prices that ask for it.

    Where nothing is the rest of a charge, nothing is read.

    Args:
        invoices: by key.
        lines: of the bills, with all that is on and off them.
        revisions: known by now; lines of late usage may go by older ones, which are read.
    """
    prices = {key: row.price_id for key, row in revisions.items() if row.price.grant_discount_enabled}
    rests = [
        (key, line)
        for key, rows in lines.items()
        for line in rows
        if line.kind == "metered" and line.gross > 0 and line.price_revision_id is not None
        # Few go by a price that asks for it, or by an older one: the calculations of the others are not read.
        if (line.price_revision_id in prices or line.price_revision_id not in revisions) and is_rest(line)
    ]
    unknown = {line.price_revision_id for _, line in rests if line.price_revision_id is not None} - revisions.keys()
    if unknown:
        older = PriceRevision.objects.filter(pk__in=unknown, price__grant_discount_enabled=True)
        prices |= dict(older.values_list("pk", "price_id"))
    rests = [(key, line) for key, line in rests if line.price_revision_id in prices]
    known = _taken_off({invoices[key].subscription_id for key, _ in rests}) if rests else {}

    def of(invoice: Invoice, price_id: int) -> Callable[[TargetLine], Shown]:
        own = known.get(invoice.subscription_id, {})
        return lambda line: own.get((price_id, line.period_start, line.period_end), NOTHING)

    return {
        key: {revision_id: of(invoice, price_id) for revision_id, price_id in prices.items()}
        for key, invoice in invoices.items()
    }


def _taken_off(subscription_ids: set[int]) -> dict[int, dict[Charge, Shown]]:
    """Give what bills took off usage, by subscription and charge."""
    rows = (
        InvoiceLine.objects.filter(
            # An early bill is one from the moment it is made.
            Q(invoice__issued_at__isnull=False) | Q(invoice__part__gt=0),
            invoice__subscription_id__in=many(subscription_ids),
            reference__startswith=OFF_USAGE,
            price_revision__isnull=False,
        )
        .exclude(invoice__status=InvoiceStatus.CANCELLED)
        .values_list("invoice__subscription_id", "price_revision__price_id", "period_start", "period_end")
        .annotate(units=Sum("quantity"), amount=Sum("gross"))
        .order_by()
    )
    found: dict[int, dict[Charge, Shown]] = defaultdict(dict)
    for subscription_id, price_id, start, end, units, amount in rows:
        assert price_id is not None
        found[subscription_id][price_id, start, end] = Shown(units, -amount)
    return found
