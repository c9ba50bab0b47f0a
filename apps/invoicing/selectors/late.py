"""Usage of periods that are already invoiced, found when the next invoice is made."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from apps.catalog.models import PriceRevision
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.domain.taxes import tax_rate_for
from apps.invoicing.models import Invoice, InvoiceLine, LineKind
from apps.kernel.time import Period, format_instant
from apps.metering.selectors.links import SubjectSpan
from apps.metering.selectors.usage import UsageRequest, period_usage, usage_changed_since
from apps.rating.lines import left_over, rate_usage
from apps.rating.price_models import parse_properties
from apps.subscriptions.selectors.clocks import current_time

# A merge that began before the usage was read may commit after it; no merge runs longer than this.
OVERLAP = timedelta(minutes=10)


@dataclass(slots=True)
class _Billed:
    """What earlier invoices of a subscription billed for one price and service period."""

    revision: PriceRevision
    metric_id: int
    period: Period
    quantity: Decimal
    counted_at: datetime
    carried: Decimal = Decimal(0)


def find_late_usage(
    invoices: Sequence[Invoice], subjects: Mapping[int, Sequence[SubjectSpan]], *, as_of: datetime | None
) -> dict[int, list[TargetLine]]:
    """Give, per invoice, a line for each earlier charge whose usage has changed since it was billed.

    The line is worth what new events add to their own period, or voided ones take away:
    `amount(now) − amount(billed)`. What a correction could not give back, because its invoice would have fallen below
    zero, goes on to the next.
    """
    by_subscription = {invoice.subscription_id: invoice for invoice in invoices if invoice.sequence_number > 0}
    billed = _billed(by_subscription)
    requests: list[tuple[Invoice, _Billed, UsageRequest]] = []
    for subscription_id, entries in billed.items():
        invoice = by_subscription[subscription_id]
        for entry in entries:
            request = UsageRequest(
                organization_id=invoice.organization_id,
                metric_id=entry.metric_id,
                subjects=subjects.get(invoice.customer_id, ()),
                start=entry.period.start,
                end=entry.period.end,
            )
            requests.append((invoice, entry, request))
    changed = usage_changed_since(
        requests=[request for _, _, request in requests],
        moments=[entry.counted_at - OVERLAP for _, entry, _ in requests],
    )
    touched = [row for row, is_changed in zip(requests, changed, strict=True) if is_changed or row[1].carried]
    quantities = period_usage(requests=[request for _, _, request in touched])
    found: dict[int, list[TargetLine]] = defaultdict(list)
    for (invoice, entry, _), quantity in zip(touched, quantities, strict=True):
        now = quantity or Decimal(0)
        if now != entry.quantity or entry.carried:
            found[invoice.pk].append(_late_line(invoice, entry, now, as_of or current_time(invoice.subscription)))
    return found


def _billed(by_subscription: Mapping[int, Invoice]) -> dict[int, list[_Billed]]:
    """Give what each subscription was billed for, with the sum over a charge's first line and its late ones."""
    lines = (
        InvoiceLine.objects.filter(
            invoice__subscription_id__in=list(by_subscription),
            invoice__number__isnull=False,
            kind=LineKind.METERED,
        )
        .exclude(invoice__status="CANCELLED")
        .select_related("invoice", "price_revision__price", "price_revision__metric")
        .order_by("pk")
    )
    entries: dict[tuple[int, int, datetime, datetime], _Billed] = {}
    for line in lines:
        revision, counted_at = line.price_revision, line.invoice.usage_counted_at
        if revision is None or revision.metric_id is None or counted_at is None:
            continue
        key = (line.invoice.subscription_id, revision.pk, line.period_start, line.period_end)
        known = entries.get(key)
        if known is None:
            period = Period(line.period_start, line.period_end)
            entries[key] = _Billed(revision, revision.metric_id, period, line.quantity, counted_at)
        else:
            known.quantity += line.quantity
            known.counted_at = max(known.counted_at, counted_at)
        if line.is_late:
            entries[key].carried += left_over(line.provenance)
    grouped: dict[int, list[_Billed]] = defaultdict(list)
    for (subscription_id, *_), entry in entries.items():
        grouped[subscription_id].append(entry)
    return grouped


def _late_line(invoice: Invoice, entry: _Billed, now: Decimal, as_of: datetime) -> TargetLine:
    revision = entry.revision
    metric = revision.metric
    rated = rate_usage(
        price=parse_properties(revision.model, revision.properties),
        quantity=now,
        currency=invoice.currency,
        period=entry.period,
        sources={
            "price": {
                "type": "price",
                "ref": {"priceId": revision.price.public_id, "revision": revision.number},
            },
            "usage": {"type": "meter", "ref": {"billableMetricId": metric.public_id if metric else ""}},
            "earlierInvoice": {"type": "invoice", "ref": {"subscriptionId": invoice.subscription.public_id}},
        },
        calculated_at=as_of,
        already_billed=entry.quantity,
        carried=entry.carried,
    )
    return TargetLine(
        kind=LineKind.METERED,
        reference=f"late:{revision.price.public_id}:{format_instant(entry.period.start)}",
        display_name=f"{revision.invoice_display_name} ({'late usage' if now > entry.quantity else 'correction'})",
        payment_term=revision.payment_term,
        period_start=entry.period.start,
        period_end=entry.period.end,
        quantity=rated.quantity,
        unit_price=rated.unit_price,
        gross=rated.subtotal,
        tax_rate=tax_rate_for(
            is_exempt=invoice.subscription.tax_exempt,
            is_in_scope=revision.supply_scope == "IN_SCOPE",
            customer_rates=invoice.customer.tax_rates,
            metric_public_id=metric.public_id if metric is not None else None,
            plan_public_id=invoice.subscription.plan.public_id,
            plan_rate=invoice.subscription.plan.default_tax_rate,
        ),
        price_revision_id=revision.pk,
        metric_id=revision.metric_id,
        is_late=True,
        provenance=rated.provenance,
    )
