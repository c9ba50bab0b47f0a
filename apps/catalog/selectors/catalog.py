from collections.abc import Callable

from django.db.models import QuerySet

from apps.catalog.models import BillableMetric, Feature, Fee, Plan, PlanVersion, PlanVersionPrice, Price, Product
from apps.catalog.selectors.spend import with_spend

# Which products a customer already has; the app that knows subscriptions says so at start-up.
_occupancy: list[Callable[[int], list[int]]] = []
# How many live subscriptions stand on plan versions, by the same way.
_version_counters: list[Callable[[list[int]], dict[int, int]]] = []


def register_product_occupancy(products_of_customer: Callable[[int], list[int]]) -> None:
    """Let a higher app tell the products (keys) that a customer (key) has a live subscription to."""
    _occupancy.append(products_of_customer)


def register_version_counter(count: Callable[[list[int]], dict[int, int]]) -> None:
    """Let a higher app tell how many live subscriptions stand on each of some plan versions (keys)."""
    _version_counters.append(count)


def subscription_counts(version_ids: list[int]) -> dict[int, int]:
    """Give the number of live subscriptions by plan version."""
    counts = dict.fromkeys(version_ids, 0)
    for count in _version_counters:
        for version_id, number in count(version_ids).items():
            counts[version_id] += number
    return counts


def products_of(*, organization_id: int) -> QuerySet[Product]:
    return Product.objects.filter(organization_id=organization_id, deleted_at__isnull=True).order_by("-id")


def metrics_of(*, organization_id: int) -> QuerySet[BillableMetric]:
    rows = BillableMetric.objects.filter(organization_id=organization_id, deleted_at__isnull=True)
    return rows.select_related("product", "organization").order_by("-id")


def fees_of(*, organization_id: int) -> QuerySet[Fee]:
    rows = Fee.objects.filter(organization_id=organization_id, deleted_at__isnull=True)
    return rows.select_related("product", "organization").order_by("-id")


def features_of(*, organization_id: int) -> QuerySet[Feature]:
    rows = Feature.objects.filter(organization_id=organization_id, deleted_at__isnull=True)
    return rows.select_related("product", "organization").order_by("-id")


def prices_of(*, organization_id: int) -> QuerySet[Price]:
    rows = Price.objects.filter(organization_id=organization_id, deleted_at__isnull=True)
    rows = rows.select_related("metric", "fee", "feature", "pricing_unit", "organization")
    return rows.prefetch_related(with_spend()).order_by("-id")


def plans_of(*, organization_id: int) -> QuerySet[Plan]:
    rows = Plan.objects.filter(organization_id=organization_id, deleted_at__isnull=True)
    rows = rows.select_related("product", "organization", "default_version")
    return rows.prefetch_related(
        "default_version__spend_terms", "default_version__allocations__pricing_unit"
    ).order_by("-id")


def versions_of(*, plan_id: int) -> QuerySet[PlanVersion]:
    """Give the versions of a plan, newest first."""
    return PlanVersion.objects.filter(plan_id=plan_id).select_related("based_on").order_by("-number")


def available_plans(*, organization_id: int, customer_id: int) -> QuerySet[Plan]:
    """Give the plans of products that a customer has no live subscription to."""
    taken = {product for products in _occupancy for product in products(customer_id)}
    return plans_of(organization_id=organization_id).exclude(product_id__in=taken)


def slots_of_versions(version_ids: list[int]) -> dict[int, list[PlanVersionPrice]]:
    """Give the slots of plan versions with their prices, in plan order, by version."""
    found: dict[int, list[PlanVersionPrice]] = {version_id: [] for version_id in version_ids}
    slots = (
        PlanVersionPrice.objects.filter(plan_version_id__in=version_ids)
        .select_related("price__metric", "price__fee", "price__feature", "price__pricing_unit", "price__organization")
        .prefetch_related(with_spend("price__"))
        .order_by("plan_version_id", "position")
    )
    for slot in slots:
        found[slot.plan_version_id].append(slot)
    return found
