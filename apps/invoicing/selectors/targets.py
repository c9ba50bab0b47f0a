"""What the lines of invoices should be, computed for many invoices at once."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from apps.catalog.models import BillableMetric, PriceRevision
from apps.catalog.selectors.terms import revisions_by_id
from apps.invoicing.domain.adjustments import AdjustmentTerms, quantity_terms
from apps.invoicing.domain.charges import Charge
from apps.invoicing.domain.early import BilledEarly
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, LineKind
from apps.invoicing.selectors.adjustments import adjustment_terms
from apps.invoicing.selectors.allowances import AllowanceRequest
from apps.invoicing.selectors.amounts import settled_lines
from apps.invoicing.selectors.coupons import CouponBook, coupon_book
from apps.invoicing.selectors.due import charges_of, next_terms_of, sameness_of
from apps.invoicing.selectors.early import billed_early
from apps.invoicing.selectors.late import find_late_usage
from apps.invoicing.selectors.metered import MeteredRequest, metered_usage
from apps.invoicing.selectors.parts import ChargePart, fee_parts, parts_of
from apps.invoicing.selectors.rates import rate_of
from apps.invoicing.selectors.stored import target_of
from apps.invoicing.selectors.versions import dated_timelines
from apps.kernel.time import Period, format_instant
from apps.metering.selectors.links import SubjectSpan, subjects_of
from apps.metering.selectors.usage import UsageRequest
from apps.rating.grouped import parse_price
from apps.rating.lines import RatedLine, rate_usage
from apps.rating.splits import rate_fee_parts, split_terms
from apps.rating.usage import Usage
from apps.subscriptions.domain.timeline import EMPTY, Timeline
from apps.subscriptions.selectors.clocks import current_time
from apps.subscriptions.selectors.subscriptions import pauses_of, read_pauses

OPEN = (InvoiceStatus.ACTIVE, InvoiceStatus.CLOSING, InvoiceStatus.CALCULATING, InvoiceStatus.FAILED)


@dataclass(frozen=True, slots=True)
class _Item:
    """A charge of one invoice with the price it goes by, and its parts where that changes within its period."""

    invoice: Invoice
    plan: "_Planned"

    @property
    def charge(self) -> Charge:
        return self.plan.charge

    @property
    def revision(self) -> PriceRevision:
        return self.plan.revision

    @property
    def parts(self) -> Sequence[ChargePart]:
        return self.plan.parts


@dataclass(frozen=True, slots=True)
class _Planned:
    """A charge as all invoices have it that have the same calendar, terms and window.

    Attributes:
        sources: of each part, what provenance says of where its figures come from, whoever is billed.
    """

    charge: Charge
    revision: PriceRevision
    parts: Sequence[ChargePart]
    sources: Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What bills are calculated by, read for all of them at once.

    Attributes:
        revisions: price revisions by key.
        next_ids: by invoice key, those that charges in advance of the next period go by.
        subjects: by customer key, what its events are named by.
        adjustments: by subscription key.
        timelines: by subscription key, what differs from the plan.
        coupons: what the customers redeemed.
        early: by invoice key, what was billed of it early, by reference.
    """

    revisions: Mapping[int, PriceRevision]
    next_ids: Mapping[int, Sequence[int]]
    subjects: Mapping[int, Sequence[SubjectSpan]]
    adjustments: Mapping[int, Sequence[AdjustmentTerms]]
    timelines: Mapping[int, Timeline] = field(default_factory=dict)
    coupons: CouponBook = field(default_factory=CouponBook)
    early: Mapping[int, Mapping[str, BilledEarly]] = field(default_factory=dict)


