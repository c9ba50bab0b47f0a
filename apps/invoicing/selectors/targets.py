"""What the lines of invoices should be, computed for many invoices at once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import prefetch_related_objects

from apps.catalog.models import BillableMetric, PriceRevision
from apps.catalog.selectors.terms import current_revision_ids_of, revisions_by_id
from apps.invoicing.domain.adjustments import AdjustmentTerms, quantity_terms
from apps.invoicing.domain.charges import Charge, ChargeTerms, charges_due, charges_running
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, LineKind
from apps.invoicing.selectors.adjustments import adjustment_terms
from apps.invoicing.selectors.amounts import settled_lines
from apps.invoicing.selectors.late import find_late_usage
from apps.invoicing.selectors.metered import MeteredRequest, metered_usage
from apps.invoicing.selectors.parts import ChargePart, fee_parts, parts_of
from apps.invoicing.selectors.rates import rate_of
from apps.invoicing.selectors.shares import is_asleep
from apps.kernel.time import Cadence, Period, format_instant
from apps.metering.selectors.links import subjects_of
from apps.metering.selectors.usage import UsageRequest
from apps.rating.lines import RatedLine, rate_usage
from apps.rating.splits import rate_fee_parts, split_terms
from apps.rating.usage import Usage
from apps.subscriptions.domain.grid import Grid
from apps.subscriptions.domain.timeline import Timeline
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.clocks import current_time
from apps.subscriptions.selectors.subscriptions import (
    cadence_of,
    gives_back_unused,
    grid_of,
    open_grid_of,
    upcoming_version_id,
)
from apps.subscriptions.selectors.timeline import timelines_of

OPEN = (InvoiceStatus.ACTIVE, InvoiceStatus.CLOSING, InvoiceStatus.CALCULATING, InvoiceStatus.FAILED)


@dataclass(frozen=True, slots=True)
class _Item:
    """A charge of one invoice with the price it goes by, and its parts where that changes within its period."""

    invoice: Invoice
    charge: Charge
    revision: PriceRevision
    parts: Sequence[ChargePart]


def target_lines(invoices: Sequence[Invoice], *, as_of: datetime | None) -> dict[int, list[TargetLine]]:
    """Give what the lines of open invoices should be at `as_of`, without storing anything.

    Args:
        invoices: open ones, with subscription, plan, customer and organization at hand.
        as_of: present of the subscriptions, written into provenance; None: each lives in the time of its own
            clock. Usage counts up to what is merged.

    Returns:
        Lines by invoice key, taxed, in document order.
    """
    prefetch_related_objects([invoice.subscription for invoice in invoices], "pauses")
    next_ids = next_terms_of(invoices)
    timelines = timelines_of(invoice.subscription for invoice in invoices)
    owned = {one.revision_id for timeline in timelines.values() for one in timeline.owned() if one.revision_id}
    revisions = revisions_by_id(
        owned.union(
            *(
                (*invoice.price_revision_ids, *next_ids[invoice.pk], *invoice.subscription.price_revision_ids)
                for invoice in invoices
            )
        )
    )
    items = [
        _Item(invoice, charge, revision, parts)
        for invoice in invoices
        for timeline in [timelines[invoice.subscription_id]]
        for charge in charges_of(invoice, revisions, next_ids[invoice.pk], timeline)
        for revision in [revisions[charge.revision_id]]
        if (parts := parts_of(invoice.subscription, timeline, charge, revision))
    ]
    subjects = subjects_of(customer_ids=sorted({invoice.customer_id for invoice in invoices}))
    asked = [
        (item, part, metric)
        for item in items
        if item.revision.bills_usage and (metric := item.revision.metric) is not None
        for part in item.parts
    ]
    answers = metered_usage(
        [
            MeteredRequest(
                UsageRequest(
                    organization_id=item.invoice.organization_id,
                    metric_id=metric.pk,
                    subjects=subjects.get(item.invoice.customer_id, ()),
                    start=part.period.start,
                    end=part.period.end,
                ),
                part.price,
                metric,
            )
            for item, part, metric in asked
        ]
    )
    usage: dict[int, list[Usage]] = defaultdict(list)
    for (item, _, _), answer in zip(asked, answers, strict=True):
        usage[id(item)].append(answer)
    adjustments = adjustment_terms(invoice.subscription_id for invoice in invoices)
    lines: dict[int, list[TargetLine]] = defaultdict(list)
    for item in items:
        moment = as_of or current_time(item.invoice.subscription)
        agreed = adjustments.get(item.invoice.subscription_id, ())
        lines[item.invoice.pk].extend(_lines(item, usage.get(id(item)), agreed, moment))
    for invoice_id, late in find_late_usage(invoices, subjects, adjustments, as_of=as_of).items():
        lines[invoice_id].extend(late)
    for stored in _stored_lines(invoices):
        lines[stored.invoice_id].append(_of_stored(stored))
    return settled_lines(invoices, lines, adjustments, revisions, next_ids, as_of=as_of)


def next_terms_of(invoices: Sequence[Invoice]) -> dict[int, Sequence[int]]:
    """Give, by invoice key, the price revisions that charges in advance of the next period go by."""
    opened = [invoice for invoice in invoices if invoice.status == InvoiceStatus.ACTIVE]
    versions = {invoice.pk: upcoming_version_id(invoice.subscription) for invoice in opened}
    current = current_revision_ids_of(set(versions.values()))
    return {
        invoice.pk: current[versions[invoice.pk]] if invoice.pk in versions else invoice.next_revision_ids
        for invoice in invoices
    }


def charge_terms(revision: PriceRevision, *, plan_cadence: str, trial_usage: str) -> ChargeTerms:
    """Give what decides when a price is charged; without an own cadence it follows the plan's."""
    return ChargeTerms(
        revision_id=revision.pk,
        price_id=revision.price.public_id,
        is_in_advance=revision.is_prepaid,
        cadence=Cadence.parse(revision.billing_cadence or plan_cadence),
        is_obligation=revision.is_obligation,
        is_billed_in_trial=revision.bills_usage and trial_usage == "billed",
    )


