"""What all that is agreed with single subscribers shares: made once a key, taken back as far as it was billed."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from django.db.models import QuerySet

from apps.invoicing.models import Invoice, SpendAgreement, SubscriptionAdjustment
from apps.kernel.errors import ConflictError
from apps.subscriptions.models import Subscription, SubscriptionStatus

Agreed = TypeVar("Agreed", SubscriptionAdjustment, SpendAgreement)


def find_known(rows: QuerySet[Agreed], key: str | None) -> Agreed | None:
    """Find what an idempotency key agreed before; nothing without a key."""
    return rows.filter(idempotency_key=key).first() if key is not None else None


def require_live(subscription: Subscription) -> None:
    """Refuse to agree anything with a subscriber that is gone.

    Raises:
        ConflictError: the subscription has ended.
    """
    if subscription.status == SubscriptionStatus.TERMINATED:
        raise ConflictError("The subscription has ended.", code="SUBSCRIPTION_TERMINATED")


def hold_invoices(subscription: Subscription) -> None:
    """Wait for calculations of a subscription that go on, and keep others from beginning (caller's transaction)."""
    waiting = Invoice.objects.filter(subscription=subscription, calculated_at__isnull=True).order_by("pk")
    list(waiting.select_for_update(no_key=True))


def withdraw(
    found: QuerySet[Agreed],
    *,
    used_until: Callable[[Agreed], datetime | None],
    announce: Callable[[Agreed, datetime | None], None],
) -> Agreed | None:
    """Delete what was agreed, or end it with the last period that was billed with it (caller's transaction).

    Args:
        found: the one row.
        used_until: gives the end of that period, None where there is none.
        announce: says so.

    Returns:
        The row as it stands, None when it is deleted.
    """
    subscription = (
        Subscription.objects.select_for_update(no_key=True).filter(pk__in=found.values("subscription_id")).first()
    )
    row = found.select_related("price").first()
    if subscription is None or row is None:
        return None
    row.subscription = subscription
    hold_invoices(subscription)
    until = used_until(row)
    if until is not None and row.effective_to is not None and row.effective_to <= until:
        return row
    announce(row, until)
    if until is None:
        row.delete()
        return None
    row.effective_to = until
    row.save(update_fields=["effective_to", "updated_at"])
    return row
