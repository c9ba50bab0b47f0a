"""Usage of periods that are already invoiced, found when the next invoice is made."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection
from django.db.models import QuerySet

from apps.catalog.models import BillableMetric, PriceRevision
from apps.entitlements.selectors.coverage import find_ends_paid
from apps.invoicing.domain.adjustments import AdjustmentTerms, discounts_of, quantity_terms
from apps.invoicing.domain.early import WITHDRAWN
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceLine, LineKind
from apps.invoicing.selectors.allowances import AllowanceRequest
from apps.invoicing.selectors.metered import MeteredRequest, metered_usage
from apps.invoicing.selectors.rates import rate_of
from apps.kernel.rows import integers, many
from apps.kernel.time import Period, format_instant, parse_instant
from apps.metering.selectors.links import SubjectSpan
from apps.metering.selectors.usage import UsageRequest, usage_changed_since
from apps.rating.adjustments import QuantityTerms
from apps.rating.grouped import AnyPrice, parse_price, price_of
from apps.rating.lines import Billed, rate_usage
from apps.rating.price_models.standard import StandardPrice
from apps.rating.reading import evaluated, left_over
from apps.rating.splits import split_terms
from apps.rating.usage import Usage
from apps.subscriptions.selectors.clocks import current_time

# What subscriptions were billed for: the lines of `_billed_lines`, by keys whatever the planner believes of how many
# there are. As periods close, it knows nothing yet of those of the last ones. Most were billed for the same together.
LOOK = """
SELECT revision.metric_id, billed.period_start, billed.period_end, billed.usage_counted_at, billed.is_special,
       billed.subscription_ids
FROM (
    SELECT line.price_revision_id, line.period_start, line.period_end, invoice.usage_counted_at, line.is_special,
           array_agg(invoice.subscription_id) AS subscription_ids
    FROM unnest(%(asked)s::bigint[]) AS asked (subscription_id)
    CROSS JOIN LATERAL (
        SELECT id, subscription_id, usage_counted_at FROM invoicing_invoice
        WHERE subscription_id = asked.subscription_id AND issued_at IS NOT NULL AND part = 0
          AND status <> 'CANCELLED'
        OFFSET 0
    ) AS invoice
    CROSS JOIN LATERAL (
        SELECT price_revision_id, period_start, period_end,
               is_late OR reference LIKE %(withdrawn)s
               OR gross <= 0 AND (provenance->'steps')::jsonb @> '[{"op": "setToBound"}]'
               -- The text alone says of most that they have none.
               OR strpos(provenance::text, '"split"') > 0 AND provenance->'sources'->'split' IS NOT NULL
               AS is_special
        FROM invoicing_invoiceline WHERE invoice_id = invoice.id AND kind = 'metered'
        OFFSET 0
    ) AS line
    GROUP BY 1, 2, 3, 4, 5
) AS billed
JOIN catalog_pricerevision AS revision
  ON revision.id = billed.price_revision_id AND revision.metric_id IS NOT NULL AND NOT revision.is_flat