def charges_of(
    invoice: Invoice, revisions: Mapping[int, PriceRevision], next_ids: Sequence[int], timeline: Timeline
) -> list[Charge]:
    """Give the charges that belong on an invoice: those due in its window, each by the terms it opened with.

    Prices that only this subscription has come last, each by the terms it was made with.
    """
    subscription = invoice.subscription
    cadence = subscription.billing_cadence

    def due(ids: Iterable[int]) -> list[Charge]:
        known = (revisions[i] for i in ids if i in revisions)
        return due_of(charge_terms(row, plan_cadence=cadence, trial_usage=subscription.trial_usage) for row in known)

    def due_of(terms_of_all: Iterable[ChargeTerms]) -> list[Charge]:
        found: list[Charge] = []
        for terms in terms_of_all:
            grid = grid_for(subscription, terms)
            after, until = invoice.due_after, invoice.due_until
            if invoice.is_early:
                charges = charges_running([terms], grid, after=after, at=until)
            else:
                plan_cadence = cadence_of(subscription)
                charges = charges_due([terms], grid, after=after, until=until, plan_cadence=plan_cadence)
            revision = revisions[terms.revision_id]
            found.extend(c for c in charges if is_owed(subscription, c) and not is_asleep(subscription, c, revision))
        return found

    if invoice.is_early:
        return due(invoice.price_revision_ids)
    owned = due_of(owned_terms(timeline, revisions, plan_cadence=cadence, trial_usage=subscription.trial_usage))
    if invoice.sequence_number == 0:
        return due(invoice.price_revision_ids) + owned
    starts_next = invoice.due_until
    own = [c for c in due(invoice.price_revision_ids) if c.service.start < starts_next]
    return own + [c for c in due(next_ids) if c.service.start >= starts_next] + owned


def owned_terms(
    timeline: Timeline, revisions: Mapping[int, PriceRevision], *, plan_cadence: str, trial_usage: str
) -> list[ChargeTerms]:
    """Give what decides when the prices are charged that only one subscription has, each for its time."""
    return [
        replace(
            charge_terms(revisions[interval.revision_id], plan_cadence=plan_cadence, trial_usage=trial_usage),
            starts_at=interval.start,
            ends_at=interval.end,
            bills_at=interval.bills_at,
        )
        for interval in timeline.owned()
        if interval.revision_id is not None
    ]


def grid_for(subscription: Subscription, terms: ChargeTerms) -> Grid:
    """Give the calendar a charge goes by.

    What fell due in advance before a termination is owed whole, unless the plan gives the unused part back.
    """
    if terms.is_in_advance and not gives_back_unused(subscription):
        return open_grid_of(subscription)
    return grid_of(subscription)


def is_owed(subscription: Subscription, charge: Charge) -> bool:
    """Whether a charge's service begins before the subscription was terminated."""
    return subscription.terminated_at is None or charge.service.start < subscription.terminated_at


