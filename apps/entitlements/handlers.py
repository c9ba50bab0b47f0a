"""What the apps below tell entitlements."""

from typing import Any

from apps.customers.models import Customer
from apps.customers.services.customers import register_blocker
from apps.entitlements.models import Entitlement
from apps.entitlements.selectors.entitlements import present_of
from apps.entitlements.services.provisioning import follow
from apps.subscriptions.services.following import register_follower


def rights_in_force(customer: Customer) -> dict[str, Any] | None:
    rows = (
        Entitlement.objects.filter(customer=customer, feature__isnull=False)
        .select_related("subscription__test_clock")
        .order_by("-pk")
    )
    live = [row for row in rows if row.active_to is None or row.active_to > present_of(row)][:100]
    items = [{"id": row.public_id, "status": "active"} for row in live]
    return {"type": "entitlements", "count": len(items), "items": items} if items else None


register_blocker(rights_in_force)
register_follower(follow)
