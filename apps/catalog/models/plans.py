from typing import ClassVar

import pghistory
from django.db import models
from django.db.models import Q

from apps.catalog.domain.cadences import OF_DAYS, OF_MONTHS
from apps.catalog.models.prices import Price
from apps.catalog.models.products import CatalogEntity, Product
from apps.kernel.models import CurrencyCodeField, Entity


class TaxBehavior(models.TextChoices):
    EXCLUSIVE = "exclusive", "Added on top"
    INCLUSIVE = "inclusive", "Contained in prices"


class Proration(models.TextChoices):
    SECOND = "second", "By elapsed seconds"
    DAY = "day", "By local calendar days"
    NONE = "none", "Never"


class TrialUsage(models.TextChoices):
    BILLED = "billed", "Billed"
    FREE = "free", "Free"


@pghistory.track()
class Plan(CatalogEntity):
    """A bundle of prices customers subscribe to; the set itself stands on its versions."""

    PREFIX: ClassVar[str] = "plan"

    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="plans")
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    invoice_display_name = models.CharField(max_length=255, blank=True)
    currency = CurrencyCodeField()
    billing_cadence = models.CharField(
        max_length=20, default="P1M", help_text="ISO 8601: days or weeks, or months or years, such as P14D or P1M."
    )
    billing_anchor = models.DateTimeField(
        null=True,
        blank=True,
        help_text="All subscriptions bill on its recurrences; empty: each on its own start.",
    )
    billing_day = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="Instead: the day that periods begin on at the customer's midnight. 1 to 31 of the month, where a "
        "short month gives its last; for weeks 1 (Monday) to 7.",
    )
    billing_month = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="For periods of several months: one that a period begins in. Empty: January."
    )
    billing_version = models.PositiveSmallIntegerField(default=1)
    tax_behavior = models.CharField(max_length=9, choices=TaxBehavior, default=TaxBehavior.EXCLUSIVE)
    default_tax_rate = models.DecimalField(max_digits=7, decimal_places=4, default=0, help_text="Percent.")
    default_tax_code = models.CharField(max_length=30, default="eservice")
    proration = models.CharField(max_length=6, choices=Proration, default=Proration.SECOND)
    credit_unused_at_end = models.BooleanField(
        default=False, help_text="Credit the unused part of prepaid fees when a subscription is terminated."
    )
    term_periods = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="For how many periods a subscription is agreed; empty: without a term."
    )
    auto_renew = models.BooleanField(
        default=True, help_text="Whether a term is followed by another; otherwise the subscription ends with it."
    )
    trial_period = models.CharField(
        max_length=20,
        blank=True,
        help_text="ISO 8601, such as P14D: no fees for that long, once for each customer and product. Empty: none.",
    )
    trial_usage = models.CharField(
        max_length=6, choices=TrialUsage, default=TrialUsage.BILLED, help_text="What usage costs in a trial."
    )
    renewal_reminder_enabled = models.BooleanField(default=True)
    renewal_reminder_days = models.PositiveSmallIntegerField(default=3)
    stable_price_ids = models.BooleanField(default=True)
    version_effective = models.CharField(
        max_length=21,
        choices=[("end_of_current_period", "End of current period"), ("immediate", "Immediate")],
        default="end_of_current_period",
    )
    usage_billing_interval = models.CharField(
        max_length=20,
        default="PT1M",
        help_text="Usage billed as it comes: the least time between two bills, such as PT1M, PT1H or P1D.",
    )
    default_version = models.ForeignKey(
        "catalog.PlanVersion", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(name="plan_currency_is_code", condition=Q(currency__regex=r"^[A-Z]{3}$")),
            models.CheckConstraint(
                name="plan_cadence_is_a_step",
                condition=Q(billing_cadence__regex=r"[1-9]")
                & (Q(billing_cadence__regex=OF_MONTHS) | Q(billing_cadence__regex=OF_DAYS)),
            ),
            models.CheckConstraint(
                name="plan_one_anchor",
                condition=Q(billing_day__isnull=True, billing_month__isnull=True)
                | Q(billing_day__gte=1, billing_day__lte=31, billing_anchor__isnull=True),
                violation_error_message="Give an anchor or a billing day, not both.",
            ),
            models.CheckConstraint(
                name="plan_billing_month_of_a_year",
                condition=Q(billing_month__isnull=True) | Q(billing_month__gte=1, billing_month__lte=12),
            ),
            models.CheckConstraint(
                name="plan_term_of_periods",
                condition=Q(term_periods__isnull=True) | Q(term_periods__gte=1, term_periods__lte=1200),
            ),
            models.CheckConstraint(
                name="plan_trial_is_a_length",
                condition=Q(trial_period="")
                | (
                    Q(trial_period__regex=r"[0-9]")
                    & (Q(trial_period__regex=OF_MONTHS) | Q(trial_period__regex=OF_DAYS))
                ),
            ),
            models.CheckConstraint(name="plan_trial_usage_known", condition=Q(trial_usage__in=TrialUsage.values)),
            models.CheckConstraint(
                name="plan_reminder_days",
                condition=Q(renewal_reminder_days__gte=1, renewal_reminder_days__lte=30),
            ),
            models.CheckConstraint(
                name="plan_tax_rate_is_percent",
                condition=Q(default_tax_rate__gte=0, default_tax_rate__lte=100),
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="plan_list")]


class PlanVersionStatus(models.TextChoices):
    PUBLISHED = "published", "Published"
    ARCHIVED = "archived", "Archived"


@pghistory.track()
class PlanVersion(Entity):
    """A frozen edition of a plan's price set; subscriptions pin one."""

    PREFIX: ClassVar[str] = "pver"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    status = models.CharField(max_length=9, choices=PlanVersionStatus, default=PlanVersionStatus.PUBLISHED)
    based_on = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    published_at = models.DateTimeField()
    billing_thresholds = models.JSONField(
        null=True, blank=True, help_text="Amounts of usage at which it is billed before the end of the period."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["plan", "number"], name="planversion_number_once")]

    def __str__(self) -> str:
        return f"{self.plan} v{self.number}"


@pghistory.track()
class PlanVersionPrice(models.Model):
    """One slot of a plan version: a stable key and the price that fills it."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="slots")
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="slots")
    key = models.CharField(max_length=64)
    position = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["plan_version", "key"], name="planslot_key_once"),
            models.UniqueConstraint(fields=["plan_version", "price"], name="planslot_price_once"),
            models.CheckConstraint(
                name="planslot_key_is_plain", condition=Q(key__regex=r"^[a-z0-9][a-z0-9_-]{0,63}$")
            ),
        ]

    def __str__(self) -> str:
        return self.key
