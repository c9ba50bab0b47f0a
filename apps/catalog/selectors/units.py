"""Pricing units, and what gives credits of them."""

from collections.abc import Iterable

from django.db.models import QuerySet

from apps.catalog.models import CreditAllocation, PlanVersion, Price, PriceRevision, PricingUnit


def units_of(*, organization_id: int) -> QuerySet[PricingUnit]:
    """Give a merchant's pricing units, newest first, archived ones too."""
    return PricingUnit.objects.filter(organization_id=organization_id).select_related("organization").order_by("-id")


def find_unit(public_id: str, *, organization_id: int) -> PricingUnit | None:
    return units_of(organization_id=organization_id).filter(public_id=public_id).first()


def prices_in(unit: PricingUnit) -> QuerySet[Price]:
    """Give the live prices in a unit, newest first."""
    rows = Price.objects.filter(pricing_unit=unit, deleted_at__isnull=True)
    return rows.select_related("metric", "feature").order_by("-pk")


def allocations_of(version: PlanVersion | None) -> list[CreditAllocation]:
    """Give the credits that a plan version gives, in the order they were written."""
    if version is None:
        return []
    return list(version.allocations.select_related("pricing_unit").order_by("pk"))


def allocations_by_version(version_ids: Iterable[int]) -> dict[int, list[CreditAllocation]]:
    """Give the same for many versions (keys), with one query."""
    found: dict[int, list[CreditAllocation]] = {key: [] for key in version_ids}
    rows = CreditAllocation.objects.filter(plan_version_id__in=found).select_related("pricing_unit").order_by("pk")
    for row in rows:
        found[row.plan_version_id].append(row)
    return found


def revisions_in_credits(ids: Iterable[int]) -> dict[int, PriceRevision]:
    """Give, of price revisions (keys), those in pricing units, with unit, price and metric at hand."""
    rows = PriceRevision.objects.filter(pk__in=set(ids), pricing_unit__isnull=False)
    return {row.pk: row for row in rows.select_related("pricing_unit", "price", "metric")}
