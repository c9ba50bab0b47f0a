from typing import ClassVar

import pghistory
from django.db import models
from django.db.models import F, Q

from apps.kernel.models import Entity


@pghistory.track()
class AppliedCoupon(Entity):
    """A coupon that a customer redeemed, for all its subscriptions or for one and those that replace it.

    What it took off so far is nowhere counted: it is the sum of its lines on invoices that are calculated and not
    cancelled.
    """

    PREFIX: ClassVar[str] = "cpa"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    coupon = models.ForeignKey("catalog.Coupon", on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey("customers.Customer", on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey(
        "subscriptions.Subscription", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Empty: every subscription of the customer.",
    )  # fmt: skip
    placed_at = models.DateTimeField(help_text="In the customer's time; periods that were over by then go without.")
    removed_at = models.DateTimeField(null=True, blank=True, help_text="Periods that end later go without.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="appliedcoupon_removed_after_placed",
                condition=Q(removed_at__isnull=True) | Q(removed_at__gte=F("placed_at")),
            )
        ]
        indexes = [
            # Serves every calculation of an invoice, and the limit per customer.
            models.Index(fields=["customer", "id"], name="appliedcoupon_of_customer"),
            models.Index(fields=["coupon", "-id"], name="appliedcoupon_of_coupon"),
        ]

    def __str__(self) -> str:
        return f"{self.coupon} for {self.subscription or self.customer}"
