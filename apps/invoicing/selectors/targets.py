"""What the lines of invoices should be, computed for many invoices at once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import prefetch_related_objects

from apps.catalog.models import PriceRevision
from apps.catalog.selectors.terms import current_revision_ids_of, revisions_by_id
from apps.invoicing.domain.adjustments import AdjustmentTerms, quantity_terms
from apps.invoicing.domain.charges import Charge, ChargeTerms, charges_due
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, LineKind
from apps.invoicing.selectors.adjustments import adjustment_terms
from apps.invoicing.selectors.amounts import settled_lines
from apps.invoicing.selectors.late import find_late_usage
from apps.invoicing.selectors.metered import MeteredRequest, metered_usage
from apps.invoicing.selectors.rates import rate_of
from apps.invoicing.selectors.shares import is_asleep, share_of
from apps.kernel.time import Cadence, format_instant
from apps.metering.selectors.links import subjects_of
from apps.metering.selectors.usage import UsageRequest
from apps.rating.grouped import parse_price
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

    @property
    def key(self) -> tuple[int, str]:
        return self.invoice.pk, self.charge.reference


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
    revisions = revisions_by_id(
        {i for invoice in invoices for i in (*invoice.price_revision_ids, *next_ids[invoice.pk])}
    )
    items = [
        _Item(invoice, charge, revisions[charge.revision_id])
        for invoice in invoices
        for charge in charges_of(invoice, revisions, next_ids[invoice.pk])
    ]
    subjects = subjects_of(customer_ids=sorted({invoice.customer_id for invoice in invoices}))
    asked = [(item, item.revision.metric_id) for item in items if item.revision.metric_id is not None]
    answers = metered_usage(
        [
            MeteredRequest(
                UsageRequest(
                    organization_id=item.invoice.organization_id,
                    metric_id=metric_id,
                    subjects=subjects.get(item.invoice.customer_id, ()),
                    start=item.charge.service.start,
                    end=item.charge.service.end,
                ),
                parse_price(item.revision.model, item.revision.properties),
            )
            for item, metric_id in asked
        ]
    )
    usage = {item.key: answer for (item, _), answer in zip(asked, answers, strict=True)}
    adjustments = adjustment_terms(invoice.subscription_id for invoice in invoices)
    lines: dict[int, list[TargetLine]] = defaultdict(list)
    for item in items:
        moment = as_of or current_time(item.invoice.subscription)
        agreed = adjustments.get(item.invoice.subscription_id, ())
        lines[item.invoice.pk].append(_line(item, usage.get(item.key), agreed, moment))
    for invoice_id, late in find_late_usage(invoices, subjects, adjustments, as_of=as_of).items():
        lines[invoice_id].extend(late)
    for stored in _stored_lines(invoices):
        lines[stored.invoice_id].append(_of_stored(stored))
    return settled_lines(invoices, lines, adjustments, revisions, next_ids)


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
    price = parse_price(revision.model, revision.properties)
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


def just_before(instant: datetime) -> datetime:
    """Give the last moment before an instant, to make a window that contains it."""
    return instant - timedelta(microseconds=1)