def _lines(
    item: _Item, usages: Sequence[Usage] | None, agreed: Sequence[AdjustmentTerms], as_of: datetime
) -> list[TargetLine]:
    revision, charge, invoice = item.revision, item.charge, item.invoice
    terms = quantity_terms(
        agreed,
        charge.service,
        is_in_advance=revision.is_prepaid,
        price_id=revision.price_id,
    )
    rated: list[tuple[Period, RatedLine]]
    if usages is not None:
        known = split_terms(terms, [usage.quantity for usage in usages])
        rated = [
            (
                part.period,
                rate_usage(
                    price=part.price,
                    usage=usage,
                    currency=invoice.currency,
                    period=part.period,
                    sources=sources_of(revision, invoice, item.parts, part),
                    calculated_at=as_of,
                    terms=own,
                ),
            )
            for part, usage, own in zip(item.parts, usages, known, strict=True)
        ]
    else:
        fees = fee_parts(invoice.subscription, charge, revision, item.parts, terms)
        by_period = {part.period: part for part in item.parts}
        lines = rate_fee_parts(
            fees,
            currency=invoice.currency,
            whole=charge.whole,
            basis=invoice.subscription.plan.proration,
            sources=[sources_of(revision, invoice, item.parts, by_period[fee.period]) for fee in fees],
            calculated_at=as_of,
        )
        rated = [(fee.period, line) for fee, line in zip(fees, lines, strict=True)]
    return [_line(item, period, line) for period, line in rated]


def _line(item: _Item, period: Period, rated: RatedLine) -> TargetLine:
    revision = item.revision
    return TargetLine(
        kind=LineKind.METERED if revision.bills_usage else LineKind.FEE,
        reference=f"{item.charge.price_id}:{format_instant(period.start)}",
        display_name=revision.invoice_display_name,
        payment_term=revision.payment_term,
        period_start=period.start,
        period_end=period.end,
        quantity=rated.quantity,
        unit_price=rated.unit_price,
        gross=rated.subtotal,
        tax_rate=rate_of(item.invoice, revision),
        price_revision_id=revision.pk,
        metric_id=revision.metric_id,
        provenance=rated.provenance,
    )


def sources_of(
    revision: PriceRevision, invoice: Invoice, parts: Sequence[ChargePart] = (), part: ChargePart | None = None
) -> dict[str, object]:
    """Name where a line's figures come from, for its provenance.

    Args:
        parts: of the charge.
        part: the one that the line bills, if it is not all of it.
    """
    sources: dict[str, object] = {
        "price": {
            "type": "price",
            "ref": {"priceId": revision.price.public_id, "revision": revision.number},
            "asUsed": {"model": revision.model, "properties": revision.properties},
        },
        "currency": {"type": "currency", "ref": {"currency": invoice.currency}},
        "period": {
            "type": "billingPeriod",
            "ref": {
                "subscriptionId": invoice.subscription.public_id,
                "anchor": format_instant(invoice.subscription.billing_anchor),
            },
        },
    }
    if revision.metric is not None:
        sources["usage"] = {
            "type": "meter",
            "ref": {"billableMetricId": revision.metric.public_id},
            "asUsed": {
                "aggregation": revision.metric.aggregation,
                "eventType": revision.metric.event_type,
                "valueProperty": revision.metric.value_property,
                **_rounding(revision.metric),
            },
        }
    if part is not None and part.source:
        sources["interval"] = {"type": "priceInterval", "ref": {"intervalId": part.source}}
    if len(parts) > 1:
        start, end = parts[0].period.start, parts[-1].period.end
        sources["split"] = {"type": "parts", "ref": {"start": format_instant(start), "end": format_instant(end)}}
    return sources


def _rounding(metric: BillableMetric) -> dict[str, object]:
    if not metric.rounding_function:
        return {}
    return {"rounding": {"function": metric.rounding_function, "precision": metric.rounding_precision}}


def _stored_lines(invoices: Sequence[Invoice]) -> Iterable[InvoiceLine]:
    """Give the lines that are facts of their own: manual ones and adjustments."""
    return InvoiceLine.objects.filter(
        invoice_id__in=[invoice.pk for invoice in invoices],
        kind__in=[LineKind.MANUAL, LineKind.ADJUSTMENT],
    ).order_by("pk")


def _of_stored(line: InvoiceLine) -> TargetLine:
    return TargetLine(
        kind=line.kind,
        reference=line.reference,
        display_name=line.display_name,
        description=line.description,
        payment_term=line.payment_term,
        period_start=line.period_start,
        period_end=line.period_end,
        quantity=line.quantity,
        unit_price=line.unit_price,
        gross=line.gross,
        tax_rate=line.tax_rate,
        price_revision_id=line.price_revision_id,
        provenance=line.provenance,
        stored_id=line.pk,
        public_id=line.public_id,
    )


def just_before(instant: datetime) -> datetime:
    """Give the last moment before an instant, to make a window that contains it."""
    return instant - timedelta(microseconds=1)
