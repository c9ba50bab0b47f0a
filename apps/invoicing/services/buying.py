"""Units and bursts that are bought: an invoice of their own, which makes them when it is paid in time."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Min, QuerySet

from apps.entitlements.models import Entitlement, Grant, SlotBurst, SlotPool
from apps.entitlements.services.granting import require_grantable
from apps.entitlements.services.slots import lock_pool, require_slots
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceStatus, LineKind, Purchase, PurchaseStatus
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.rates import rate_of
from apps.invoicing.selectors.taxing import taxed_lines
from apps.invoicing.services.issuing import issue_group, store_calculations
from apps.invoicing.services.periods import announcement_of
from apps.invoicing.services.sessions import HOSTED_LINK_LIFE, open_session
from apps.invoicing.services.voiding import void_invoice
from apps.kernel.clock import wall_now
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.money import EXACT, round_to
from apps.kernel.rows import many
from apps.kernel.time import Period, format_instant
from apps.outbox.services import publish_all
from apps.rating.lines import rate_fee
from apps.rating.price_models.standard import StandardPrice
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.clocks import on_clock

logger = logging.getLogger(__name__)

UNIT_PRICE_PLACES = 15
# What is sold is there at once, whenever it is used.
INSTANT = timedelta(microseconds=1)
CHUNK = 1_000
OVER = "The time to pay was over."
ENDED = "The subscription ended."


@dataclass(frozen=True, slots=True)
class PurchaseTerms:
    """What a customer is to buy.

    Attributes:
        amount: units, or how many slots more.
        price: of all of it, without tax unless the plan's prices contain it, major units.
        effective_at: None: from its payment on.
        expires_at: the first moment without it; None keeps units for ever, and a burst has one.
        rollover_max: None keeps all units at resets.
        payment_expires_at: the first moment at which it cannot be paid; None: 30 days, or the end of what is sold.
    """

    amount: Decimal
    price: Decimal
    idempotency_key: str
    effective_at: datetime | None = None
    expires_at: datetime | None = None
    rollover_min: Decimal = Decimal(0)
    rollover_max: Decimal | None = None
    success_url: str = ""
    cancel_url: str = ""
    payment_expires_at: datetime | None = None


@transaction.atomic
def purchase_grant(*, entitlement_id: int, terms: PurchaseTerms, as_of: datetime) -> tuple[Purchase, bool]:
    """Sell units to the holder of an entitlement: an issued invoice with a payment page, or that of the same key.

    What the customer's balance pays at once is bought at once.

    Returns:
        The purchase, and whether it is new.

    Raises:
        ConflictError: the key was used for something else; the right is over, not metered, or of no subscription
            that is active.
        InvalidError: the dates contradict each other; every bad one is named.
    """
    row, subscription = _lock(entitlement_id)
    known = _find_known(row, None, terms)
    if known is not None:
        return known, False
    require_grantable(row, as_of)
    return _sell(row, subscription, None, terms, as_of), True


@transaction.atomic
def purchase_burst(*, entitlement_id: int, terms: PurchaseTerms, as_of: datetime) -> tuple[Purchase, bool]:
    """Sell more slots for a time to the holder of an entitlement, as units are sold.

    Whoever pays when the burst has begun has it from then until its end.

    Returns:
        The purchase, and whether it is new.

    Raises:
        ConflictError: the key was used for something else; the right is over, or of no subscription that is active.
        InvalidError: the feature has no slots, or the dates contradict each other; every bad one is named.
    """
    row, subscription = _lock(entitlement_id)
    # Whoever gives bursts holds it too: a key is given or sold.
    pool = lock_pool(require_slots(row))
    known = _find_known(row, pool, terms)
    if known is not None:
        return known, False
    if row.active_to is not None and row.active_to <= as_of:
        raise ConflictError("The entitlement is over; no burst can be used.", code="ENTITLEMENT_NOT_ACTIVE")
    return _sell(row, subscription, pool, terms, as_of), True


def give_up_with_subscriptions(moments: Sequence[tuple[Subscription, datetime]]) -> None:
    """Void the invoices of what ended subscriptions were about to buy (caller's transaction, which holds them)."""
    ended = {subscription.pk: at for subscription, at in moments if subscription.status != SubscriptionStatus.ACTIVE}
    open_ones = Purchase.objects.filter(invoice__subscription_id__in=many(ended), status=PurchaseStatus.OPEN)
    for purchase in list(open_ones.select_related("invoice").order_by("pk")):
        # An end may be dated back.
        at = max(ended[purchase.invoice.subscription_id], purchase.placed_at)
        void_invoice(invoice_id=purchase.invoice_id, as_of=at, reason=ENDED)


@transaction.atomic
def expire_purchase(*, purchase_id: int, as_of: datetime) -> int:
    """Void the invoice of a purchase that was not paid in time; one that was, or is given up, is left.

    Returns:
        How many changed.
    """
    purchase = Purchase.objects.select_related("invoice").get(pk=purchase_id)
    Subscription.objects.select_for_update(of=("self",), no_key=True).get(pk=purchase.invoice.subscription_id)
    purchase.refresh_from_db()
    if purchase.status != PurchaseStatus.OPEN or purchase.payment_expires_at > as_of:
        return 0
    void_invoice(invoice_id=purchase.invoice_id, as_of=as_of, reason=OVER)
    return 1


def next_purchase_due(clock_id: int | None, horizon: datetime) -> datetime | None:
    found = Purchase.objects.filter(
        on_clock(clock_id, "invoice__subscription__"), status=PurchaseStatus.OPEN, payment_expires_at__lte=horizon
    ).aggregate(earliest=Min("payment_expires_at"))
    moment: datetime | None = found["earliest"]
    return moment


def run_purchases(clock_id: int | None, as_of: datetime) -> int:
    """Give up what was not paid in time."""
    due = Purchase.objects.filter(
        on_clock(clock_id, "invoice__subscription__"), status=PurchaseStatus.OPEN, payment_expires_at__lte=as_of
    )
    ids = list(due.order_by("payment_expires_at", "pk").values_list("pk", flat=True)[:CHUNK])
    return sum(_expired(ids, as_of))


def _expired(ids: Iterable[int], as_of: datetime) -> Iterable[int]:
    """Give up one after the other; one that cannot be is said and left to the next run."""
    for purchase_id in ids:
        try:
            yield expire_purchase(purchase_id=purchase_id, as_of=as_of)
        except Exception:
            logger.exception("purchase %s cannot be given up", purchase_id)


def _lock(entitlement_id: int) -> tuple[Entitlement, Subscription]:
    """Lock a right that is to be sold more, and the subscription that pays (caller's transaction).

    Raises:
        ConflictError: it is of no subscription.
    """
    subscription_id = Entitlement.objects.values_list("subscription_id", flat=True).get(pk=entitlement_id)
    if subscription_id is None:
        raise ConflictError(
            "Only an entitlement of a subscription can be sold more: its terms say who pays, and how.",
            code="ENTITLEMENT_WITHOUT_SUBSCRIPTION",
        )
    # The subscription, then the right, then invoices: payment, expiry and the end of the subscription do the same.
    subscription = Subscription.objects.select_for_update(of=("self",), no_key=True).get(pk=subscription_id)
    row = Entitlement.objects.select_for_update(of=("self",)).select_related("feature").get(pk=entitlement_id)
    return row, subscription


def _sell(
    row: Entitlement, subscription: Subscription, pool: SlotPool | None, terms: PurchaseTerms, as_of: datetime
) -> Purchase:
    """Sell what is allowed to be sold.

    Raises:
        ConflictError: the subscription is not active.
        InvalidError: the dates contradict each other.
    """
    if subscription.status != SubscriptionStatus.ACTIVE:
        raise ConflictError("The subscription of the entitlement is not active.", code="SUBSCRIPTION_NOT_ACTIVE")
    end_name = "expiresAt" if pool is None else "endsAt"
    return _store(row, subscription, pool, _checked(terms, as_of, end_name), as_of)


def _find_known(row: Entitlement, pool: SlotPool | None, terms: PurchaseTerms) -> Purchase | None:
    """Find what the same key bought of a right, or of a pool of slots, before.

    Raises:
        ConflictError: the key bought something else, or belongs to a grant or burst that was given.
    """
    key = terms.idempotency_key
    given: QuerySet[Grant] | QuerySet[SlotBurst]
    if pool is None:
        found = Purchase.objects.filter(entitlement=row, idempotency_key=key).first()
        given = Grant.objects.filter(entitlement=row, idempotency_key=key)
    else:
        found = Purchase.objects.filter(pool=pool, idempotency_key=key).first()
        given = SlotBurst.objects.filter(pool=pool, idempotency_key=key)
    if found is not None and found.entitlement_id == row.pk and _is_same(found, terms):
        return found
    if found is not None or given.exists():
        what = "grant" if pool is None else "burst"
        raise ConflictError(
            f"This idempotency key belongs to another {what}; use a new key.", code="IDEMPOTENCY_KEY_REUSED"
        )
    return None


def _is_same(known: Purchase, terms: PurchaseTerms) -> bool:
    """Whether a repeated call asks for the purchase that is there; a time to pay that was left to us is any."""
    names = (
        "amount", "price", "effective_at", "expires_at", "rollover_min", "rollover_max", "success_url", "cancel_url",
    )  # fmt: skip
    is_time_same = terms.payment_expires_at in (None, known.payment_expires_at)
    return is_time_same and all(getattr(known, name) == getattr(terms, name) for name in names)


def _checked(terms: PurchaseTerms, as_of: datetime, end_name: str) -> PurchaseTerms:
    """Check the dates against each other and the present; gives the terms with the time to pay.

    Args:
        end_name: the field of the end of what is sold, as whoever asks calls it.
    """
    errors = []
    if terms.expires_at is not None and terms.expires_at <= (terms.effective_at or as_of):
        errors.append(FieldError(end_name, "The end must lie after the start.", "invalid"))
    elif terms.expires_at is not None and terms.expires_at <= as_of:
        errors.append(FieldError(end_name, "It would be over before it is paid.", "invalid"))
    until = terms.payment_expires_at
    if until is not None and until <= as_of:
        errors.append(FieldError("paymentExpiresAt", "The time to pay must lie ahead.", "invalid"))
    elif until is not None and terms.expires_at is not None and until > terms.expires_at:
        message = f"Nobody should pay for what is over; let it end with {end_name} at the latest."
        errors.append(FieldError("paymentExpiresAt", message, "invalid"))
    if errors:
        raise InvalidError("The purchase is malformed.", errors=errors)
    if until is None:
        until = as_of + HOSTED_LINK_LIFE
        until = until if terms.expires_at is None else min(until, terms.expires_at)
    return replace(terms, payment_expires_at=until)


def _store(
    row: Entitlement, subscription: Subscription, pool: SlotPool | None, terms: PurchaseTerms, as_of: datetime
) -> Purchase:
    drawn = Invoice.objects.create(
        organization_id=row.organization_id,
        customer_id=row.customer_id,
        subscription=subscription,
        sequence_number=subscription.period_number,
        is_purchase=True,
        status=InvoiceStatus.CALCULATING,
        currency=subscription.currency,
        period_start=as_of,
        period_end=as_of + INSTANT,
        due_after=as_of,
        due_until=as_of + INSTANT,
        plan_version_id=subscription.plan_version_id,
        grace_period_end=as_of + INSTANT,
    )
    invoice = with_neighbours(Invoice.objects.all()).get(pk=drawn.pk)
    assert terms.payment_expires_at is not None
    purchase = Purchase.objects.create(
        organization_id=row.organization_id,
        entitlement=row,
        pool=pool,
        invoice=invoice,
        amount=terms.amount,
        price=terms.price,
        unit_price=round_to(EXACT.divide(terms.price, terms.amount), UNIT_PRICE_PLACES),
        currency=invoice.currency,
        effective_at=terms.effective_at,
        expires_at=terms.expires_at,
        rollover_min=terms.rollover_min,
        rollover_max=terms.rollover_max,
        idempotency_key=terms.idempotency_key,
        success_url=terms.success_url,
        cancel_url=terms.cancel_url,
        placed_at=as_of,
        payment_expires_at=terms.payment_expires_at,
    )
    publish_all([announcement_of(invoice, at=as_of)])
    lines = taxed_lines([invoice], {invoice.pk: [_line(purchase, invoice, as_of)]}, {})
    store_calculations(invoices=[invoice], lines=lines, as_of=as_of, counted_at=wall_now())
    # No usage was read for it.
    invoice.usage_counted_at = None
    issue_group(invoices=[invoice], as_of=as_of)
    if invoice.status == InvoiceStatus.ISSUED:
        open_session(invoice=invoice, as_of=as_of, life=terms.payment_expires_at - as_of)
    purchase.refresh_from_db()
    return purchase


def _line(purchase: Purchase, invoice: Invoice, as_of: datetime) -> TargetLine:
    """Give the line that sells all of it as one thing: what it costs together is agreed, exactly."""
    row, feature = purchase.entitlement, purchase.entitlement.right_to
    source: dict[str, Any] = {
        "type": "burstPurchase" if purchase.is_burst else "grantPurchase",
        "ref": {"purchaseId": purchase.public_id, "entitlementId": row.public_id, "featureId": feature.public_id},
    }
    rated = rate_fee(
        price=StandardPrice(purchase.price),
        quantity=Decimal(1),
        currency=invoice.currency,
        period=Period(as_of, as_of + INSTANT),
        sources={"price": source, "currency": {"type": "currency", "ref": {"currency": invoice.currency}}},
        calculated_at=as_of,
    )
    return TargetLine(
        kind=LineKind.MANUAL,
        reference=f"purchase:{purchase.public_id}",
        display_name=f"{feature.name}: {_sold(purchase)}"[:255],
        description=_usable(purchase),
        payment_term="in_advance",
        period_start=as_of,
        period_end=as_of + INSTANT,
        quantity=rated.quantity,
        unit_price=rated.unit_price,
        gross=rated.subtotal,
        tax_rate=rate_of(invoice, None),
        provenance=rated.provenance,
    )


def _sold(purchase: Purchase) -> str:
    if not purchase.is_burst:
        return f"{purchase.amount.normalize():,f} units"
    return "1 more slot" if purchase.amount == 1 else f"{purchase.amount:,.0f} more slots"


def _usable(purchase: Purchase) -> str:
    start = format_instant(purchase.effective_at) if purchase.effective_at else "payment"
    end = f", until {format_instant(purchase.expires_at)}" if purchase.expires_at else ""
    return f"Usable from {start} on{end}"
