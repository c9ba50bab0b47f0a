"""What the lines of invoices should be, computed for many invoices at once."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from apps.catalog.models import BillableMetric, PriceRevision
from apps.catalog.selectors.terms import revisions_by_id
from apps.invoicing.domain.adjustments import AdjustmentTerms, quantity_terms
from apps.invoicing.domain.charges import Charge
from apps.invoicing.domain.early import BilledEarly
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceStatus, LineKind
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
from apps.invoicing.selectors.sources import fixed_sources, period_source
from apps.invoicing.selectors.stored import stored_targets
from apps.invoicing.selectors.versions import dated_timelines
from apps.kernel.time import Period, format_instant
from apps.metering.selectors.links import SubjectSpan, subjects_of
from apps.metering.selectors.usage import UsageRequest
from apps.rating.adjustments import QuantityTerms
from apps.rating.grouped import AnyPrice, parse_price
from apps.rating.lines import RatedLine, rate_usage
from apps.rating.splits import rate_fee_parts, split_terms
from apps.rating.usage import Usage
from apps.rating.written import Page, rate_plainly
from apps.subscriptions.domain.timeline import EMPTY, Timeline
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.clocks import current_time
from apps.subscriptions.selectors.subscriptions import pauses_of, read_pauses

METERED, FEE = LineKind.METERED.value, LineKind.FEE.value
OPEN = (InvoiceStatus.ACTIVE, InvoiceStatus.CLOSING, InvoiceStatus.CALCULATING, InvoiceStatus.FAILED)


class _Bill(msgspec.Struct, frozen=True):
    """An invoice with what all of its lines need of its neighbours, fetched once.

    Attributes:
        usage: the keys that its usage is found by: of the merchant, the customer and the subscription.
        period_text: `period_source` as JSON.
    """

    invoice: Invoice
    invoice_id: int
    usage: tuple[int, int, int]
    subscription: Subscription
    subjects: Sequence[SubjectSpan]
    agreed: Sequence[AdjustmentTerms]
    moment: datetime
    period_source: Mapping[str, object]
    period_text: str
    has_own_rates: bool
    tax_rates: dict[Hashable, Decimal]


class _Item(msgspec.Struct, frozen=True, eq=False):
    """A charge of one invoice with the price it goes by, and its parts where that changes within its period."""

    bill: _Bill
    plan: "_Planned"


class _Planned(msgspec.Struct, frozen=True):
    """A charge as all invoices have it that have the same calendar, terms and window.

    Attributes:
        sources: of each part, what provenance says of where its figures come from, whoever is billed.
        described: of each part, its price as provenance says it.
        pages: of parts by their numbers and at a moment, calculations in which nothing but figures is missing.
    """

    charge: Charge
    revision: PriceRevision
    metric: BillableMetric | None
    revision_id: int
    price_id: int
    metric_id: int | None
    is_in_money: bool
    parts: Sequence[ChargePart]
    sources: Sequence[Mapping[str, object]]
    described: Sequence[Mapping[str, Any]]
    is_usage: bool
    pages: dict[tuple[int, datetime], Page | None]

    def page_of(self, number: int, moment: datetime, currency: str) -> Page | None:
        """Give the page for a part; None where it has to be worked out line by line."""
        key = (number, moment)
        if key not in self.pages:
            page = None
            if self.is_in_money:
                with suppress(ValueError):
                    page = Page(
                        described=self.described[number],
                        currency=currency,
                        period=self.parts[number].period,
                        sources=self.sources[number],
                        calculated_at=moment,
                    )
            self.pages[key] = page
        return self.pages[key]


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
    for invoice_id, line in stored_targets(invoices):
        beside[invoice_id].append(line)
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
    items = [
        _Item(bill, planned)
        for bill in _bills(invoices, terms, as_of)
        for planned in planner.charges_of(bill.invoice)
    ]
    asked = [(item, part) for item in items if item.plan.is_usage for part in item.plan.parts]
    answers = usage_of([_metered_request(item.bill, item.plan, part) for item, part in asked])
    usage: dict[int, list[Usage]] = defaultdict(list)
    for (item, _), answer in zip(asked, answers, strict=True):
        usage[id(item)].append(answer)
    lines: dict[int, list[TargetLine]] = defaultdict(list)
    for item in items:
        lines[item.bill.invoice_id].extend(_lines(item, usage.get(id(item))))
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


def _bills(invoices: Sequence[Invoice], terms: Terms, as_of: datetime | None) -> Iterator[_Bill]:
    # Customers without rates of their own share those of their plan.
    shared: dict[tuple[int, bool], dict[Hashable, Decimal]] = defaultdict(dict)
    for invoice in invoices:
        subscription = invoice.subscription
        subjects = terms.subjects.get(invoice.customer_id, ())
        agreed = terms.adjustments.get(invoice.subscription_id, ())
        moment = as_of or current_time(subscription)
        has_own = bool(invoice.customer.tax_rates)
        rates = {} if has_own else shared[subscription.plan_id, subscription.tax_exempt]
        source = period_source(invoice)
        text = msgspec.json.encode(source).decode()
        keys = (invoice.organization_id, invoice.customer_id, invoice.subscription_id)
        yield _Bill(invoice, invoice.pk, keys, subscription, subjects, agreed, moment, source, text, has_own, rates)


def _metered_request(bill: _Bill, plan: _Planned, part: ChargePart) -> MeteredRequest:
    metric, period = plan.metric, part.period
    assert metric is not None, "prices of usage have a metric"
    assert plan.metric_id is not None
    organization_id, customer_id, subscription_id = bill.usage
    return MeteredRequest(
        UsageRequest(organization_id, plan.metric_id, bill.subjects, period.start, period.end),
        part.price,
        metric,
        AllowanceRequest(customer_id, subscription_id, plan.price_id, period) if plan.is_in_money else None,
    )


class _Planner:
    """Works out the charges of invoices, once for all that have the same: at a boundary most do."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        # Read once: one by dimension may have hundreds of groups, and many prices may say the same.
        parsed: dict[tuple[str, bytes], AnyPrice] = {}
        self.prices: dict[int, AnyPrice] = {}
        for key, row in terms.revisions.items():
            said = (row.model, msgspec.json.encode(row.properties))
            if said not in parsed:
                parsed[said] = parse_price(row.model, row.properties)
            self.prices[key] = parsed[said]
        self.described: dict[int, Mapping[str, Any]] = {id(price): price.describe() for price in parsed.values()}
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
                described = [self.described.get(id(part.price)) or part.price.describe() for part in parts]
                found.append(
                    _Planned(
                        charge,
                        revision,
                        revision.metric,
                        revision.pk,
                        revision.price_id,
                        revision.metric_id,
                        revision.pricing_unit_id is None,
                        parts,
                        sources,
                        described,
                        revision.bills_usage,
                        {},
                    )
                )
        return found


