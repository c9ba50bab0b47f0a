from typing import ClassVar

import pghistory
from django.db import models
from django.db.models import F, Q

from apps.kernel.models import Entity


class AdjustmentType(models.TextChoices):
    PERCENTAGE_DISCOUNT = "percentageDiscount", "Percentage discount"
    USAGE_DISCOUNT = "usageDiscount", "Usage discount"
    MINIMUM_QUANTITY = "minimumQuantity", "Minimum quantity"
    MAXIMUM_QUANTITY = "maximumQuantity", "Maximum quantity"


@pghistory.track()
class SubscriptionAdjustment(Entity):
    """Something agreed with one subscriber beside its prices, for a time: a percentage off, units waived, a bound."""

    PREFIX: ClassVar[str] = "adj"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey("subscriptions.Subscription", on_delete=models.PROTECT, related_name="+")
    type = models.CharField(max_length=20, choices=AdjustmentType)
    value = models.DecimalField(max_digits=40, decimal_places=6, help_text="A fraction of 1, or units.")
    price = models.ForeignKey(
        "catalog.Price", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="That it was agreed of; a percentage is off every charge.",
    )  # fmt: skip
    price_key = models.CharField(
        max_length=64,
        blank=True,
        help_text="Line of the plan whose quantity it changes, whatever price versions of the plan have there.",
    )
    effective_from = models.DateTimeField(
        help_text="A percentage begins with it; others reach periods that end after it."
    )
    effective_to = models.DateTimeField(
        null=True, blank=True, help_text="A percentage ends before it; others reach periods that end by it."
    )
    description = models.TextField(blank=True)
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    placed_at = models.DateTimeField(help_text="What fell due before is billed without it.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "idempotency_key"],
                name="adjustment_idempotency_key_once",
                condition=Q(idempotency_key__isnull=False),
            ),
            models.CheckConstraint(
                name="adjustment_window_is_an_interval",
                condition=Q(effective_to__isnull=True) | Q(effective_to__gt=F("effective_from")),
            ),
            models.CheckConstraint(
                name="adjustment_value_in_range",
                condition=Q(type="percentageDiscount", value__gt=0, value__lte=1)
                | Q(type="usageDiscount", value__gt=0)
                | Q(type__in=["minimumQuantity", "maximumQuantity"], value__gte=0),
            ),
            models.CheckConstraint(
                name="adjustment_of_quantity_has_a_price",
                condition=Q(type="percentageDiscount", price__isnull=True, price_key="")
                | (~Q(type="percentageDiscount") & Q(price__isnull=False) & ~Q(price_key="")),
            ),
        ]
        indexes = [
            # Serves every calculation of an invoice.
            models.Index(fields=["subscription", "effective_from"], name="adjustment_of_subscription")
        ]

    def __str__(self) -> str:
        return f"{self.get_type_display()} {self.value.normalize():f}"
