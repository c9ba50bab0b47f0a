from typing import ClassVar

import pghistory
import pgtrigger
from django.db import models
from django.db.models import F, Q

from apps.kernel.models import AmountField, Entity, QuantityField


class UsageLook(models.Model):
    """When the usage of a subscription's open period was looked at last, and when it must be at the latest."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    subscription = models.OneToOneField(
        "subscriptions.Subscription", primary_key=True, on_delete=models.PROTECT, related_name="+"
    )
    looked_at = models.DateTimeField(help_text="On the wall clock; usage that is merged later is looked at again.")
    period_number = models.PositiveIntegerField()
    due_at = models.DateTimeField(
        null=True, blank=True, help_text="In the subscription's time: when it may be billed again."
    )
    problem = models.TextField(blank=True, help_text="Why the last look failed.")

    def __str__(self) -> str:
        return str(self.subscription)


class PassedThreshold(models.Model):
    """Usage of a subscription reached an amount, once for each period (or for its life, as period 0)."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey("subscriptions.Subscription", on_delete=models.PROTECT, related_name="+")
    period_number = models.PositiveIntegerField(help_text="0: of the whole life of the subscription.")
    threshold = AmountField()
    amount = AmountField(help_text="What the usage came to when it was seen.")
    passed_at = models.DateTimeField(help_text="In the subscription's time.")
    invoice = models.ForeignKey(
        "invoicing.Invoice",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The early bill; empty when all had been billed.",
    )

    class Meta:
        constraints = [
            # Two workers, or the job twice, bill a threshold once.
            models.UniqueConstraint(
                fields=["subscription", "period_number", "threshold"], name="threshold_passed_once_a_period"
            ),
            models.CheckConstraint(
                name="threshold_is_reached", condition=Q(threshold__gt=0, amount__gte=F("threshold"))
            ),
        ]
        triggers = [pgtrigger.Protect(name="passed_is_frozen", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.threshold.normalize():f} of {self.subscription}"


class AlertType(models.TextChoices):
    USAGE_AMOUNT = "usage_amount", "Amount of usage"
    USAGE_QUANTITY = "usage_quantity", "Quantity of a metric"


class AlertScope(models.TextChoices):
    PERIOD = "period", "Each period"
    LIFETIME = "lifetime", "Since the start"


class AlertDirection(models.TextChoices):
    RISING = "rising", "Rising"
    FALLING = "falling", "Falling"


# What a look remembers is no change of the alert.
@pghistory.track(exclude=["updated_at", "seen_value", "seen_period"])
class Alert(Entity):
    """What somebody wants to be told of: usage of a subscription that passes a value."""

    PREFIX: ClassVar[str] = "alert"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey("subscriptions.Subscription", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=255)
    type = models.CharField(max_length=14, choices=AlertType)
    metric = models.ForeignKey(
        "catalog.BillableMetric",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Whose quantity, or whose amount; empty: the amount of all usage.",
    )
    scope = models.CharField(max_length=8, choices=AlertScope, default=AlertScope.PERIOD)
    direction = models.CharField(max_length=7, choices=AlertDirection, default=AlertDirection.RISING)
    thresholds = models.JSONField(default=list, blank=True, help_text="Decimal strings, ascending.")
    every = models.CharField(max_length=60, blank=True, help_text="The step that repeats beyond the last of them.")
    seen_value = QuantityField(null=True, blank=True, help_text="What the last look saw.")
    seen_period = models.PositiveIntegerField(default=0)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="alert_words_known",
                condition=Q(
                    type__in=AlertType.values, scope__in=AlertScope.values, direction__in=AlertDirection.values
                ),
            ),
            models.CheckConstraint(
                name="alert_of_quantity_has_a_metric",
                condition=Q(type="usage_amount") | Q(metric__isnull=False),
            ),
            models.CheckConstraint(
                name="alert_falling_is_of_a_quantity_in_a_period",
                condition=Q(direction="rising") | Q(type="usage_quantity", scope="period"),
            ),
            models.CheckConstraint(name="alert_has_a_mark", condition=~Q(thresholds=[], every="")),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="alert_list"),
            # Serves every look at a subscription.
            models.Index(fields=["subscription"], name="alert_of_subscription", condition=Q(deleted_at__isnull=True)),
        ]


class AlertFiring(Entity):
    """An alert fired: once for each of its values and each period (or for the subscription's life, as period 0)."""

    PREFIX: ClassVar[str] = "firing"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    alert = models.ForeignKey(Alert, on_delete=models.PROTECT, related_name="firings")
    period_number = models.PositiveIntegerField()
    threshold = QuantityField()
    value = QuantityField(help_text="What was seen.")
    fired_at = models.DateTimeField(help_text="In the subscription's time.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["alert", "period_number", "threshold"], name="alert_fires_once_a_period"),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="alertfiring_list")]
        triggers = [pgtrigger.Protect(name="firing_is_frozen", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.alert} at {self.threshold.normalize():f}"
