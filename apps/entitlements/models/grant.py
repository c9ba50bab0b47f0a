from typing import ClassVar

import pghistory
import pgtrigger
from django.db import models
from django.db.models import F, Q

from apps.entitlements.models.entitlement import counts_as_change
from apps.kernel.models import CurrencyCodeField, Entity, QuantityField, UnitPriceField


@pghistory.track(exclude=["updated_at"])
class Grant(Entity):
    """Units given to an entitlement beside its allowance; it never changes, it can only be voided."""

    PREFIX: ClassVar[str] = "grt"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    entitlement = models.ForeignKey("entitlements.Entitlement", on_delete=models.PROTECT, related_name="grants")
    subscription = models.ForeignKey(
        "subscriptions.Subscription", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Whose plan gave it; it ends with it.",
    )  # fmt: skip
    amount = QuantityField()
    priority = models.SmallIntegerField(default=0, help_text="Lower numbers are used first.")
    granted_at = models.DateTimeField(help_text="When it was made, in the customer's time.")
    effective_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True, help_text="The first moment without it.")
    voided_at = models.DateTimeField(null=True, blank=True)
    recurrence = models.CharField(
        max_length=20, blank=True, help_text="ISO 8601: how often it is filled up again, from its start on."
    )
    recurs_from = models.DateTimeField(
        null=True, blank=True, help_text="The instant that filling up counts from; empty: its start."
    )
    is_withdrawn = models.BooleanField(
        default=False, help_text="Whether the end of its plan voided it, rather than a person."
    )
    rollover_min = QuantityField(default=0, help_text="Least rest that a reset keeps.")
    rollover_max = QuantityField(null=True, blank=True, help_text="Most rest that a reset keeps; empty: all.")
    idempotency_key = models.CharField(max_length=255)
    price = models.DecimalField(
        max_digits=38, decimal_places=9, null=True, blank=True, help_text="What was paid for it; empty: given."
    )
    unit_price = UnitPriceField(null=True, blank=True, help_text="What each of its units was bought for.")
    currency = CurrencyCodeField(blank=True)
    invoice_reference = models.CharField(max_length=40, blank=True, help_text="The invoice it was paid with.")

    class Meta:
        constraints = [
            models.CheckConstraint(name="grant_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(
                name="grant_expires_after_its_start",
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("effective_at")),
            ),
            models.CheckConstraint(
                name="grant_rollover_not_negative",
                condition=Q(rollover_min__gte=0) & (Q(rollover_max__isnull=True) | Q(rollover_max__gte=0)),
            ),
            models.CheckConstraint(
                name="grant_bought_for_a_price",
                condition=Q(price__isnull=True, unit_price__isnull=True, currency="", invoice_reference="")
                | (Q(price__gt=0, unit_price__gt=0) & ~Q(currency="") & ~Q(invoice_reference="")),
            ),
            models.UniqueConstraint(fields=["entitlement", "idempotency_key"], name="grant_key_once"),
            # However often, and by however many, a plan's credits are given.
            models.UniqueConstraint(
                fields=["entitlement", "subscription"],
                name="grant_of_a_plan_recurs_once",
                condition=Q(subscription__isnull=False, is_withdrawn=False) & ~Q(recurrence=""),
            ),
            models.UniqueConstraint(
                fields=["entitlement", "subscription"],
                name="grant_of_a_plan_given_once",
                condition=Q(subscription__isnull=False, recurrence=""),
            ),
            models.CheckConstraint(
                name="grant_withdrawn_with_its_plan",
                condition=Q(is_withdrawn=False) | Q(subscription__isnull=False, voided_at__isnull=False),
            ),
        ]
        triggers = [
            # What balances were computed by must stay as it was.
            pgtrigger.ReadOnly(name="grant_is_frozen", exclude=["voided_at", "is_withdrawn", "updated_at"]),
            pgtrigger.Protect(name="grant_is_kept", operation=pgtrigger.Delete),
            counts_as_change("grant"),
        ]
