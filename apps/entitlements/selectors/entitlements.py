"""Rows of rights: lists, the grants they have, and when each of them is."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from django.db.models import Q, QuerySet, Sum

from apps.entitlements.models import Entitlement, Reservation, ReservationStatus
from apps.entitlements.models import Grant as GrantRow
from apps.kernel.clock import wall_now
from apps.subscriptions.selectors.clocks import find_simulated_present


def entitlements_of(*, organization_id: int) -> QuerySet[Entitlement]:
    """Give a merchant's rights to features with what shows them at hand, newest first."""
    rows = Entitlement.objects.filter(organization_id=organization_id, feature__isnull=False)
    rows = rows.select_related(
        "customer", "feature__product", "pool__pricing_unit", "subscription__test_clock", "organization"
    )
    return rows.prefetch_related("meters__metric").order_by("-pk")


def grants_of(entitlement: Entitlement) -> QuerySet[GrantRow]:
    """Give the grants of an entitlement, or of the pool that it shows, newest first."""
    rows = GrantRow.objects.filter(entitlement_id=entitlement.drawn_id)
    return rows.select_related("entitlement", "subscription").order_by("-pk")


def in_force(rows: QuerySet[Entitlement], at: datetime) -> QuerySet[Entitlement]:
    """Keep the rights that hold at a moment."""
    return rows.filter(Q(active_to__isnull=True) | Q(active_to__gt=at), active_from__lte=at)


def present_of(entitlement: Entitlement) -> datetime:
    """Give the present of who holds it: a test clock's, or the wall clock's."""
    subscription = entitlement.subscription
    if subscription is not None:
        clock = subscription.test_clock
        return wall_now() if clock is None else clock.current_time
    return find_simulated_present(entitlement.customer_id) or wall_now()


def held_units(entitlement_ids: Iterable[int], *, at: Mapping[int, datetime]) -> dict[int, Decimal]:
    """Give what running reservations hold by entitlement; those that hold nothing are left out.

    Args:
        at: the present, by entitlement; an expired reservation holds nothing, whoever swept it up or not.
    """
    ids = sorted(set(entitlement_ids))
    if not ids:
        return {}
    running = Q(pk__in=[])
    by_moment: dict[datetime, list[int]] = {}
    for key in ids:
        by_moment.setdefault(at[key], []).append(key)
    for moment, keys in by_moment.items():
        running |= Q(entitlement_id__in=keys, expires_at__gt=moment)
    rows = Reservation.objects.filter(running, status=ReservationStatus.HELD).values_list("entitlement_id")
    return dict(rows.annotate(held=Sum("quantity")).order_by())
