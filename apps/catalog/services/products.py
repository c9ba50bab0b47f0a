from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from apps.catalog.domain.metrics import check_flat, check_metric
from apps.catalog.models import Aggregation, BillableMetric, Feature, Fee, MetricMode, Price, Product
from apps.kernel.errors import ConflictError, InvalidError
from apps.rating.grouped import GroupedPrice, parse_price

# What only metrics of usage have, by the wire's name.
OF_EVENTS = {
    "eventType": "event_type",
    "valueProperty": "value_property",
    "groupBy": "group_by",
    "eventFrom": "event_from",
    "rounding": "rounding_function",
}


def create_product(*, organization_id: int, name: str, description: str, metadata: dict[str, str]) -> Product:
    """Make a product."""
    return Product.objects.create(
        organization_id=organization_id, name=name, description=description, metadata=metadata
    )


def create_metric(*, product: Product, **fields: Any) -> BillableMetric:
    """Make a billable metric.

    Raises:
        InvalidError: its value path or a dimension is malformed or missing, or a flat one names what counts events.
    """
    if fields.get("mode") == MetricMode.FLAT:
        given = {wire: fields.get(name) for wire, name in OF_EVENTS.items()}
        # Who sends the default means nothing by it.
        asked = fields.get("aggregation")
        check_flat({**given, "aggregation": None if asked == Aggregation.SUM else asked})
        fields["aggregation"] = Aggregation.SUM
    else:
        fields["value_property"] = check_metric(
            aggregation=fields["aggregation"],
            value_property=fields.get("value_property") or "",
            group_by=fields.get("group_by") or {},
        )
    return BillableMetric.objects.create(organization_id=product.organization_id, product=product, **fields)


@transaction.atomic
def update_metric(*, metric_id: int, changes: dict[str, Any]) -> BillableMetric:
    """Change a metric; what was counted before stays as it was counted.

    Raises:
        InvalidError: its value path or a dimension is malformed or missing.
        ConflictError: prices go by a dimension that it would lose; they are named. Or its mode would change.
    """
    metric = BillableMetric.objects.select_for_update().get(pk=metric_id)
    if changes.get("mode", metric.mode) != metric.mode:
        raise ConflictError(
            "The mode of a metric never changes: its prices would bill something else. Make another metric.",
            code="METRIC_MODE_FIXED",
        )
    for name, value in changes.items():
        setattr(metric, name, value)
    if metric.mode == MetricMode.FLAT:
        check_flat({wire: getattr(metric, name) for wire, name in OF_EVENTS.items()})
    else:
        metric.value_property = check_metric(
            aggregation=metric.aggregation, value_property=metric.value_property, group_by=metric.group_by
        )
        require_dimensions(metric=metric)
    metric.save()
    return metric


def require_dimensions(*, metric: BillableMetric) -> None:
    """Check that a metric has the dimensions that its prices go by.

    Without them all new usage would fall to the default of such a price, and nobody would see why.

    Raises:
        ConflictError: prices go by one that it has not; they are named.
    """
    items = []
    for price in Price.objects.filter(metric_id=metric.pk, deleted_at__isnull=True).order_by("pk"):
        try:
            model = parse_price(price.model, price.properties)
        except InvalidError:
            # Its model was installed once and is not any more; it bills nothing.
            continue
        lost = sorted(set(model.dimensions) - set(metric.group_by)) if isinstance(model, GroupedPrice) else []
        if lost:
            items.append(
                {"id": price.public_id, "invoiceDisplayName": price.invoice_display_name, "dimensions": lost}
            )
    if items:
        raise ConflictError(
            f"Prices go by the dimension {items[0]['dimensions'][0]}; change them first.",
            code="METRIC_IN_USE",
            details={"blockers": [{"type": "prices", "count": len(items), "items": items}]},
        )


def create_fee(*, product: Product, name: str, description: str, tax_code: str = "") -> Fee:
    """Make a fee; its amount and cadence stand on its prices."""
    return Fee.objects.create(
        organization_id=product.organization_id,
        product=product,
        name=name,
        description=description,
        tax_code=tax_code,
    )


@transaction.atomic
def delete_fee(*, fee_id: int, as_of: datetime) -> None:
    """Withdraw a fee that no price uses.

    Raises:
        ConflictError: prices use it; they are named.
    """
    fee = Fee.objects.select_for_update().get(pk=fee_id)
    prices = list(Price.objects.filter(fee=fee, deleted_at__isnull=True).order_by("pk"))
    if prices:
        items = [{"id": price.public_id, "invoiceDisplayName": price.invoice_display_name} for price in prices]
        raise ConflictError(
            "Prices use this fee; delete them first.",
            code="FEE_IN_USE",
            details={"blockers": [{"type": "prices", "count": len(items), "items": items}]},
        )
    fee.deleted_at = as_of
    fee.save(update_fields=["deleted_at", "updated_at"])


def create_feature(*, product: Product, key: str, name: str, type: str, metadata: dict[str, str]) -> Feature:
    """Make a feature.

    Raises:
        ConflictError: the product has a feature with this key.
    """
    try:
        with transaction.atomic():
            return Feature.objects.create(
                organization_id=product.organization_id,
                product=product,
                key=key,
                name=name,
                type=type,
                metadata=metadata,
            )
    except IntegrityError:
        raise _taken(key) from None


def update_feature(*, feature: Feature, changes: dict[str, Any]) -> Feature:
    """Change a feature.

    Raises:
        ConflictError: the product has another feature with the new key.
    """
    for name, value in changes.items():
        setattr(feature, name, value)
    try:
        with transaction.atomic():
            feature.save()
    except IntegrityError:
        raise _taken(feature.key) from None
    return feature


@transaction.atomic
def delete_feature(*, feature: Feature, as_of: datetime) -> None:
    """Withdraw a feature; prices that carried it carry it no longer for new subscribers."""
    Price.objects.filter(feature=feature).update(feature=None, entitlement_template=None)
    feature.deleted_at = as_of
    feature.save(update_fields=["deleted_at", "updated_at"])


def _taken(key: str) -> ConflictError:
    return ConflictError(f"The product already has a feature with the key {key}.", code="FEATURE_KEY_TAKEN")
