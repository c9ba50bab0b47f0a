"""What the apps below want to know of subscriptions."""

from typing import Any

from django.db.models import Count

from apps.catalog.selectors.catalog import register_product_occupancy, register_version_counter
from apps.catalog.services.prices import register_subscription_counter
from apps.customers.models import Customer
from apps.customers.services.customers import register_blocker
from apps.customers.services.links import register_present
from apps.metering.selectors.timing import register_simulated
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.clocks import find_simulated_present, simulated_names
from apps.subscriptions.selectors.subscriptions import live_product_ids


def products_of_customer(customer_id: int) -> list[int]:
    return live_product_ids(customer_id=customer_id)


def subscriptions_billing_price(price_id: int) -> int:
    """Count the live subscriptions whose plan version sells a price."""
    live = Subscription.objects.exclude(status=SubscriptionStatus.TERMINATED)
    return live.filter(plan_version__slots__price_id=price_id).distinct().count()


def subscriptions_on_versions(version_ids: list[int]) -> dict[int, int]:
    live = Subscription.objects.exclude(status=SubscriptionStatus.TERMINATED)
    rows = live.filter(plan_version_id__in=version_ids).values_list("plan_version_id").annotate(n=Count("pk"))
    return dict(rows)


def live_subscriptions(customer: Customer) -> dict[str, Any] | None:
    rows = list(Subscription.objects.filter(customer=customer).exclude(status=SubscriptionStatus.TERMINATED)[:100])
    items = [{"id": row.public_id, "status": row.status} for row in rows]
    return {"type": "subscriptions", "count": len(items), "items": items} if items else None


register_product_occupancy(products_of_customer)
register_subscription_counter(subscriptions_billing_price)
register_version_counter(subscriptions_on_versions)
register_blocker(live_subscriptions)
register_present(find_simulated_present)
register_simulated(simulated_names)