def _lines(item: _Item, usages: Sequence[Usage] | None) -> list[TargetLine]:
    bill, plan = item.bill, item.plan
    revision, charge, currency = plan.revision, plan.charge, bill.invoice.currency
    terms = (
        quantity_terms(bill.agreed, charge.service, is_in_advance=revision.is_prepaid, price_id=revision.price_id)
        if bill.agreed
        else None
    )
    rated: list[tuple[Period, RatedLine]]
    if usages is not None:
        known = split_terms(terms, [usage.uncovered for usage in usages])
        rated = [
            (part.period, _rated(item, number, usage, own))
            for number, (part, usage, own) in enumerate(zip(plan.parts, usages, known, strict=True))
        ]
    else:
        fees = fee_parts(bill.subscription, charge, revision, plan.parts, terms)
        sources = [{**fixed, "period": bill.period_source} for fixed in plan.sources]
        by_period = {part.period: source for part, source in zip(plan.parts, sources, strict=True)}
        lines = rate_fee_parts(
            fees,
            currency=currency,
            whole=charge.whole,
            basis=bill.subscription.plan.proration,
            sources=[by_period[fee.period] for fee in fees],
            calculated_at=bill.moment,
        )
        rated = [(fee.period, line) for fee, line in zip(fees, lines, strict=True)]
    # Only rates of a customer's own tell metrics apart.
    sold = revision.pk if bill.has_own_rates else revision.supply_scope
    tax_rate = bill.tax_rates.get(sold)
    if tax_rate is None:
        tax_rate = bill.tax_rates[sold] = rate_of(bill.invoice, revision)
    return [_line(plan, period, line, tax_rate) for period, line in rated]


def _rated(item: _Item, number: int, usage: Usage, terms: QuantityTerms | None) -> RatedLine:
    """Rate the usage of a charge's part."""
    bill, plan = item.bill, item.plan
    revision, part = plan.revision, plan.parts[number]
    if terms is None and not (usage.counted or usage.covered):
        page = plan.page_of(number, bill.moment, bill.invoice.currency)
        if page is not None:
            return rate_plainly(part.price, usage, page, bill.period_text)
    return rate_usage(
        price=part.price,
        usage=usage,
        currency=bill.invoice.currency,
        period=part.period,
        sources={**plan.sources[number], "period": bill.period_source},
        calculated_at=bill.moment,
        terms=terms,
        described=plan.described[number],
        pricing_unit="" if revision.pricing_unit is None else revision.pricing_unit.public_id,
    )


def _line(plan: _Planned, period: Period, rated: RatedLine, tax_rate: Decimal) -> TargetLine:
    revision = plan.revision
    return TargetLine(
        kind=METERED if plan.is_usage else FEE,
        reference=f"{plan.charge.price_id}:{format_instant(period.start)}",
        display_name=revision.invoice_display_name,
        payment_term=revision.payment_term,
        period_start=period.start,
        period_end=period.end,
        quantity=rated.quantity,
        unit_price=rated.unit_price,
        gross=rated.subtotal,
        tax_rate=tax_rate,
        price_revision_id=plan.revision_id,
        metric_id=plan.metric_id,
        provenance=rated.provenance,
        whole=rated.subtotal if plan.is_usage else None,
    )


def just_before(instant: datetime) -> datetime:
    """Give the last moment before an instant, to make a window that contains it."""
    return instant - timedelta(microseconds=1)
