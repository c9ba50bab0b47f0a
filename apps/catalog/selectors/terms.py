"""Price terms as billing reads them."""

from collections.abc import Iterable, Sequence

from django.db.models import F

from apps.catalog.models import PlanVersionPrice, PriceRevision
from apps.catalog.models.prices import PriceTermsColumns
from apps.kernel.rows import many

# A revision has its own terms; those of its price are the present ones, which nobody bills by.
_PRESENT_TERMS = [
    f"price__{name}" for name in ("metric", "fee", *(field.name for field in PriceTermsColumns._meta.get_fields()))
]


def current_revision_ids(*, plan_version_id: int) -> Sequence[int]:
    """Give the price revisions that a period opening now under a plan version bills by, in the plan's order."""
    return current_revision_ids_of([plan_version_id])[plan_version_id]


def current_revision_ids_of(plan_version_ids: Iterable[int]) -> dict[int, list[int]]:
    """Give the same for several plan versions, with one query."""
    found: dict[int, list[int]] = {version_id: [] for version_id in plan_version_ids}
    rows = (
        PlanVersionPrice.objects.filter(
            plan_version_id__in=found,
            price__revisions__number=F("price__revision_number"),
        )
        .order_by("position")
        .values_list("plan_version_id", "price__revisions__pk")
    )
    for version_id, revision_id in rows:
        found[version_id].append(revision_id)
    return found


def current_lines(*, plan_version_id: int) -> list[tuple[str, PriceRevision]]:
    """Give the lines of a plan version, each by its key with the present terms of its price, in the plan's order."""
    slots = PlanVersionPrice.objects.filter(
        plan_version_id=plan_version_id, price__revisions__number=F("price__revision_number")
    )
    rows = list(slots.order_by("position").values_list("key", "price__revisions__pk"))
    revisions = revisions_by_id(revision_id for _, revision_id in rows)
    return [(key, revisions[revision_id]) for key, revision_id in rows]


def get_current_revision(*, price_id: int) -> PriceRevision:
    """Give the present terms of a price."""
    rows = PriceRevision.objects.select_related("price", "metric", "fee")
    return rows.get(price_id=price_id, number=F("price__revision_number"))


def revisions_by_id(ids: Iterable[int]) -> dict[int, PriceRevision]:
    """Give price revisions by key, with their price, metric and fee at hand."""
    rows = PriceRevision.objects.select_related("price", "metric", "fee", "pricing_unit").defer(*_PRESENT_TERMS)
    return {row.pk: row for row in rows.filter(pk__in=many(set(ids)))}
