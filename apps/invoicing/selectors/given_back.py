"""What of a charge was given back by all ways together: by later bills, and by credit notes.

Bills of a subscription that are of one price and share service time are about one charge: its line, late usage of it,
corrections, and prepaid time that was given back. What they come to together is all that credit notes may give back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from django.db.models import Q, QuerySet
from msgspec import structs

from apps.catalog.models import PriceRevision
from apps.invoicing.domain.apart import OFF_USAGE
from apps.invoicing.domain.crediting import Creditable
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import CreditNoteLine, CreditNoteStatus, Invoice, InvoiceLine, InvoiceStatus, LineKind
from apps.invoicing.selectors.stored import held_amounts
from apps.kernel.money import EXACT, round_money
from apps.rating.reading import bound_to_zero

ZERO = Decimal(0)
OF_CHARGES = (LineKind.FEE, LineKind.METERED, LineKind.ADJUSTMENT)


def within_later_bills(
    charges: Sequence[Creditable], rows: Mapping[int, InvoiceLine], *, currency: str
) -> list[Creditable]:
    """Leave of charges what later bills have not given back already; same order.

    Args:
        charges: of one document, with what credit notes gave back of them.
        rows: their lines by key, with the price revisions and the invoices.
        currency: decides the minor unit of the tax.
    """
    found = []
    taken: dict[int, Decimal] = {}
    for charge in charges:
        line = rows[charge.line_id]
        room = _room(charge, line, rows)
        if room is None:
            found.append(charge)
            continue
        # Lines of one charge on the same document share what is left of it.
        key = line.price_revision.price_id if line.price_revision is not None else 0
        left = min(charge.left_net, max(EXACT.subtract(room, taken.get(key, ZERO)), ZERO))
        taken[key] = EXACT.add(taken.get(key, ZERO), left)
        net = EXACT.add(charge.credited_net, left)
        share = EXACT.divide(EXACT.multiply(charge.tax, net), charge.net) if charge.net else ZERO
        tax = charge.tax if net == charge.net else max(round_money(share, currency), charge.credited_tax)
        found.append(replace(charge, net=net, tax=tax))
    return found


def within_credits(invoice: Invoice, lines: Sequence[TargetLine]) -> list[TargetLine]:
    """Hold corrections of an open invoice at what credit notes left of the charges that they correct.

    What a correction does not give back is carried on, as where an invoice would fall below zero: usage that comes
    later is set off against it.
    """
    corrections = [line for line in lines if line.is_late and line.gross < 0]
    if not corrections:
        return list(lines)
    keys = {line.price_revision_id for line in corrections if line.price_revision_id is not None}
    prices = dict(PriceRevision.objects.filter(pk__in=keys).values_list("pk", "price_id"))
    kept = []
    for line in lines:
        if not (line.is_late and line.gross < 0) or line.price_revision_id is None:
            kept.append(line)
            continue
        billed = of_charge(
            subscription_id=invoice.subscription_id,
            price_id=prices[line.price_revision_id],
            start=line.period_start,
            end=line.period_end,
        ).exclude(invoice_id=invoice.pk)
        noted = sum(held_amounts(billed).values(), ZERO)
        worth = sum(billed.values_list("gross", flat=True), ZERO)
        bound = min(EXACT.subtract(noted, worth), ZERO)
        if not noted or line.gross >= bound:
            kept.append(line)
        elif bound or line.quantity:
            kept.append(structs.replace(line, gross=bound, provenance=bound_to_zero(line.provenance, bound)))
    return kept


def of_charge(*, subscription_id: int, price_id: int, start: object, end: object) -> QuerySet[InvoiceLine]:
    """Give the lines about one charge: what was issued, and what is to be given back by bills that are not yet."""
    return InvoiceLine.objects.filter(
        # What units paid of usage was never owed, though the usage stands there in full.
        Q(kind__in=OF_CHARGES) | Q(reference__startswith=OFF_USAGE),
        # What is off usage is so with the usage, whose line is above zero.
        Q(invoice__issued_at__isnull=False) | Q(gross__lt=0, kind__in=OF_CHARGES),
        Q(period_start__lt=end, period_end__gt=start) | Q(period_start=start, period_end=end),
        invoice__subscription_id=subscription_id,
        price_revision__price_id=price_id,
    ).exclude(invoice__status=InvoiceStatus.CANCELLED)


def _room(charge: Creditable, line: InvoiceLine, rows: Mapping[int, InvoiceLine]) -> Decimal | None:
    """Give what of a charge no later bill gave back and no credit note either, without tax; None: none did."""
    if line.price_revision is None or line.kind not in OF_CHARGES:
        return None
    others = list(
        of_charge(
            subscription_id=line.invoice.subscription_id,
            price_id=line.price_revision.price_id,
            start=line.period_start,
            end=line.period_end,
        ).exclude(pk=line.pk)
    )
    if not any(other.gross < 0 and other.pk not in rows for other in others):
        return None
    room = charge.net
    for other in others:
        # What is off a charge on its own document is off its worth already.
        if other.pk not in rows or other.gross > 0:
            room = EXACT.add(room, other.subtotal)
    credited = CreditNoteLine.objects.filter(
        invoice_line__in=[line.pk, *(other.pk for other in others)], credit_note__status=CreditNoteStatus.ISSUED
    ).values_list("subtotal", flat=True)
    return EXACT.subtract(room, sum(credited, ZERO))