"""
# A merge that began before the usage was read may commit after it; no merge runs longer than this.
OVERLAP = timedelta(minutes=10)


@dataclass(slots=True)
class _Entry:
    """What earlier invoices of a subscription billed for one price and service period.

    Attributes:
        billed_at: the price that was put on it.
        whole: the service period that it is a part of, where the price changed within.
    """

    revision: PriceRevision
    metric: BillableMetric
    period: Period
    billed_at: AnyPrice
    whole: Period
    billed: Billed
    counted_at: datetime
    carried: Decimal = Decimal(0)
    is_withdrawn: bool = False

    @property
    def price(self) -> AnyPrice:
        """What its usage costs; nothing when its price was left, and what was billed is being given back."""
        return StandardPrice(Decimal(0)) if self.is_withdrawn else self.billed_at


_Request = tuple[Invoice, _Entry, UsageRequest]


def find_late_usage(
    invoices: Sequence[Invoice],
    subjects: Mapping[int, Sequence[SubjectSpan]],
    adjustments: Mapping[int, Sequence[AdjustmentTerms]],
    *,
    as_of: datetime | None,
) -> dict[int, list[TargetLine]]:
    """Give, per invoice, a line for each earlier charge whose usage has changed since it was billed.

    The line is worth what new events add to their own period, or voided ones take away:
    `amount(now) − amount(billed)`. What a correction could not give back, because its invoice would have fallen below
    zero, goes on to the next.
    """
    by_subscription = {
        invoice.subscription_id: invoice
        for invoice in invoices
        if invoice.sequence_number > 0 and not invoice.is_early
    }
    billed = _billed({key: by_subscription[key] for key in _worth_a_look(by_subscription, subjects)})
    requests: list[_Request] = []
    unchanged: list[tuple[Invoice, _Entry]] = []
    for subscription_id, entries in billed.items():
        invoice = by_subscription[subscription_id]
        for entry in entries:
            if entry.is_withdrawn:
                unchanged.append((invoice, entry))
                continue
            request = UsageRequest(
                organization_id=invoice.organization_id,
                metric_id=entry.metric.pk,
                subjects=subjects.get(invoice.customer_id, ()),
                start=entry.period.start,
                end=entry.period.end,
            )
            requests.append((invoice, entry, request))
    changed = usage_changed_since(
        requests=[request for _, _, request in requests],
        moments=[entry.counted_at - OVERLAP for _, entry, _ in requests],
    )
    touched = _touched(requests, changed)
    answers = metered_usage(
        [
            MeteredRequest(
                request,
                entry.price,
                entry.metric,
                AllowanceRequest(invoice.customer_id, invoice.subscription_id, entry.revision.price_id, entry.period)
                if entry.revision.pricing_unit_id is None
                else None,
            )
            for invoice, entry, request in touched
        ]
    )
    usages = {id(entry): usage for (_, entry, _), usage in zip(touched, answers, strict=True)}
    found: dict[int, list[TargetLine]] = defaultdict(list)
    for parts in _by_whole([*((invoice, entry) for invoice, entry, _ in requests), *unchanged]):
        # What did not change is not read again: its raw events may be gone by now.
        known = [usages.get(id(entry), entry.billed.usage) for _, entry in parts]
        invoice, first = parts[0]
        agreed = adjustments.get(invoice.subscription_id, ())
        terms = quantity_terms(agreed, first.whole, is_in_advance=False, price_id=first.revision.price_id)
        shared = split_terms(terms, [usage.uncovered for usage in known])
        for (_, entry), usage, own in zip(parts, known, shared, strict=True):
            line = _late_line(invoice, entry, usage, agreed, own, as_of or current_time(invoice.subscription))
            if line is not None:
                found[invoice.pk].append(line)
    return found


def _touched(requests: Sequence[_Request], changed: Sequence[bool]) -> list[_Request]:
    """Give those whose usage changed, and those at whose end carried overage of changed usage was billed."""
    both: dict[bool, set[int]] = {True: set(), False: set()}
    for row, is_changed in zip(requests, changed, strict=True):
        both[is_changed].add(row[0].customer_id)
    # Only who has some of both may have more to look at.
    customers = both[True] & both[False]
    ends = find_ends_paid(customers) if customers else set()
    return [
        row
        for row, is_changed in zip(requests, changed, strict=True)
        if is_changed or (row[0].customer_id, row[1].revision.price_id, row[1].period.end) in ends
    ]


def _by_whole(entries: Sequence[tuple[Invoice, _Entry]]) -> list[list[tuple[Invoice, _Entry]]]:
    """Put the parts of one service period together, in order of time: what is agreed holds for all of it."""
    found: dict[tuple[int, int, Period], list[tuple[Invoice, _Entry]]] = defaultdict(list)
    for invoice, entry in entries:
        found[invoice.pk, entry.revision.pk, entry.whole].append((invoice, entry))
    return [sorted(parts, key=lambda part: part[1].period) for parts in found.values()]


def _billed_lines(subscription_ids: Collection[int]) -> QuerySet[InvoiceLine]:
    return InvoiceLine.objects.filter(
        invoice__subscription_id__in=many(subscription_ids),
        invoice__issued_at__isnull=False,
        # What was billed early of a period is in its own bill's line, which is of the whole.
        invoice__part=0,
        kind=LineKind.METERED,
    ).exclude(invoice__status="CANCELLED")


def _worth_a_look(by_subscription: Mapping[int, Invoice], subjects: Mapping[int, Sequence[SubjectSpan]]) -> set[int]:
    """Give the subscriptions that may have corrections, without reading how their lines were made.

    Most have none: what they were billed is one line for each price and period, whose usage has not changed since.
    Those with lines that correct others, that gave way at zero, or that bill parts of a period are always among them.
    """
    with connection.cursor() as cursor:
        cursor.execute(LOOK, {"asked": integers(by_subscription), "withdrawn": f"{WITHDRAWN}%"})
        rows = cursor.fetchall()
    found: set[int] = set()
    asked: list[tuple[int, UsageRequest, datetime]] = []
    keys = {
        subscription_id: (invoice.organization_id, subjects.get(invoice.customer_id, ()))
        for subscription_id, invoice in by_subscription.items()
    }
    for metric_id, start, end, counted_at, is_special, subscription_ids in rows:
        if is_special:
            found.update(subscription_ids)
        if counted_at is None:
            continue
        since = counted_at - OVERLAP
        for subscription_id in set(subscription_ids):
            organization_id, spans = keys[subscription_id]
            usage = UsageRequest(organization_id, metric_id, spans, start, end)
            asked.append((subscription_id, usage, since))
    asked = [row for row in asked if row[0] not in found]
    changed = usage_changed_since(requests=[row[1] for row in asked], moments=[row[2] for row in asked])
    return found | {row[0] for row, is_changed in zip(asked, changed, strict=True) if is_changed}


def _billed(by_subscription: Mapping[int, Invoice]) -> dict[int, list[_Entry]]:
    """Give what each subscription was billed for, with the sum over a charge's first line and its late ones."""
    if not by_subscription:
        return {}
    lines = (
        _billed_lines(by_subscription.keys())
        .select_related("invoice", "price_revision__price", "price_revision__metric", "price_revision__pricing_unit")
        .order_by("pk")
    )
    entries: dict[tuple[int, int, datetime, datetime], _Entry] = {}
    for line in lines:
        revision, counted_at = line.price_revision, line.invoice.usage_counted_at
        if revision is None or revision.metric is None or revision.is_flat or counted_at is None:
            continue
        key = (line.invoice.subscription_id, revision.pk, line.period_start, line.period_end)
        known = entries.get(key)
        if known is None:
            period = Period(line.period_start, line.period_end)
            entries[key] = _Entry(
                revision=revision,
                metric=revision.metric,
                period=period,
                billed_at=_price_of(line, revision),
                whole=_whole_of(line) or period,
                billed=evaluated(line.provenance),
                counted_at=counted_at,
            )
        else:
            known.billed = evaluated(line.provenance)
            known.counted_at = max(known.counted_at, counted_at)
        # Corrections, and own bills that had to give back of what was billed early, may have left something.
        entries[key].carried += left_over(line.provenance)
        entries[key].is_withdrawn |= line.reference.startswith(WITHDRAWN)
    grouped: dict[int, list[_Entry]] = defaultdict(list)
    for (subscription_id, *_), entry in entries.items():
        grouped[subscription_id].append(entry)
    return grouped


