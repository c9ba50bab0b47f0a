"""What the apps below want to know of invoices."""

from typing import Any

from apps.catalog.selectors.feeds import register_billed_until
from apps.catalog.services.plans import register_follower as register_plan_follower
from apps.customers.models import Customer
from apps.customers.services.customers import register_blocker
from apps.entitlements.services.bursts import register_burst_key_holder
from apps.entitlements.services.granting import register_key_holder
from apps.invoicing.models import Invoice, InvoiceStatus, Purchase
from apps.invoicing.selectors.fed import billed_until
from apps.invoicing.selectors.keeping import bills_needing
from apps.invoicing.services.buying import give_up_with_subscriptions
from apps.invoicing.services.migrating import follow_default
from apps.metering.services.dropping import register_keeper
from apps.subscriptions.services.following import register_follower

# What is consolidated is settled with its document, which is looked at by itself.
SETTLED = (InvoiceStatus.PAID, InvoiceStatus.CANCELLED, InvoiceStatus.WRITTEN_OFF, InvoiceStatus.CONSOLIDATED)


def unsettled_invoices(customer: Customer) -> dict[str, Any] | None:
    rows = list(Invoice.objects.filter(customer=customer).exclude(status__in=SETTLED)[:100])
    items = [{"id": row.public_id, "status": row.status} for row in rows]
    return {"type": "invoices", "count": len(items), "items": items} if items else None


def is_key_of_purchase(entitlement_id: int, key: str) -> bool:
    return Purchase.objects.filter(entitlement_id=entitlement_id, idempotency_key=key).exists()


def is_key_of_burst_purchase(pool_id: int, key: str) -> bool:
    return Purchase.objects.filter(pool_id=pool_id, idempotency_key=key).exists()


register_key_holder(is_key_of_purchase)
register_burst_key_holder(is_key_of_burst_purchase)
register_blocker(unsettled_invoices)
register_keeper(bills_needing)
register_plan_follower(follow_default)
register_follower(give_up_with_subscriptions)
register_billed_until(billed_until)