def target_lines(invoices: Sequence[Invoice], *, as_of: datetime | None) -> dict[int, list[TargetLine]]:
    """Give what the lines of open invoices should be at `as_of`, without storing anything.

    Args:
        invoices: open ones, with subscription, plan, customer and organization at hand.
        as_of: present of the subscriptions, written into provenance; None: each lives in the time of its own
            clock. Usage counts up to what is merged.

    Returns:
        Lines by invoice key, taxed, in document order.
    """
    read_pauses([invoice.subscription for invoice in invoices])
    next_ids = next_terms_of(invoices)
    timelines = dated_timelines(invoice.subscription for invoice in invoices)
    owned = {one.revision_id for timeline in timelines.values() for one in timeline.owned() if one.revision_id}
    terms = Terms(
        revisions=revisions_by_id(
            owned.union(
                *(
                    (*invoice.price_revision_ids, *next_ids[invoice.pk], *invoice.subscription.price_revision_ids)
                    for invoice in invoices
                )
            )
        ),
        next_ids=next_ids,
        subjects=subjects_of(customer_ids=sorted({invoice.customer_id for invoice in invoices})),
        adjustments=adjustment_terms(invoice.subscription_id for invoice in invoices),
        timelines=timelines,
        coupons=coupon_book(invoices),
        early=billed_early(invoices),
    )
    beside: dict[int, list[TargetLine]] = defaultdict(list)
    beside |= find_late_usage(invoices, terms.subjects, terms.adjustments, as_of=as_of)
    for stored in _stored_lines(invoices):
        beside[stored.invoice_id].append(replace(target_of(stored), stored_id=stored.pk, public_id=stored.public_id))
    return calculated_lines(invoices, terms, as_of=as_of, beside=beside)


def calculated_lines(
    invoices: Sequence[Invoice],
    terms: Terms,
    *,
    as_of: datetime | None,
    beside: Mapping[int, Sequence[TargetLine]],
    usage_of: Callable[[Sequence[MeteredRequest]], list[Usage]] = metered_usage,
) -> dict[int, list[TargetLine]]:
    """Calculate bills, also such as are not stored.

    Args:
        beside: by invoice key, lines that stand on it besides the charges of its terms.
        usage_of: where the usage of charges is read.

    Returns:
        As `target_lines`.
    """
    planner = _Planner(terms)
    items = [_Item(invoice, planned) for invoice in invoices for planned in planner.charges_of(invoice)]
    asked = [
        (item, part, metric)
        for item in items
        if item.revision.bills_usage and (metric := item.revision.metric) is not None
        for part in item.parts
    ]
    answers = usage_of(
        [
            MeteredRequest(
                UsageRequest(
                    organization_id=item.invoice.organization_id,
                    metric_id=metric.pk,
                    subjects=terms.subjects.get(item.invoice.customer_id, ()),
                    start=part.period.start,
                    end=part.period.end,
                ),
                part.price,
                metric,
                AllowanceRequest(
                    item.invoice.customer_id, item.invoice.subscription_id, item.revision.price_id, part.period
                )
                if item.revision.pricing_unit_id is None
                else None,
            )
            for item, part, metric in asked
        ]
    )
    usage: dict[int, list[Usage]] = defaultdict(list)
    for (item, _, _), answer in zip(asked, answers, strict=True):
        usage[id(item)].append(answer)
    lines: dict[int, list[TargetLine]] = defaultdict(list)
    for item in items:
        moment = as_of or current_time(item.invoice.subscription)
        agreed = terms.adjustments.get(item.invoice.subscription_id, ())
        lines[item.invoice.pk].extend(_lines(item, usage.get(id(item)), agreed, moment))
    for invoice_id, others in beside.items():
        lines[invoice_id].extend(others)
    return settled_lines(
        invoices,
        lines,
        terms.adjustments,
        terms.revisions,
        terms.next_ids,
        as_of=as_of,
        coupons=terms.coupons,
        early=terms.early,
    )