def _price_of(line: InvoiceLine, revision: PriceRevision) -> AnyPrice:
    """Give the price a line was billed by: the catalogue's, or that of an interval."""
    if "interval" in line.provenance["sources"]:
        return price_of(line.provenance["inputs"]["price"]["fn"])
    return parse_price(revision.model, revision.properties)


def _whole_of(line: InvoiceLine) -> Period | None:
    """Give the service period that a line is a part of; None when it is all of it."""
    split = line.provenance["sources"].get("split")
    return None if split is None else Period(parse_instant(split["ref"]["start"]), parse_instant(split["ref"]["end"]))


def _late_line(
    invoice: Invoice,
    entry: _Entry,
    usage: Usage,
    agreed: Sequence[AdjustmentTerms],
    terms: QuantityTerms | None,
    as_of: datetime,
) -> TargetLine | None:
    """Give the line of an entry; None when it comes to what was billed."""
    is_part = entry.whole != entry.period
    if usage == entry.billed.usage and not entry.carried and not is_part:
        return None
    revision, metric = entry.revision, entry.metric
    rated = rate_usage(
        price=entry.price,
        usage=usage,
        currency=invoice.currency,
        period=entry.period,
        sources={
            "price": {
                "type": "price",
                "ref": {"priceId": revision.price.public_id, "revision": revision.number},
            },
            "usage": {"type": "meter", "ref": {"billableMetricId": metric.public_id}},
            "earlierInvoice": {"type": "invoice", "ref": {"subscriptionId": invoice.subscription.public_id}},
        },
        calculated_at=as_of,
        terms=terms,
        already_billed=entry.billed,
        discounts=discounts_of(agreed, entry.period, is_in_advance=False, tz=invoice.subscription.timezone),
        carried=entry.carried,
        pricing_unit="" if revision.pricing_unit is None else revision.pricing_unit.public_id,
    )
    if not (rated.quantity or rated.exact or entry.carried):
        return None
    is_more = rated.quantity > 0 or (not rated.quantity and rated.exact > 0)
    return TargetLine(
        kind=LineKind.METERED,
        reference=f"late:{revision.price.public_id}:{format_instant(entry.period.start)}",
        display_name=f"{revision.invoice_display_name} ({'late usage' if is_more else 'correction'})",
        payment_term=revision.payment_term,
        period_start=entry.period.start,
        period_end=entry.period.end,
        quantity=rated.quantity,
        unit_price=rated.unit_price,
        gross=rated.subtotal,
        tax_rate=rate_of(invoice, revision),
        price_revision_id=revision.pk,
        metric_id=metric.pk,
        is_late=True,
        provenance=rated.provenance,
    )
