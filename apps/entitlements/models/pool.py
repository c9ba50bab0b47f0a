from typing import Any, ClassVar

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeBoundary, RangeOperators
from django.db import models
from django.db.models import F, Q

from apps.entitlements.models.entitlement import Entitlement, TsTzRange


class PoolManager(models.Manager["CreditPool"]):
    def get_queryset(self) -> Any:
        return super().get_queryset().filter(pricing_unit__isnull=False)


class CreditPool(Entitlement):
    """What a customer has of a pricing unit: one balance that all prices and features in the unit share."""

    objects: ClassVar[PoolManager] = PoolManager()

    class Meta:
        proxy = True


class PoolMeter(models.Model):
    """Usage of a metric that draws on a pool for some time, at the terms that its price had then."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    pool = models.ForeignKey(Entitlement, on_delete=models.PROTECT, related_name="pool_meters")
    revision = models.ForeignKey("catalog.PriceRevision", on_delete=models.PROTECT, related_name="+")
    metric = models.ForeignKey("catalog.BillableMetric", on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey(
        "subscriptions.Subscription", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    right = models.ForeignKey(
        Entitlement, null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Issued by hand: where no subscription bills the price, its feature draws at this one.",
    )  # fmt: skip
    active_from = models.DateTimeField()
    active_to = models.DateTimeField(null=True, blank=True, help_text="The first moment it draws nothing.")

    class Meta:
        constraints = [
            # A unit of usage is drawn once, at one price. Its index serves what a pool is drawn by, too.
            ExclusionConstraint(
                name="poolmeter_one_price_of_a_metric",
                expressions=[
                    ("pool", RangeOperators.EQUAL),
                    ("metric", RangeOperators.EQUAL),
                    (TsTzRange("active_from", "active_to", RangeBoundary()), RangeOperators.OVERLAPS),
                ],
            ),
            models.CheckConstraint(
                name="poolmeter_ends_after_its_start",
                condition=Q(active_to__isnull=True) | Q(active_to__gte=F("active_from")),
            ),
            models.CheckConstraint(
                name="poolmeter_of_a_subscription_or_a_right",
                condition=Q(subscription__isnull=False, right__isnull=True)
                | Q(subscription__isnull=True, right__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.metric} by {self.revision}"
