from typing import ClassVar

import pghistory
from django.db import models
from django.db.models import Q

from apps.kernel.models import Entity, QuantityField


@pghistory.track(exclude=["updated_at"])
class PricingUnit(Entity):
    """A denomination of credits: prices in it draw on a customer's pool instead of costing money."""

    PREFIX: ClassVar[str] = "pu"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    key = models.CharField(max_length=64, help_text="a-z, 0-9, - and _; it never changes.")
    name = models.CharField(max_length=255)
    archived_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when no price or plan takes it any more."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "key"], name="pricingunit_key_once"),
            models.CheckConstraint(
                name="pricingunit_key_is_plain",
                condition=Q(key__regex=r"^[a-z0-9][a-z0-9_-]*$"),
                violation_error_message="Use 1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit.",
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="pricingunit_list")]


@pghistory.track()
class CreditAllocation(models.Model):
    """Credits that a plan version gives each of its subscribers, into their pool of the unit."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    plan_version = models.ForeignKey("catalog.PlanVersion", on_delete=models.PROTECT, related_name="allocations")
    pricing_unit = models.ForeignKey(PricingUnit, on_delete=models.PROTECT, related_name="+")
    amount = QuantityField()
    recurrence = models.CharField(
        max_length=20, blank=True, help_text="ISO 8601: how often they are filled up again; empty: given once."
    )

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["plan_version", "pricing_unit"], name="creditallocation_once_a_unit"),
            models.CheckConstraint(name="creditallocation_amount_positive", condition=Q(amount__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.amount.normalize():f} {self.pricing_unit.key}"