class _Planner:
    """Works out the charges of invoices, once for all that have the same: at a boundary most do."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        # Read once: one by dimension may have hundreds of groups.
        self.prices = {key: parse_price(row.model, row.properties) for key, row in terms.revisions.items()}
        self.known: dict[Hashable, list[_Planned]] = {}

    def charges_of(self, invoice: Invoice) -> list[_Planned]:
        """Give the charges of an invoice with their parts."""
        timeline = self.terms.timelines.get(invoice.subscription_id, EMPTY)
        next_ids = self.terms.next_ids.get(invoice.pk, ())
        if timeline is not EMPTY or pauses_of(invoice.subscription).spans:
            return self._work_out(invoice, next_ids, timeline)
        key = (sameness_of(invoice, next_ids), invoice.currency)
        if key not in self.known:
            self.known[key] = self._work_out(invoice, next_ids, timeline)
        return self.known[key]

    def _work_out(self, invoice: Invoice, next_ids: Sequence[int], timeline: Timeline) -> list[_Planned]:
        found = []
        for charge in charges_of(invoice, self.terms.revisions, next_ids, timeline):
            revision = self.terms.revisions[charge.revision_id]
            parts = parts_of(invoice.subscription, timeline, charge, revision, self.prices[revision.pk])
            if parts:
                sources = [fixed_sources(revision, invoice.currency, parts, part) for part in parts]
                found.append(_Planned(charge, revision, parts, sources))
        return found


def _lines(
    item: _Item, usages: Sequence[Usage] | None, agreed: Sequence[AdjustmentTerms], as_of: datetime
) -> list[TargetLine]:
    revision, charge, invoice = item.revision, item.charge, item.invoice
    terms = (
        quantity_terms(agreed, charge.service, is_in_advance=revision.is_prepaid, price_id=revision.price_id)
        if agreed
        else None
    )
    sources = [{**fixed, "period": _period_source(invoice)} for fixed in item.plan.sources]
    rated: list[tuple[Period, RatedLine]]
    if usages is not None:
        known = split_terms(terms, [usage.uncovered for usage in usages])
        unit = "" if revision.pricing_unit is None else revision.pricing_unit.public_id
        rated = [
            (
                part.period,
                rate_usage(
                    price=part.price,
                    usage=usage,
                    currency=invoice.currency,
                    period=part.period,
                    sources=source,
                    calculated_at=as_of,
                    terms=own,
                    pricing_unit=unit,
                ),
            )
            for part, usage, own, source in zip(item.parts, usages, known, sources, strict=True)
        ]
    else:
        fees = fee_parts(invoice.subscription, charge, revision, item.parts, terms)
        by_period = {part.period: source for part, source in zip(item.parts, sources, strict=True)}
        lines = rate_fee_parts(
            fees,
            currency=invoice.currency,
            whole=charge.whole,
            basis=invoice.subscription.plan.proration,
            sources=[by_period[fee.period] for fee in fees],
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
        whole=rated.subtotal if revision.bills_usage else None,
    )


def sources_of(
    revision: PriceRevision, invoice: Invoice, parts: Sequence[ChargePart] = (), part: ChargePart | None = None
) -> dict[str, object]:
    """Name where a line's figures come from, for its provenance.

    Args:
        parts: of the charge.
        part: the one that the line bills, if it is not all of it.
    """
    return {**fixed_sources(revision, invoice.currency, parts, part), "period": _period_source(invoice)}


def _period_source(invoice: Invoice) -> dict[str, object]:
    subscription = invoice.subscription
    anchor = format_instant(subscription.billing_anchor)
    return {"type": "billingPeriod", "ref": {"subscriptionId": subscription.public_id, "anchor": anchor}}


def fixed_sources(
    revision: PriceRevision, currency: str, parts: Sequence[ChargePart], part: ChargePart | None
) -> dict[str, object]:
    """Give those of `sources_of` that are the same for every subscriber."""
    sources: dict[str, object] = {
        "price": {
            "type": "price",
            "ref": {"priceId": revision.price.public_id, "revision": revision.number},
            "asUsed": {"model": revision.model, "properties": revision.properties},
        },
        "currency": {"type": "currency", "ref": {"currency": currency}},
    }
    if revision.metric is not None and revision.bills_usage:
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
    elif revision.metric is not None:
        sources["quantity"] = {"type": "flatMetric", "ref": {"billableMetricId": revision.metric.public_id}}
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
    return (
        InvoiceLine.objects.filter(
            invoice_id__in=[invoice.pk for invoice in invoices],
            kind__in=[LineKind.MANUAL, LineKind.ADJUSTMENT],
        )
        .select_related("tax_treatment")
        .order_by("pk")
    )


def just_before(instant: datetime) -> datetime:
    """Give the last moment before an instant, to make a window that contains it."""
    return instant - timedelta(microseconds=1)
