"""Prepaid fees when the end of a subscription moves: what was billed too little is added, too much is credited."""

from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.db.models import Q, QuerySet

from apps.invoicing.domain.adjustments import charge_of, quantity_terms
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, LineKind
from apps.invoicing.selectors.adjustments import adjustment_terms
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.targets import rate_of, sources_of
from apps.kernel.ids import new_id
from apps.kernel.money import EXACT, format_decimal, minor_digits, round_money
from apps.kernel.time import Cadence, Period, format_instant, ratio
from apps.rating.grouped import parse_price
from apps.rating.lines import rate_fee
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.subscriptions import endless_grid_of

CREDIT, EXTENSION = "unused:", "extended:"


def reconcile_prepaid(*, subscription: Subscription, ends_at: datetime | None, as_of: datetime) -> None:
    """Make the open invoice say what prepaid fees still cost, or give back, up to an end (caller's transaction).

    Lines of an earlier end that no document carries yet are made anew, so moving an end back and forth leaves
    nothing behind.

    Args:
        subscription: active and locked, with its open invoice.
        ends_at: when it ends; None while no end is known.
        as_of: for provenance.
    """
    invoice = with_neighbours(Invoice.objects.all()).get(subscription=subscription, status=InvoiceStatus.ACTIVE)
    InvoiceLine.objects.filter(
        Q(reference__startswith=CREDIT) | Q(reference__startswith=EXTENSION),
        invoice=invoice,
        kind=LineKind.ADJUSTMENT,
    ).delete()
    _bill_extensions(invoice, ends_at, as_of)
    if ends_at is not None and subscription.plan.credit_unused_at_end:
        _credit_unused(invoice, ends_at)


