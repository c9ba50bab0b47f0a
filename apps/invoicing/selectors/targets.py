"""What the lines of invoices should be, computed for many invoices at once."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import prefetch_related_objects

from apps.catalog.models import PriceRevision
from apps.catalog.selectors.terms import current_revision_ids_of, revisions_by_id
from apps.invoicing.domain.adjustments import AdjustmentTerms, discounts_of, quantity_terms, with_discounts
from apps.invoicing.domain.charges import Charge, ChargeTerms, charges_due
from apps.invoicing.domain.targets import TargetLine, limit_rebates, with_tax
from apps.invoicing.domain.taxes import tax_rate_for
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, LineKind
from apps.invoicing.selectors.adjustments import adjustment_terms
from apps.invoicing.selectors.late import find_late_usage
from apps.invoicing.selectors.metered import MeteredRequest, metered_usage
from apps.invoicing.selectors.shares import is_asleep, share_of
from apps.kernel.time import Cadence, Period, format_instant
from apps.metering.selectors.links import SubjectSpan, subjects_of
from apps.metering.selectors.usage import UsageRequest
from apps.rating.grouped import AnyPrice, parse_price
from apps.rating.lines import rate_fee, rate_usage
from apps.rating.usage import Usage
from apps.subscriptions.domain.grid import Grid
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.clocks import current_time
from apps.subscriptions.selectors.subscriptions import (
    cadence_of,
    gives_back_unused,
    grid_of,
    open_grid_of,
    upcoming_version_id,
)

OPEN = (InvoiceStatus.ACTIVE, InvoiceStatus.CLOSING, InvoiceStatus.CALCULATING, InvoiceStatus.FAILED)


@dataclass(frozen=True, slots=True)
class _Item:
    """A charge of one invoice with the price it goes by."""

    invoice: Invoice
    charge: Charge
    revision: PriceRevision
    price: AnyPrice

    @property
    def key(self) -> tuple[int, str]:
        return self.invoice.pk, self.charge.reference


@dataclass(frozen=True, slots=True)
class Terms:
    """What bills are calculated by, read for all of them at once.

    Attributes:
        revisions: price revisions by key.
        next_ids: by invoice key, those that charges in advance of the next period go by.
        subjects: by customer key, what its events are named by.
        adjustments: by subscription key.
    """

    revisions: Mapping[int, PriceRevision]
    next_ids: Mapping[int, Sequence[int]]
    subjects: Mapping[int, Sequence[SubjectSpan]]
    adjustments: Mapping[int, Sequence[AdjustmentTerms]]


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
    terms = Terms(
        revisions=revisions_by_id(
            {i for invoice in invoices for i in (*invoice.price_revision_ids, *next_ids[invoice.pk])}
        ),
        next_ids=next_ids,
        subjects=subjects_of(customer_ids=sorted({invoice.customer_id for invoice in invoices})),
        adjustments=adjustment_terms(invoice.subscription_id for invoice in invoices),
    )
    beside: dict[int, list[TargetLine]] = defaultdict(list)
    beside |= find_late_usage(invoices, terms.subjects, terms.adjustments, as_of=as_of)
    for stored in _stored_lines(invoices):
        beside[stored.invoice_id].append(_of_stored(stored))
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
    # Read once: one by dimension may have hundreds of groups.
    prices = {key: parse_price(row.model, row.properties) for key, row in terms.revisions.items()}
    items = [
        _Item(invoice, charge, terms.revisions[charge.revision_id], prices[charge.revision_id])
        for invoice in invoices
        for charge in charges_of(invoice, terms.revisions, terms.next_ids.get(invoice.pk, ()))
    ]
    asked = [(item, item.revision.metric_id) for item in items if item.revision.metric_id is not None]
    answers = usage_of(
        [
            MeteredRequest(
                UsageRequest(
                    organization_id=item.invoice.organization_id,
                    metric_id=metric_id,
                    subjects=terms.subjects.get(item.invoice.customer_id, ()),
                    start=item.charge.service.start,
                    end=item.charge.service.end,
                ),
                item.price,
            )
            for item, metric_id in asked
        ]
    )
    usage = {item.key: answer for (item, _), answer in zip(asked, answers, strict=True)}
    lines: dict[int, list[TargetLine]] = defaultdict(list)
    for item in items:
        moment = as_of or current_time(item.invoice.subscription)
        agreed = terms.adjustments.get(item.invoice.subscription_id, ())
        lines[item.invoice.pk].append(_line(item, usage.get(item.key), agreed, moment))
    for invoice_id, others in beside.items():
        lines[invoice_id].extend(others)
    return {
        invoice.pk: _finish(invoice, lines[invoice.pk], terms.adjustments.get(invoice.subscription_id, ()))
        for invoice in invoices
    }


def next_terms_of(invoices: Sequence[Invoice]) -> dict[int, Sequence[int]]:
    """Give, by invoice key, the price revisions that charges in advance of the next period go by."""
    opened = [invoice for invoice in invoices if invoice.status == InvoiceStatus.ACTIVE]
    versions = {invoice.pk: upcoming_version_id(invoice.subscription) for invoice in opened}
    current = current_revision_ids_of(set(versions.values()))
    return {
        invoice.pk: current[versions[invoice.pk]] if invoice.pk in versions else invoice.next_revision_ids
        for invoice in invoices
    }


def charge_terms(revision: PriceRevision, *, plan_cadence: str) -> ChargeTerms:
    """Give what decides when a price is charged; without an own cadence it follows the plan's."""
    return ChargeTerms(
        revision_id=revision.pk,
        price_id=revision.price.public_id,
        is_in_advance=revision.payment_term == "in_advance",
        cadence=Cadence.parse(revision.billing_cadence or plan_cadence),
        is_obligation=revision.is_obligation,
    )


