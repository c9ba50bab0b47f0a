"""Prepaid fees when the service they are for moves: what was billed too little is added, too much is credited.

The end of a subscription moves, a quantity changes, or a pause begins or ends. Every time the same question is asked
anew: what should each prepaid period cost by now, and what did earlier lines bill for it? The difference stands on
the open invoice. So going back and forth leaves nothing behind, and a credit never exceeds what was billed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.db.models import Q, QuerySet
from msgspec.structs import replace

from apps.catalog.models import PriceRevision
from apps.catalog.selectors.terms import revisions_by_id
from apps.invoicing.domain.adjustments import quantity_terms
from apps.invoicing.domain.charges import Charge
from apps.invoicing.domain.cuts import charge_of
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, LineKind
from apps.invoicing.selectors.adjustments import adjustment_terms
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.parts import fee_parts, parts_of
from apps.invoicing.selectors.rates import rate_of
from apps.invoicing.selectors.sources import sources_of
from apps.invoicing.selectors.stored import held_amounts
from apps.invoicing.selectors.versions import dated_timelines
from apps.invoicing.services.turns import take_credit_turns
from apps.kernel.ids import new_id
from apps.kernel.money import EXACT
from apps.kernel.time import Cadence, Period, format_instant
from apps.rating.differences import BilledSoFar, less_billed
from apps.rating.splits import rate_fee_sum
from apps.subscriptions.domain.grid import Slot
from apps.subscriptions.domain.timeline import Interval, Timeline
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.subscriptions import endless_grid_of, gives_back_unused, pauses_of

CREDIT, EXTENSION = "unused:", "extended:"
OURS = Q(reference__startswith=CREDIT) | Q(reference__startswith=EXTENSION)
UNCALCULATED = (InvoiceStatus.CLOSING, InvoiceStatus.CALCULATING, InvoiceStatus.FAILED)


@dataclass(slots=True)
class _Prepaid:
    """A period of a fee in advance, and what lines of other invoices bill for it.

    Attributes:
        until: the end of what they bill.
        line_ids: public ids of the lines, for provenance.
        last: the newest charge among them, in whose tax it is given back.
    """

    revision: PriceRevision
    slot: Slot
    until: datetime
    billed: BilledSoFar = field(default_factory=BilledSoFar)
    line_ids: list[str] = field(default_factory=list)
    last: InvoiceLine | None = None


def reconcile_prepaid(*, subscription: Subscription, ends_at: datetime | None, as_of: datetime) -> None:
    """Make the open invoice say what prepaid fees still cost, or give back, up to an end (caller's transaction).

    Args:
        subscription: active and locked, with its open invoice.
        ends_at: when it ends; None while no end is known. Unused time after it is given back where the plan says so;
            paused time always is.
        as_of: for provenance.
    """
    # What credit notes gave back of a fee is not given back again.
    take_credit_turns([subscription.pk])
    invoice = with_neighbours(Invoice.objects.all()).get(subscription=subscription, status=InvoiceStatus.ACTIVE)
    InvoiceLine.objects.filter(OURS, invoice=invoice, kind=LineKind.ADJUSTMENT).delete()
    if subscription.plan.proration == "none":
        return
    timeline = dated_timelines([subscription])[subscription.pk]
    for prepaid in _prepaid_periods(invoice):
        _settle(invoice, prepaid, timeline, ends_at, as_of)


def _billed(invoice: Invoice) -> QuerySet[InvoiceLine]:
    """Give the lines of recurring prepaid fees on the other invoices of the subscription."""
    return (
        InvoiceLine.objects.filter(
            Q(kind=LineKind.FEE) | Q(OURS, kind=LineKind.ADJUSTMENT),
            invoice__subscription_id=invoice.subscription_id,
            payment_term="in_advance",
            # An obligation is owed whole: nothing is ever added to it or given back.
            price_revision__is_obligation=False,
        )
        .exclude(invoice__status=InvoiceStatus.CANCELLED)
        .exclude(invoice=invoice)
        .exclude(price_revision__billing_cadence="P0D")
        .select_related("price_revision__price", "price_revision__metric")
        .order_by("period_end", "pk")
    )


def _prepaid_periods(invoice: Invoice) -> Iterable[_Prepaid]:
    subscription = invoice.subscription
    grid = endless_grid_of(subscription)
    off = _discounts(invoice)
    noted = held_amounts(_billed(invoice))
    found: dict[tuple[int, datetime], _Prepaid] = {}
    for line in _billed(invoice):
        revision = line.price_revision
        assert revision is not None
        slot = grid.slot_at(_cadence(subscription, revision), line.period_start)
        if slot is None:
            continue
        entry = found.setdefault(
            (revision.price_id, slot.whole.start), _Prepaid(revision, slot, until=slot.service.start)
        )
        entry.line_ids.append(line.public_id)
        if line.gross >= 0:
            entry.last = line
            entry.billed.charged = EXACT.add(entry.billed.charged, line.gross)
            entry.billed.off = EXACT.add(entry.billed.off, off[line.invoice_id, line.reference])
            entry.billed.noted = EXACT.subtract(entry.billed.noted, noted.get(line.pk, Decimal(0)))
            entry.until = max(entry.until, line.period_end)
        else:
            entry.billed.credited = EXACT.add(entry.billed.credited, line.gross)
    for entry in _slept_through(invoice):
        found.setdefault((entry.revision.price_id, entry.slot.whole.start), entry)
    return found.values()


def _discounts(invoice: Invoice) -> Mapping[tuple[int, str], Decimal]:
    """Give what was taken off the lines of the other invoices: by the invoice and the line's reference."""
    found: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
    rows = InvoiceLine.objects.filter(kind=LineKind.DISCOUNT, invoice__subscription_id=invoice.subscription_id)
    for line in rows.exclude(invoice__status=InvoiceStatus.CANCELLED).exclude(invoice=invoice):
        key = line.invoice_id, charge_of(line.reference)
        found[key] = EXACT.add(found[key], line.gross)
    return found


def _slept_through(invoice: Invoice) -> Iterable[_Prepaid]:
    """Give the periods whose fee fell due in a pause, so that no invoice billed it."""
    subscription, pauses = invoice.subscription, pauses_of(invoice.subscription)
    grid = endless_grid_of(subscription)
    waiting = list(
        Invoice.objects.filter(subscription=subscription, status__in=UNCALCULATED).values_list(
            "due_after", "due_until"
        )
    )
    for revision in revisions_by_id(invoice.price_revision_ids).values():
        cadence = _cadence(subscription, revision)
        if not revision.is_prepaid or revision.is_obligation or cadence.is_once:
            continue
        slot = grid.slot_at(cadence, invoice.period_start)
        if slot is None:
            continue
        due_at = slot.service.start
        if grid.is_tried(due_at):
            continue
        is_elsewhere = due_at > invoice.due_after or any(after < due_at <= until for after, until in waiting)
        if pauses.hold(due_at) and not is_elsewhere and due_at >= subscription.billing_starts_at:
            yield _Prepaid(revision, slot, until=due_at)


def _settle(
    invoice: Invoice, prepaid: _Prepaid, timeline: Timeline, ends_at: datetime | None, as_of: datetime
) -> None:
    """Put the difference between what a prepaid period should cost and what was billed on the open invoice."""
    subscription, revision, slot = invoice.subscription, prepaid.revision, prepaid.slot
    agreed = adjustment_terms([subscription.pk]).get(subscription.pk, ())
    until = slot.whole.end if ends_at is None else min(slot.whole.end, ends_at)
    if not gives_back_unused(subscription):
        until = max(until, prepaid.until)
    terms = quantity_terms(agreed, slot.service, is_in_advance=True, price_id=revision.price_id)
    charge = Charge(
        revision_id=revision.pk,
        price_id=revision.price.public_id,
        # Of a service that ends as it begins, the price is looked up where it began.
        service=Period(slot.service.start, until) if until > slot.service.start else slot.service,
        whole=slot.whole,
        due_at=slot.service.start,
        own_key=next((one.key for one in timeline.owned() if _is_of(one, revision, slot)), ""),
    )
    parts = parts_of(subscription, timeline, charge, revision)
    if not parts:
        return
    fees = fee_parts(subscription, charge, revision, parts, terms)
    if until <= slot.service.start:
        fees = [replace(fees[0], share=Fraction(0))]
    earlier = {"type": "lineItems", "ref": {"lineItemIds": prepaid.line_ids}}
    notes = {"creditNotes": {"type": "creditNotes", "ref": earlier["ref"]}} if prepaid.billed.noted else {}
    # What moved: the time between the two ends, or, when a pause did it, the time up to the end.
    moved = Period(*sorted((until, prepaid.until))) if until != prepaid.until else Period(slot.service.start, until)
    is_changed = until == prepaid.until and len(fees) > 1
    if is_changed:
        moved = Period(fees[1].period.start, until)
    rated = rate_fee_sum(
        fees,
        currency=invoice.currency,
        period=moved,
        whole=slot.whole,
        basis=subscription.plan.proration,
        sources={**sources_of(revision, invoice, parts), "earlierInvoice": earlier, **notes},
        calculated_at=as_of,
    )
    amount, provenance = less_billed(rated, prepaid.billed, currency=invoice.currency)
    if not amount:
        return
    name, start = revision.invoice_display_name, format_instant(slot.whole.start)
    is_credit = amount < 0
    given_back = prepaid.last if is_credit else None
    reason = "longer term" if prepaid.line_ids and until > prepaid.until else "resumed"
    if is_changed:
        reason = "changed quantity"
    InvoiceLine.objects.create(
        public_id=new_id("li"),
        organization_id=invoice.organization_id,
        invoice=invoice,
        kind=LineKind.ADJUSTMENT,
        reference=f"{CREDIT if is_credit else EXTENSION}{revision.price.public_id}:{start}",
        price_revision=revision,
        display_name=f"Unused: {name}" if is_credit else f"{name} ({reason})",
        payment_term=revision.payment_term,
        currency=invoice.currency,
        period_start=moved.start,
        period_end=moved.end,
        quantity=Decimal(1),
        unit_price=amount,
        gross=amount,
        subtotal=amount,
        total=amount,
        tax_rate=given_back.tax_rate if given_back is not None else rate_of(invoice, revision),
        tax_treatment_id=given_back.tax_treatment_id if given_back is not None else None,
        provenance=provenance,
    )


def _is_of(interval: Interval, revision: PriceRevision, slot: Slot) -> bool:
    """Whether an interval that only this subscription has bills a price within a period."""
    is_over = interval.end is not None and interval.end <= slot.service.start
    return interval.price_id == revision.price_id and interval.start < slot.service.end and not is_over


def _cadence(subscription: Subscription, revision: PriceRevision) -> Cadence:
    return Cadence.parse(revision.billing_cadence or subscription.billing_cadence)