def _billed(invoice: Invoice) -> QuerySet[InvoiceLine]:
    """Give the lines of recurring prepaid fees that calculated invoices of the subscription carry."""
    return (
        InvoiceLine.objects.filter(
            Q(kind=LineKind.FEE) | Q(kind=LineKind.ADJUSTMENT, reference__startswith=EXTENSION),
            invoice__subscription_id=invoice.subscription_id,
            invoice__calculated_at__isnull=False,
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


def _bill_extensions(invoice: Invoice, ends_at: datetime | None, as_of: datetime) -> None:
    """Add what fees cost that were billed up to an earlier end than the one that counts now."""
    subscription = invoice.subscription
    grid = endless_grid_of(subscription)
    # By price and period the line that reaches furthest.
    furthest: dict[tuple[int, datetime], tuple[InvoiceLine, Period]] = {}
    for line in _billed(invoice):
        revision = line.price_revision
        assert revision is not None
        cadence = Cadence.parse(revision.billing_cadence or subscription.billing_cadence)
        slot = grid.slot_at(cadence, line.period_start)
        if slot is not None:
            furthest[revision.price_id, slot.whole.start] = line, slot.whole
    for line, whole in furthest.values():
        until = whole.end if ends_at is None else min(whole.end, ends_at)
        if until <= line.period_end:
            continue
        served, before = Period(whole.start, until), Period(whole.start, line.period_end)
        basis, tz = subscription.plan.proration, subscription.timezone
        share = ratio(served, whole, basis=basis, tz=tz) - ratio(before, whole, basis=basis, tz=tz)
        _add_extension(invoice, line, Period(line.period_end, until), whole, share, as_of)


def _add_extension(
    invoice: Invoice, line: InvoiceLine, service: Period, whole: Period, share: Fraction, as_of: datetime
) -> None:
    revision = line.price_revision
    assert revision is not None
    agreed = adjustment_terms([invoice.subscription_id]).get(invoice.subscription_id, ())
    rated = rate_fee(
        price=parse_price(revision.model, revision.properties),
        quantity=Decimal(revision.quantity),
        currency=invoice.currency,
        period=service,
        sources=sources_of(revision, invoice),
        calculated_at=as_of,
        share=share,
        whole=whole,
        basis=invoice.subscription.plan.proration,
        terms=quantity_terms(agreed, service, is_in_advance=True, price_id=revision.price_id),
    )
    if not rated.subtotal:
        return
    InvoiceLine.objects.create(
        public_id=new_id("li"),
        organization_id=invoice.organization_id,
        invoice=invoice,
        kind=LineKind.ADJUSTMENT,
        reference=f"{EXTENSION}{revision.price.public_id}:{format_instant(service.start)}",
        price_revision=revision,
        display_name=f"{revision.invoice_display_name} (longer term)",
        payment_term=line.payment_term,
        currency=invoice.currency,
        period_start=service.start,
        period_end=service.end,
        quantity=rated.quantity,
        unit_price=rated.unit_price,
        gross=rated.subtotal,
        subtotal=rated.subtotal,
        total=rated.subtotal,
        tax_rate=rate_of(invoice, revision),
        provenance=rated.provenance,
    )


def _credit_unused(invoice: Invoice, ends_at: datetime) -> None:
    """Put the unused part of prepaid fees on the open invoice as credits, never more than was billed.

    What was billed is what percentages left of it.
    """
    subscription = invoice.subscription
    if subscription.plan.proration == "none":
        return
    for line in _billed(invoice).filter(period_end__gt=ends_at):
        whole = Period(line.period_start, line.period_end)
        unused = Period(max(ends_at, line.period_start), line.period_end)
        share = ratio(unused, whole, basis=subscription.plan.proration, tz=subscription.timezone)
        billed = _net_of(line)
        exact = EXACT.divide(EXACT.multiply(billed, Decimal(share.numerator)), Decimal(share.denominator))
        credit = -round_money(exact, invoice.currency)
        if not credit:
            continue
        InvoiceLine.objects.create(
            public_id=new_id("li"),
            organization_id=invoice.organization_id,
            invoice=invoice,
            kind=LineKind.ADJUSTMENT,
            reference=f"{CREDIT}{line.public_id}",
            display_name=f"Unused: {line.display_name}",
            payment_term=line.payment_term,
            currency=invoice.currency,
            period_start=unused.start,
            period_end=unused.end,
            quantity=Decimal(1),
            unit_price=credit,
            gross=credit,
            subtotal=credit,
            total=credit,
            tax_rate=rate_of(invoice, line.price_revision),
            provenance=_credit_provenance(line, billed, share, credit, invoice.currency),
        )


def _net_of(line: InvoiceLine) -> Decimal:
    """Give what a line was billed with the discounts off it."""
    lines = InvoiceLine.objects.filter(invoice_id=line.invoice_id, kind=LineKind.DISCOUNT)
    off = [found.gross for found in lines if charge_of(found.reference) == line.reference]
    return sum(off, line.gross)


def _credit_provenance(
    line: InvoiceLine, billed: Decimal, share: Fraction, credit: Decimal, currency: str
) -> dict[str, object]:
    return {
        "status": "available",
        "version": 1,
        "currency": currency,
        "inputs": {"kind": "credit", "amount": {"value": format_decimal(billed), "source": "billedLine"}},
        "sources": {"billedLine": {"type": "lineItem", "ref": {"lineItemId": line.public_id}}},
        "steps": [
            {
                "op": "replace",
                "on": "amount",
                "in": "0",
                "out": format_decimal(-billed),
                "params": {"amount": format_decimal(-billed)},
                "source": "billedLine",
            },
            {
                "op": "prorate",
                "on": "amount",
                "in": format_decimal(-billed),
                "out": format_decimal(credit),
                "params": {"numerator": str(share.numerator), "denominator": str(share.denominator)},
                "source": "billedLine",
            },
            {
                "op": "round",
                "on": "amount",
                "in": format_decimal(credit),
                "out": format_decimal(credit),
                "params": {"digits": minor_digits(currency), "mode": "HALF_UP"},
                "source": "currency",
            },
        ],
        "notApplied": [],
        "result": {"amount": format_decimal(credit), "quantity": None, "unitPrice": None},
    }