def charges_of(invoice: Invoice, revisions: Mapping[int, PriceRevision], next_ids: Sequence[int]) -> list[Charge]:
    """Give the charges that belong on an invoice: those due in its window, each by the terms it opened with."""
    subscription = invoice.subscription
    cadence = subscription.billing_cadence

    def due(ids: Iterable[int]) -> list[Charge]:
        found: list[Charge] = []
        for terms in (charge_terms(revisions[i], plan_cadence=cadence) for i in ids if i in revisions):
            charges = charges_due(
                [terms],
                grid_for(subscription, terms),
                after=invoice.due_after,
                until=invoice.due_until,
                plan_cadence=cadence_of(subscription),
            )
            revision = revisions[terms.revision_id]
            found.extend(c for c in charges if is_owed(subscription, c) and not is_asleep(subscription, c, revision))
        return found

    if invoice.sequence_number == 0:
        return due(invoice.price_revision_ids)
    starts_next = invoice.due_until
    own = [c for c in due(invoice.price_revision_ids) if c.service.start < starts_next]
    return own + [c for c in due(next_ids) if c.service.start >= starts_next]


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


def _line(item: _Item, usage: Usage | None, agreed: Sequence[AdjustmentTerms], as_of: datetime) -> TargetLine:
    revision, charge, invoice = item.revision, item.charge, item.invoice
    terms = quantity_terms(
        agreed,
        charge.service,
        is_in_advance=revision.payment_term == "in_advance",
        price_id=revision.price_id,
    )
    price = item.price
    sources = sources_of(revision, invoice)
    if usage is not None:
        rated = rate_usage(
            price=price,
            usage=usage,
            currency=invoice.currency,
            period=charge.service,
            sources=sources,
            calculated_at=as_of,
            terms=terms,
        )
    else:
        rated = rate_fee(
            price=price,
            quantity=Decimal(revision.quantity),
            currency=invoice.currency,
            period=charge.service,
            sources=sources,
            calculated_at=as_of,
            share=share_of(invoice.subscription, charge, revision),
            whole=charge.whole,
            basis=invoice.subscription.plan.proration,
            terms=terms,
        )
    return TargetLine(
        kind=LineKind.METERED if revision.metric_id else LineKind.FEE,
        reference=charge.reference,
        display_name=revision.invoice_display_name,
        payment_term=revision.payment_term,
        period_start=charge.service.start,
        period_end=charge.service.end,
        quantity=rated.quantity,
        unit_price=rated.unit_price,
        gross=rated.subtotal,
        tax_rate=rate_of(invoice, revision),
        price_revision_id=revision.pk,
        metric_id=revision.metric_id,
        provenance=rated.provenance,
    )


def rate_of(invoice: Invoice, revision: PriceRevision | None) -> Decimal:
    """Give the tax percent of a line of an invoice."""
    subscription = invoice.subscription
    metric = revision.metric if revision is not None else None
    return tax_rate_for(
        is_exempt=subscription.tax_exempt,
        is_in_scope=revision is None or revision.supply_scope == "IN_SCOPE",
        customer_rates=invoice.customer.tax_rates,
        metric_public_id=metric.public_id if metric is not None else None,
        plan_public_id=subscription.plan.public_id,
        plan_rate=subscription.plan.default_tax_rate,
    )


def sources_of(revision: PriceRevision, invoice: Invoice) -> dict[str, object]:
    """Name where a line's figures come from, for its provenance."""
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
            },
        }
    return sources


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


def _finish(invoice: Invoice, lines: Sequence[TargetLine], agreed: Sequence[AdjustmentTerms]) -> list[TargetLine]:
    plan, tz = invoice.subscription.plan, invoice.subscription.timezone
    off = {
        line.reference: discounts_of(
            agreed, Period(line.period_start, line.period_end), is_in_advance=line.payment_term == "in_advance", tz=tz
        )
        for line in lines
        # Late usage has them in its own calculation; manual lines and credits are what they are.
        if line.price_revision_id is not None and not line.is_late
    }
    lines = with_discounts(lines, off, currency=invoice.currency)
    return with_tax(limit_rebates(lines), currency=invoice.currency, is_inclusive=plan.tax_behavior == "inclusive")


def just_before(instant: datetime) -> datetime:
    """Give the last moment before an instant, to make a window that contains it."""
    return instant - timedelta(microseconds=1)
