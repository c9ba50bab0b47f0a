from typing import ClassVar

import pghistory
from django.db import models
from django.db.models import F, Q

from apps.catalog.models.plans import Plan
from apps.catalog.models.prices import Price
from apps.catalog.models.products import BillableMetric
from apps.kernel.models import AmountField, CurrencyCodeField, Entity


class CouponDuration(models.TextChoices):
    ONCE = "once", "Once"
    REPEATING = "repeating", "For a number of invoices"
    FOREVER = "forever", "Forever"


@pghistory.track()
class Coupon(Entity):
    """A discount that customers redeem by its code; what it takes off never changes, only who may still redeem it."""

    PREFIX: ClassVar[str] = "cou"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    code = models.CharField(max_length=64, help_text="What is redeemed: letters, digits, - and _.")
    name = models.CharField(max_length=255, help_text="What customers read on their invoices.")
    percentage = models.DecimalField(
        max_digits=7, decimal_places=6, null=True, blank=True, help_text="A fraction, such as 0.2 for 20 %."
    )
    amount = AmountField(null=True, blank=True, help_text="Instead of a percentage: a sum in the currency below.")
    currency = CurrencyCodeField(blank=True)
    duration = models.CharField(max_length=9, choices=CouponDuration)
    duration_periods = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="How many invoices it reduces, where it repeats."
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Nobody redeems it from then on.")
    max_redemptions = models.PositiveIntegerField(null=True, blank=True, help_text="By all customers; empty: any.")
    max_redemptions_per_customer = models.PositiveIntegerField(
        null=True, blank=True, default=1, help_text="Empty: any."
    )
    redemption_count = models.PositiveIntegerField(default=0)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="coupon_code_is_plain", condition=Q(code__regex=r"^[A-Za-z0-9_-]{1,64}$")),
            models.UniqueConstraint(
                fields=["organization", "code"], name="coupon_code_once", condition=Q(archived_at__isnull=True)
            ),
            models.CheckConstraint(
                name="coupon_takes_a_percentage_or_an_amount",
                condition=Q(percentage__gt=0, percentage__lte=1, amount__isnull=True, currency="")
                | Q(percentage__isnull=True, amount__gt=0, currency__regex=r"^[A-Z]{3}$"),
            ),
            models.CheckConstraint(name="coupon_duration_known", condition=Q(duration__in=CouponDuration.values)),
            models.CheckConstraint(
                name="coupon_repeats_a_number_of_times",
                condition=Q(duration="repeating", duration_periods__gte=1)
                | (~Q(duration="repeating") & Q(duration_periods__isnull=True)),
            ),
            # The law behind the locked counter: whoever counts, no more are redeemed than there are.
            models.CheckConstraint(
                name="coupon_redemptions_within_limit",
                condition=Q(max_redemptions__isnull=True) | Q(redemption_count__lte=F("max_redemptions")),
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="coupon_list")]

    def __str__(self) -> str:
        return self.code


class CouponTarget(models.Model):
    """What a coupon is limited to; a coupon without any is off everything it can be off."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    coupon = models.ForeignKey(Coupon, on_delete=models.PROTECT, related_name="targets")
    price = models.ForeignKey(Price, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    metric = models.ForeignKey(BillableMetric, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    plan = models.ForeignKey(Plan, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="coupontarget_is_one_thing",
                condition=Q(price__isnull=False, metric__isnull=True, plan__isnull=True)
                | Q(price__isnull=True, metric__isnull=False, plan__isnull=True)
                | Q(price__isnull=True, metric__isnull=True, plan__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["coupon", "price", "metric", "plan"], name="coupontarget_once", nulls_distinct=False
            ),
        ]

    def __str__(self) -> str:
        return str(self.price or self.metric or self.plan)
