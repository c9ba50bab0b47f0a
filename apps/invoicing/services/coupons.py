"""Redeeming a coupon, and taking it away again."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from apps.catalog.models import Coupon
from apps.catalog.services.coupons import give_back, redeem
from apps.customers.models import Customer
from apps.invoicing.domain.coupons import Used, lasts
from apps.invoicing.events import CouponApplied, CouponRemoved
from apps.invoicing.models import AppliedCoupon, Invoice
from apps.invoicing.selectors.coupons import coupon_terms, total_use, uses_of
from apps.kernel.errors import ConflictError, UnprocessableError
from apps.kernel.rows import many
from apps.outbox.services import publish
from apps.subscriptions.models import Subscription, SubscriptionStatus


@transaction.atomic
def apply_coupon(
    *, customer: Customer, code: str, as_of: datetime, subscription: Subscription | None = None
) -> AppliedCoupon:
    """Redeem a coupon for a customer, or for one of its subscriptions and those that replace it.

    It reduces the invoices of periods that are not over by `as_of`. Redemptions are counted under the coupon's lock,
    so its limits hold whoever redeems at once.

    Raises:
        InvalidError: no coupon has the code.
        ConflictError: it is expired, redeemed as often as it may be, or the subscription has ended.
        UnprocessableError: its amount is in another currency than the subscription.
    """
    if subscription is not None and subscription.status == SubscriptionStatus.TERMINATED:
        raise ConflictError("The subscription has ended.", code="SUBSCRIPTION_TERMINATED")
    coupon = redeem(organization_id=customer.organization_id, code=code, as_of=as_of)
    if subscription is not None and coupon.currency not in ("", subscription.currency):
        raise UnprocessableError(
            f"The coupon is in {coupon.currency}, the subscription in {subscription.currency}.",
            code="CURRENCY_MISMATCH",
        )
    most = coupon.max_redemptions_per_customer
    if most is not None and AppliedCoupon.objects.filter(coupon=coupon, customer=customer).count() >= most:
        raise ConflictError("The customer redeemed the coupon as often as it may.", code="COUPON_ALREADY_REDEEMED")
    row = AppliedCoupon(
        organization_id=customer.organization_id,
        coupon=coupon,
        customer=customer,
        subscription=subscription,
        placed_at=as_of,
    )
    row.save()
    publish(
        CouponApplied(
            applied_coupon_id=row.public_id,
            coupon_id=coupon.public_id,
            customer_id=customer.public_id,
            subscription_id=subscription.public_id if subscription is not None else None,
        ),
        organization_id=row.organization_id,
        object_id=row.public_id,
        at=as_of,
    )
    return row


@transaction.atomic
def remove_coupon(*, applied_coupon_id: int, as_of: datetime) -> AppliedCoupon | None:
    """Take a redeemed coupon away: what ends from now on is billed without it; twice is fine.

    One that no calculated invoice used is deleted, and its redemption can be used by somebody else.

    Returns:
        The row as it stands, None when it is deleted.
    """
    found = AppliedCoupon.objects.filter(pk=applied_coupon_id)
    # In the order in which redeeming takes them.
    Coupon.objects.select_for_update().filter(pk__in=found.values("coupon_id")).first()
    row = found.select_for_update(of=("self",)).select_related("coupon", "customer", "subscription").first()
    if row is None or row.removed_at is not None:
        return row
    is_used = bool(uses_of([row])[row.pk])
    publish(
        CouponRemoved(applied_coupon_id=row.public_id, coupon_id=row.coupon.public_id),
        organization_id=row.organization_id,
        object_id=row.public_id,
        at=as_of,
    )
    if not is_used:
        give_back(coupon_id=row.coupon_id)
        row.delete()
        return None
    row.removed_at = max(as_of, row.placed_at)
    row.save(update_fields=["removed_at", "updated_at"])
    return row


def hold_coupons(invoices: Sequence[Invoice]) -> None:
    """Keep others from using up the coupons of some invoices until these are calculated (caller's transaction)."""
    customers = {invoice.customer_id for invoice in invoices}
    rows = AppliedCoupon.objects.filter(customer_id__in=many(customers)).order_by("pk")
    # Nothing but its lock is wanted.
    list(rows.select_for_update(no_key=True).values_list("pk", flat=True))


def state_of(row: AppliedCoupon, uses: dict[str, Used]) -> str:
    """Say whether a redeemed coupon still takes something off: `active`, `used_up` or `removed`."""
    if row.removed_at is not None:
        return "removed"
    return "active" if lasts(coupon_terms(row), total_use(uses, row.coupon.currency)) else "used_up"
