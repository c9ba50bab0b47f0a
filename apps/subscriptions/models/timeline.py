from typing import ClassVar

import pghistory
import pgtrigger
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.db import models
from django.db.models import F, Q

from apps.kernel.models import Entity, QuantityField, UnitPriceField
from apps.subscriptions.domain.timeline import CLOSED, OVERRIDE, OWNED

KEY = r"^[a-z0-9][a-z0-9_-]{0,63}$"


class IntervalKind(models.TextChoices):
    OVERRIDE = OVERRIDE, "Override of a line of the plan"
    OWNED = OWNED, "Price of this subscription only"
    CLOSED = CLOSED, "Closed"


class ChangeReason(models.TextChoices):
    COMMERCIAL = "commercial", "Commercial"
    CORRECTION = "correction", "Correction"
    MIGRATION = "migration", "Migration"
    UNSPECIFIED = "unspecified", "Unspecified"


class SubscriptionIntervalChange(Entity):
    """One change of a subscription's prices or quantities: what, when, by whom and why."""

    PREFIX: ClassVar[str] = "pich"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey("subscriptions.Subscription", on_delete=models.PROTECT, related_name="+")
    change_reason = models.CharField(max_length=12, choices=ChangeReason, default=ChangeReason.UNSPECIFIED)
    description = models.TextField(blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    made_by = models.CharField(max_length=255, blank=True)
    made_at = models.DateTimeField(help_text="In the subscription's time.")
    is_undoable = models.BooleanField(default=False, help_text="A change of quantities, which undoing takes back.")
    intervals = models.JSONField(default=list, help_text="Each interval before and after, in the wire's form.")

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-id"], name="intervalchange_list"),
            models.Index(fields=["subscription", "-id"], name="intervalchange_of_sub"),
        ]
        triggers = [
            pgtrigger.Protect(name="interval_change_is_frozen", operation=pgtrigger.Update | pgtrigger.Delete)
        ]


@pghistory.track(exclude=["updated_at"])
class SubscriptionInterval(Entity):
    """A stretch of time in which one price of a subscription differs from its plan.

    There is no row where the plan's own terms hold: overrides are differences.
    """

    PREFIX: ClassVar[str] = "pint"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey(
        "subscriptions.Subscription", on_delete=models.PROTECT, related_name="price_intervals"
    )
    plan_version = models.ForeignKey(
        "catalog.PlanVersion", on_delete=models.PROTECT, related_name="+", help_text="That it was made under."
    )
    price_key = models.CharField(max_length=64, help_text="The line of the plan, or a key of its own.")
    kind = models.CharField(max_length=8, choices=IntervalKind)
    price = models.ForeignKey("catalog.Price", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    price_revision = models.ForeignKey(
        "catalog.PriceRevision", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="The terms that a price of this subscription only keeps.",
    )  # fmt: skip
    unit_price = UnitPriceField(null=True, blank=True, help_text="Empty: the catalogue's.")
    span = DateTimeRangeField(help_text="Half-open; without an upper bound it goes on.")
    bills_at = models.DateTimeField(null=True, blank=True, help_text="When a price that is charged once falls due.")

    class Meta:
        constraints = [
            # Its index also serves every calculation of an invoice.
            ExclusionConstraint(
                name="interval_no_overlap",
                expressions=[
                    ("subscription", RangeOperators.EQUAL),
                    ("price_key", RangeOperators.EQUAL),
                    ("span", RangeOperators.OVERLAPS),
                ],
            ),
            # A price is billed under one key at a time.
            ExclusionConstraint(
                name="interval_price_under_one_key",
                expressions=[
                    ("subscription", RangeOperators.EQUAL),
                    ("price", RangeOperators.EQUAL),
                    ("span", RangeOperators.OVERLAPS),
                ],
                condition=Q(kind="owned"),
            ),
            models.CheckConstraint(
                name="interval_is_an_interval", condition=Q(span__isempty=False, span__lower_inf=False)
            ),
            models.CheckConstraint(name="interval_kind_known", condition=Q(kind__in=["override", "owned", "closed"])),
            models.CheckConstraint(name="interval_key_is_plain", condition=Q(price_key__regex=KEY)),
            models.CheckConstraint(
                name="interval_owned_has_a_price",
                condition=Q(kind="owned", price__isnull=False, price_revision__isnull=False)
                | (~Q(kind="owned") & Q(price__isnull=True, price_revision__isnull=True, bills_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="interval_closed_is_for_good",
                condition=~Q(kind="closed") | Q(span__upper_inf=True, unit_price__isnull=True),
            ),
            models.CheckConstraint(
                name="interval_bills_within",
                condition=Q(bills_at__isnull=True) | Q(span__contains=F("bills_at")),
            ),
        ]

    def __str__(self) -> str:
        return self.price_key


@pghistory.track()
class SubscriptionQuantity(models.Model):
    """From an instant on, one line of a subscription has this quantity.

    With an interval it is the interval's own, which goes before the line's while the interval lasts.
    """

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey(
        "subscriptions.Subscription", on_delete=models.PROTECT, related_name="price_quantities"
    )
    interval = models.ForeignKey(
        SubscriptionInterval, null=True, blank=True, on_delete=models.CASCADE, related_name="quantities"
    )
    change = models.ForeignKey(
        SubscriptionIntervalChange, null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="What set it; empty: chosen when the subscription was made.",
    )  # fmt: skip
    price_key = models.CharField(max_length=64)
    effective_at = models.DateTimeField()
    quantity = QuantityField()

    class Meta:
        constraints = [
            models.CheckConstraint(name="quantity_not_negative", condition=Q(quantity__gte=0)),
            models.CheckConstraint(name="quantity_key_is_plain", condition=Q(price_key__regex=KEY)),
            # Its index also serves every calculation of an invoice.
            models.UniqueConstraint(
                fields=["subscription", "price_key", "effective_at"],
                name="quantity_once_at_a_time",
                condition=Q(interval__isnull=True),
            ),
            models.UniqueConstraint(
                fields=["interval", "effective_at"],
                name="quantity_of_interval_once_at_a_time",
                condition=Q(interval__isnull=False),
            ),
        ]
        indexes = [models.Index(fields=["subscription"], name="quantity_of_subscription")]

    def __str__(self) -> str:
        return f"{self.price_key} × {self.quantity.normalize():f}"
