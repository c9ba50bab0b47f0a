"""What becomes of what is to be bought when its invoice is paid, or given up."""

from datetime import datetime

from django.db.models import Q

from apps.entitlements.models import Entitlement, Grant, SlotBurst
from apps.entitlements.services.bursts import Paid, grant_burst, void_burst
from apps.entitlements.services.granting import GrantTerms, create_grant, void_grant
from apps.invoicing.models import Invoice, Purchase, PurchaseStatus
from apps.kernel.errors import ConflictError


def fulfil_purchase(*, invoice: Invoice, as_of: datetime) -> Purchase:
    """Make the grant or burst that a locked invoice, which is being paid, was for (caller's transaction).

    Where another right to the feature took the place of the one that it was bought for, that one gets it.

    Raises:
        ConflictError: its time is over, or no right is left that could use what it sells.
    """
    purchase = (
        Purchase.objects.select_for_update(of=("self",)).select_related("entitlement", "invoice").get(invoice=invoice)
    )
    if purchase.payment_expires_at <= as_of:
        raise ConflictError(
            "The time to pay for this is over; place a new purchase.",
            code="PURCHASE_EXPIRED",
            details={"paymentExpiresAt": purchase.payment_expires_at.isoformat()},
        )
    target = _target(purchase, as_of)
    if purchase.is_burst:
        purchase.burst = _make_burst(purchase, target, as_of)
    else:
        purchase.grant = _make_grant(purchase, target, as_of)
    _end(purchase, PurchaseStatus.PAID, as_of)
    return purchase


def _make_grant(purchase: Purchase, target: Entitlement, as_of: datetime) -> Grant:
    terms = GrantTerms(
        amount=purchase.amount,
        # The key is one of the right that was named; another has keys of its own.
        idempotency_key=purchase.idempotency_key if target == purchase.entitlement else purchase.public_id,
        effective_at=purchase.effective_at or as_of,
        expires_at=purchase.expires_at,
        rollover_min=purchase.rollover_min,
        rollover_max=purchase.rollover_max,
        price=purchase.price,
        unit_price=purchase.unit_price,
        currency=purchase.currency,
        invoice_reference=purchase.invoice.public_id,
    )
    grant, _ = create_grant(entitlement_id=target.pk, terms=terms, as_of=as_of)
    return grant


def _make_burst(purchase: Purchase, target: Entitlement, as_of: datetime) -> SlotBurst:
    # An offer ends with what it sells, so that something of it is left.
    assert purchase.expires_at is not None
    assert purchase.expires_at > as_of
    burst, _ = grant_burst(
        entitlement=target,
        slots=int(purchase.amount),
        starts_at=max(purchase.effective_at or as_of, as_of),
        ends_at=purchase.expires_at,
        key=purchase.idempotency_key,
        paid=Paid(purchase.price, purchase.unit_price, purchase.currency, purchase.invoice.public_id),
    )
    return burst


def give_up_purchase(*, invoice: Invoice, as_of: datetime) -> None:
    """Let what a voided invoice was for not be bought (caller's transaction)."""
    purchase = Purchase.objects.select_for_update().get(invoice=invoice)
    is_late = purchase.payment_expires_at <= as_of
    _end(purchase, PurchaseStatus.EXPIRED if is_late else PurchaseStatus.CANCELLED, as_of)


def void_bought(*, invoice: Invoice, as_of: datetime) -> int:
    """Take back what is left of what an invoice bought, units also where they were taken along to other rights.

    What was used stays used (caller's transaction).

    Returns:
        How many grants and bursts changed.
    """
    bursts = SlotBurst.objects.filter(
        organization_id=invoice.organization_id, invoice_reference=invoice.public_id, voided_at__isnull=True
    )
    burst_ids = list(bursts.values_list("pk", flat=True))
    for burst_id in burst_ids:
        void_burst(burst_id=burst_id, as_of=as_of)
    grants = Grant.objects.filter(
        organization_id=invoice.organization_id, invoice_reference=invoice.public_id, voided_at__isnull=True
    )
    ids = list(grants.order_by("entitlement_id", "pk").values_list("pk", flat=True))
    for grant_id in ids:
        void_grant(grant_id=grant_id, as_of=as_of)
    return len(burst_ids) + len(ids)


def _target(purchase: Purchase, as_of: datetime) -> Entitlement:
    own = purchase.entitlement
    if own.active_to is None or own.active_to > as_of:
        return own
    fits = Q(slots__isnull=False) if purchase.is_burst else Q(is_metered=True)
    found = (
        Entitlement.objects.filter(
            Q(active_to__isnull=True) | Q(active_to__gt=as_of),
            fits,
            customer_id=own.customer_id,
            feature_id=own.right_to_id,
        )
        .order_by("active_from")
        .first()
    )
    if found is None:
        raise ConflictError(
            "The entitlement is over, and none took its place: nothing could use what is sold. Void the invoice.",
            code="ENTITLEMENT_NOT_ACTIVE",
        )
    return found


def _end(purchase: Purchase, status: PurchaseStatus, as_of: datetime) -> None:
    purchase.status, purchase.ended_at = status, as_of
    purchase.save(update_fields=["status", "ended_at", "grant", "burst", "updated_at"])
