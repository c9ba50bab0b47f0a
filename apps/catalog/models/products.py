from typing import ClassVar

import pghistory
import pgtrigger
from django.db import models
from django.db.models import Q

from apps.kernel.models import Entity


class CatalogEntity(Entity):
    """What every catalogue row shares: its merchant and, once withdrawn, the moment it was."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


@pghistory.track()
class Product(CatalogEntity):
    """Something a merchant sells: the container of metrics, fees, features and plans."""

    PREFIX: ClassVar[str] = "prod"

    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    metadata = models.JSONField(default=dict, blank=True)

    class Meta:
        indexes = [models.Index(fields=["organization", "-id"], name="product_list")]


class Aggregation(models.TextChoices):
    """How the events of a period become one quantity."""

    SUM = "SUM", "Sum"
    COUNT = "COUNT", "Count"
    AVG = "AVG", "Average"
    MIN = "MIN", "Minimum"
    MAX = "MAX", "Maximum"
    UNIQUE_COUNT = "UNIQUE_COUNT", "Unique count"
    LATEST = "LATEST", "Latest"
    WEIGHTED_SUM = "WEIGHTED_SUM", "Time-weighted sum"


class MetricMode(models.TextChoices):
    """Where the quantity of a metric comes from."""

    USAGE = "usage", "Usage"
    FLAT = "flat", "Flat"


# What these give can only grow as events come. Others, such as an average, are known when their period is over.
GROWING = (Aggregation.SUM, Aggregation.COUNT, Aggregation.UNIQUE_COUNT, Aggregation.MAX)


class RoundingFunction(models.TextChoices):
    """How the quantity of a period is rounded before it is priced."""

    ROUND = "round", "Half up"
    CEIL = "ceil", "Up"
    FLOOR = "floor", "Down"


@pghistory.track()
class BillableMetric(CatalogEntity):
    """What is counted: which events, which value of them, and how they become a quantity."""

    PREFIX: ClassVar[str] = "bm"

    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="metrics")
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    unit = models.CharField(max_length=50)
    mode = models.CharField(
        max_length=5, choices=MetricMode, default=MetricMode.USAGE,
        help_text="Usage counts events. Flat charges the quantity that a subscriber chooses. It never changes.",
    )  # fmt: skip
    aggregation = models.CharField(max_length=12, choices=Aggregation)
    event_type = models.CharField(max_length=255, blank=True, help_text="Of a flat metric empty.")
    value_property = models.CharField(
        max_length=255, blank=True, help_text="Path of the value in the event's data, such as $.tokens."
    )
    group_by = models.JSONField(default=dict, blank=True, help_text="Dimension name → path in the event's data.")
    event_from = models.DateTimeField(null=True, blank=True, help_text="Events before this do not count.")
    tax_code = models.CharField(
        max_length=30, blank=True, help_text="Product tax category; empty: the plan's default tax code."
    )
    # Neither is ever changed: what is billed would be worth something else.
    rounding_function = models.CharField(
        max_length=5, choices=RoundingFunction, blank=True, help_text="Empty: quantities are priced as they are."
    )
    rounding_precision = models.SmallIntegerField(
        default=0, help_text="Decimal places that are kept; negative ones round to tens, hundreds …"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="metric_value_property_where_needed",
                condition=(
                    Q(mode="flat", value_property="")
                    | Q(aggregation="COUNT", value_property="")
                    | Q(aggregation="UNIQUE_COUNT")
                    | (
                        Q(aggregation__in=["SUM", "AVG", "MIN", "MAX", "LATEST", "WEIGHTED_SUM"])
                        & ~Q(value_property="")
                    )
                ),
            ),
            models.CheckConstraint(
                name="metric_counts_events_or_is_flat",
                condition=(Q(mode="usage") & ~Q(event_type=""))
                | Q(
                    mode="flat",
                    event_type="",
                    group_by={},
                    event_from__isnull=True,
                    rounding_function="",
                    aggregation="SUM",
                ),
            ),
            models.CheckConstraint(
                name="metric_rounding_is_whole",
                condition=Q(rounding_function="", rounding_precision=0)
                | Q(
                    rounding_function__in=RoundingFunction.values,
                    rounding_precision__gte=-12,
                    rounding_precision__lte=12,
                ),
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="metric_list"),
            # Serves ingest: which metrics of this merchant does an event type feed?
            models.Index(fields=["organization", "event_type"], name="metric_by_event_type"),
        ]
        triggers = [
            # Prices remember it: what they bill would be something else.
            pgtrigger.Protect(
                name="metric_mode_is_fixed",
                operation=pgtrigger.Update,
                condition=pgtrigger.Q(old__mode__df=pgtrigger.F("new__mode")),
            )
        ]


@pghistory.track()
class Fee(CatalogEntity):
    """A fixed charge; its amount and cadence stand on its prices."""

    PREFIX: ClassVar[str] = "fee"

    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="fees")
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    tax_code = models.CharField(
        max_length=30, blank=True, help_text="Product tax category; empty: the plan's default tax code."
    )

    class Meta:
        indexes = [models.Index(fields=["organization", "-id"], name="fee_list")]


class FeatureType(models.TextChoices):
    BOOLEAN = "boolean", "Boolean"
    STATIC = "static", "Static"
    METERED = "metered", "Metered"


@pghistory.track()
class Feature(CatalogEntity):
    """A named capability that prices can carry to customers."""

    PREFIX: ClassVar[str] = "feat"

    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="features")
    key = models.CharField(max_length=255)
    name = models.CharField(max_length=255)
    type = models.CharField(max_length=8, choices=FeatureType, default=FeatureType.BOOLEAN)
    metadata = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["product", "key"], name="feature_key_once", condition=Q(deleted_at__isnull=True)
            ),
            models.CheckConstraint(name="feature_key_is_slug", condition=Q(key__regex=r"^[a-z0-9]+(-[a-z0-9]+)*$")),
        ]
