"""Which rights questions of (customer, feature) or (customer, pricing unit) are about."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from apps.customers.models import Customer
from apps.entitlements.domain.access import is_in_force
from apps.entitlements.models import Entitlement
from apps.entitlements.selectors.entitlements import entitlements_of
from apps.entitlements.selectors.pools import pools_of
from apps.kernel.clock import wall_now
from apps.subscriptions.selectors.clocks import simulated_presents


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom and what a question is about.

    A customer by one of its ids; and a feature by its id or its product's key, or the pool of a pricing unit.
    """

    customer_id: str | None
    external_customer_id: str | None
    feature_id: str | None
    feature_key: str | None = None
    product_id: str | None = None
    pricing_unit_id: str | None = None


@dataclass(frozen=True, slots=True)
class Right:
    """An entitlement, or a pool, and the present of who holds it, which may be a test clock's."""

    entitlement: Entitlement
    at: datetime
    is_simulated: bool


def find_rights(*, organization_id: int, asked: Sequence[Asked]) -> list[Right | None]:
    """Give the right in force that each question is about; n questions in, n answers out, same order.

    None where the customer has none now.
    """
    named = Q(customer__public_id__in=[one.customer_id for one in asked if one.customer_id]) | Q(
        customer__external_id__in=[one.external_customer_id for one in asked if one.external_customer_id]
    )
    units = {one.pricing_unit_id for one in asked if one.pricing_unit_id is not None}
    found: list[Entitlement] = []
    if any(one.pricing_unit_id is None for one in asked):
        rows = entitlements_of(organization_id=organization_id).prefetch_related(None).select_related("customer")
        found += rows.filter(
            named,
            Q(feature__public_id__in=[one.feature_id for one in asked if one.feature_id])
            | Q(feature__key__in=[one.feature_key for one in asked if one.feature_key]),
        )
    if units:
        found += pools_of(organization_id=organization_id).filter(named, pricing_unit__public_id__in=units)
    now = wall_now()
    simulated = simulated_presents({row.customer_id for row in found if row.subscription_id is None})
    by_name: dict[tuple[bool, str, str, str | None], Right] = {}
    for row in found:
        clock = None if row.subscription is None else row.subscription.test_clock
        clock_time = simulated.get(row.customer_id) if row.subscription is None else clock and clock.current_time
        at = clock_time or now
        if not is_in_force(active_from=row.active_from, active_to=row.active_to, at=at):
            continue
        right = Right(row, at, clock_time is not None)
        for is_external, name in ((False, row.customer.public_id), (True, row.customer.external_id or "")):
            if row.pricing_unit is not None:
                by_name[is_external, name, row.pricing_unit.public_id, None] = right
                continue
            by_name[is_external, name, row.right_to.public_id, None] = right
            by_name[is_external, name, row.right_to.key, row.right_to.product.public_id] = right
    return [by_name.get(_name(one)) for one in asked]


def _name(one: Asked) -> tuple[bool, str, str, str | None]:
    is_external = one.customer_id is None
    customer = (one.external_customer_id if is_external else one.customer_id) or ""
    # No id of a unit is one of a feature.
    if (public_id := one.feature_id or one.pricing_unit_id) is not None:
        return is_external, customer, public_id, None
    return is_external, customer, one.feature_key or "", one.product_id


def customers_named(*, organization_id: int, customer_id: str | None, external_id: str | None) -> list[Customer]:
    """Give the customer of a name, if there is one."""
    rows = Customer.objects.filter(organization_id=organization_id, deleted_at__isnull=True)
    rows = rows.filter(public_id=customer_id) if external_id is None else rows.filter(external_id=external_id)
    return list(rows[:1])
