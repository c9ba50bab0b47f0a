from typing import ClassVar

import pghistory
import pgtrigger
from django.db import models
from django.db.models import F, Q

from apps.kernel.models import CurrencyCodeField, Entity, UnitPriceField


class SlotPool(Entity):
    """What a customer runs at once of a feature; whoever takes a slot holds its row for that moment.

    It outlives entitlements: slots that are held go on when a plan changes.
    """

    PREFIX: ClassVar[str] = "slp"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey("customers.Customer", on_delete=models.PROTECT, related_name="+")
    feature = models.ForeignKey("catalog.Feature", on_delete=models.PROTECT, related_name="+")
    test_clock = models.ForeignKey(
        "subscriptions.TestClock", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Whose time leases run by; empty: the wall clock's.",
    )  # fmt: skip

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer", "feature"], name="slotpool_once")]
        indexes = [models.Index(fields=["organization", "-id"], name="slotpool_list")]

    def __str__(self) -> str:
        return f"{self.feature} of {self.customer}"


class SlotEnd(models.TextChoices):
    RELEASED = "released", "Released"
    EXPIRED = "expired", "Expired"
    FORCED = "forced", "Forced"


class Slot(Entity):
    """One of the things that run at once, held from when it was acquired until it is released or forgotten."""

    PREFIX: ClassVar[str] = "slt"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    pool = models.ForeignKey(SlotPool, on_delete=models.PROTECT, related_name="slots")
    holder = models.CharField(max_length=255, blank=True, help_text="What holds it, in the caller's words.")
    acquired_at = models.DateTimeField(help_text="In the customer's time.")
    lease_seconds = models.PositiveIntegerField(help_text="How long it is held without a heartbeat.")
    expires_at = models.DateTimeField(help_text="The first moment it is not held, unless it ends before.")
    ended_at = models.DateTimeField(null=True, blank=True)
    end = models.CharField(max_length=8, choices=SlotEnd, blank=True)
    idempotency_key = models.CharField(max_length=255)

    class Meta:
        constraints = [
            models.CheckConstraint(name="slot_lease_positive", condition=Q(lease_seconds__gt=0)),
            models.CheckConstraint(name="slot_expires_after_its_start", condition=Q(expires_at__gt=F("acquired_at"))),
            models.CheckConstraint(
                name="slot_ends_with_a_reason",
                condition=Q(ended_at__isnull=True, end="")
                | Q(ended_at__gte=F("acquired_at"), ended_at__lte=F("expires_at"), end__in=SlotEnd.values),
            ),
            models.UniqueConstraint(fields=["pool", "idempotency_key"], name="slot_key_once"),
        ]
        indexes = [
            # Not by expiry: a heartbeat then changes nothing that is indexed.
            models.Index(fields=["pool"], name="slot_held", condition=Q(ended_at__isnull=True)),
            models.Index(fields=["pool", "acquired_at"], name="slot_of_pool"),
            models.Index(fields=["organization", "-id"], name="slot_list"),
        ]
        triggers = [
            pgtrigger.Protect(name="slot_end_is_final", operation=pgtrigger.Update, condition=pgtrigger.Q(
                old__ended_at__isnull=False
            )),
            pgtrigger.Protect(name="slot_is_kept", operation=pgtrigger.Delete),
        ]  # fmt: skip


@pghistory.track(exclude=["updated_at"])
class SlotBurst(Entity):
    """More slots for some time, beside what the plan gives: given, or bought."""

    PREFIX: ClassVar[str] = "sbt"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    pool = models.ForeignKey(SlotPool, on_delete=models.PROTECT, related_name="bursts")
    slots = models.PositiveIntegerField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(help_text="The first moment without them.")
    reason = models.CharField(max_length=255, blank=True)
    voided_at = models.DateTimeField(null=True, blank=True)
    idempotency_key = models.CharField(max_length=255)
    price = models.DecimalField(
        max_digits=16, decimal_places=9, null=True, blank=True, help_text="What was paid for it; empty: given."
    )
    unit_price = UnitPriceField(null=True, blank=True, help_text="What each of its slots was bought for.")
    currency = CurrencyCodeField(blank=True)
    invoice_reference = models.CharField(max_length=40, blank=True, help_text="The invoice it was paid with.")

    class Meta:
        constraints = [
            models.CheckConstraint(name="slotburst_slots_positive", condition=Q(slots__gt=0)),
            models.CheckConstraint(name="slotburst_ends_after_its_start", condition=Q(ends_at__gt=F("starts_at"))),
            models.CheckConstraint(
                name="slotburst_bought_for_a_price",
                condition=Q(price__isnull=True, unit_price__isnull=True, currency="", invoice_reference="")
                | (Q(price__gt=0, unit_price__gt=0) & ~Q(currency="") & ~Q(invoice_reference="")),
            ),
            models.UniqueConstraint(fields=["pool", "idempotency_key"], name="slotburst_key_once"),
            # What is paid once is there once.
            models.UniqueConstraint(
                fields=["invoice_reference"], name="slotburst_once_of_an_invoice", condition=~Q(invoice_reference="")
            ),
        ]
        triggers = [
            pgtrigger.ReadOnly(name="slotburst_is_frozen", exclude=["voided_at", "updated_at"]),
            pgtrigger.Protect(name="slotburst_is_kept", operation=pgtrigger.Delete),
        ]
