from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction

from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, LineKind
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.rates import rate_of
from apps.kernel.errors import ConflictError, FieldError, InvalidError, UnprocessableError
from apps.kernel.ids import new_id
from apps.kernel.money import EXACT, format_decimal, minor_digits, round_money
from apps.kernel.time import Period, format_instant
from apps.subscriptions.models import Subscription

# Far above any real line, far below what a column of amounts holds.
LARGEST_AMOUNT = Decimal("1e18")
OPEN_FOR_LINES = (InvoiceStatus.ACTIVE, InvoiceStatus.CLOSING)


@dataclass(frozen=True, slots=True)
class ManualLine:
    """A charge or credit that a person or an integration puts on an invoice."""

    display_name: str
    currency: str
    quantity: Decimal
    unit_price: Decimal
    description: str = ""
    period: Period | None = None
    idempotency_key: str | None = None


@transaction.atomic
def add_manual_line(*, invoice_id: int, line: ManualLine, as_of: datetime) -> tuple[InvoiceLine, bool]:
    """Put a line on an open invoice, or give the one that the same key put there before.

    Returns:
        The line and whether it is new.

    Raises:
        ConflictError: the key was used for another line.
        UnprocessableError: the invoice takes no more lines, or has another currency.
    """
    invoice = with_neighbours(Invoice.objects.select_for_update(of=("self",), no_key=True)).get(pk=invoice_id)
    key_of = {"organization_id": invoice.organization_id, "subscription_id": invoice.subscription_id}
    known = _find_known(line, **key_of)
    if known is not None:
        return known, False
    if invoice.status not in OPEN_FOR_LINES:
        raise UnprocessableError(
            "Lines can be added while the invoice's period is open or closing.", code="INVOICE_NOT_OPEN"
        )
    if line.currency != invoice.currency:
        raise UnprocessableError(
            f"The invoice is in {invoice.currency}; the line must be too.", code="CURRENCY_MISMATCH"
        )
    gross = round_money(EXACT.multiply(line.quantity, line.unit_price), invoice.currency)
    if abs(gross) >= LARGEST_AMOUNT:
        message = "The amount, quantity × unitPrice, is too large."
        raise InvalidError(message, errors=[FieldError("unitPrice", message, "too_large")])
    try:
        with transaction.atomic():
            return _store(invoice, line, gross, as_of), True
    except IntegrityError:
        # The same key came at once for another invoice, whose lock is not ours.
        known = _find_known(line, **key_of)
        if known is None:
            raise
        return known, False


def _store(invoice: Invoice, line: ManualLine, gross: Decimal, as_of: datetime) -> InvoiceLine:
    period = line.period
    return InvoiceLine.objects.create(
        public_id=new_id("li"),
        organization_id=invoice.organization_id,
        invoice=invoice,
        kind=LineKind.MANUAL,
        reference=f"manual:{new_id('m')}",
        display_name=line.display_name,
        description=line.description,
        currency=invoice.currency,
        period_start=period.start if period is not None else invoice.period_start,
        period_end=period.end if period is not None else invoice.period_end,
        quantity=line.quantity,
        unit_price=line.unit_price,
        gross=gross,
        subtotal=gross,
        total=gross,
        tax_rate=rate_of(invoice, None),
        provenance=_provenance(invoice, line, gross, as_of),
        idempotency_key=line.idempotency_key,
    )


def find_invoice_for(line: ManualLine, *, subscription: Subscription, until: datetime | None = None) -> Invoice:
    """Give the invoice of a subscription that a line goes to: the open one, else the closing one.

    A line whose key put it on one before stays there: its repeat is harmless also when the subscription has ended.

    Args:
        until: when the line shall be billed; what lies within or before the open period is billed with it.

    Raises:
        ConflictError: the key was used for another line.
        UnprocessableError: the subscription has none.
        InvalidError: `until` lies beyond the open period.
    """
    known = _find_known(line, organization_id=subscription.organization_id, subscription_id=subscription.pk)
    if known is not None:
        return known.invoice
    invoice = (
        Invoice.objects.filter(subscription=subscription, status__in=OPEN_FOR_LINES)
        .order_by("status", "-sequence_number")
        .first()
    )
    if invoice is None:
        raise UnprocessableError("The subscription has no open invoice.", code="NO_OPEN_INVOICE")
    if until is not None and until > invoice.period_end:
        ends_at = format_instant(invoice.period_end)
        message = f"The open period ends at {ends_at}; add the line once a later one is open."
        raise InvalidError(message, errors=[FieldError("invoiceAt", message, "too_late")])
    return invoice


def _find_known(line: ManualLine, *, organization_id: int, subscription_id: int) -> InvoiceLine | None:
    """Find the line that a key put on the subscription before.

    Raises:
        ConflictError: the key made another line, or one of another subscription.
    """
    if line.idempotency_key is None:
        return None
    known = (
        InvoiceLine.objects.select_related("invoice")
        .filter(organization_id=organization_id, idempotency_key=line.idempotency_key)
        .first()
    )
    if known is None:
        return None
    was = (known.invoice.subscription_id, known.display_name, known.currency, known.quantity, known.unit_price)
    now = (subscription_id, line.display_name, line.currency, line.quantity, line.unit_price)
    if was != now:
        raise ConflictError(
            "This idempotency key belongs to another line; use a new key.", code="IDEMPOTENCY_KEY_REUSED"
        )
    return known


def check_quantity(quantity: Decimal) -> Decimal:
    """Check the quantity of a manual line.

    Raises:
        InvalidError: it is not above zero.
    """
    if quantity <= 0:
        raise InvalidError(
            "quantity must be above zero.",
            errors=[FieldError("quantity", "Must be above zero.", "too_small")],
        )
    return quantity


def _provenance(invoice: Invoice, line: ManualLine, gross: Decimal, as_of: datetime) -> dict[str, object]:
    exact = EXACT.multiply(line.quantity, line.unit_price)
    described = {"model": "standard", "rate": format_decimal(line.unit_price)}
    return {
        "status": "available",
        "version": 1,
        "currency": invoice.currency,
        "calculatedAt": format_instant(as_of),
        "inputs": {
            "kind": "manual",
            "quantity": {"value": format_decimal(line.quantity), "source": "manual"},
            "price": {"fn": described, "source": "manual"},
        },
        "sources": {"manual": {"type": "manual"}},
        "steps": [
            {
                "op": "evaluate",
                "on": "price",
                "in": described,
                "out": format_decimal(exact),
                "params": {"quantity": format_decimal(line.quantity)},
                "source": "manual",
            },
            {
                "op": "round",
                "on": "amount",
                "in": format_decimal(exact),
                "out": format_decimal(gross),
                "params": {"digits": minor_digits(invoice.currency), "mode": "HALF_UP"},
                "source": "currency",
            },
        ],
        "notApplied": [],
        "result": {
            "amount": format_decimal(gross),
            "quantity": format_decimal(line.quantity),
            "unitPrice": format_decimal(line.unit_price),
        },
    }
