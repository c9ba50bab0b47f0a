from decimal import Decimal
from typing import ClassVar

import pghistory
import pgtrigger
from django.db import models
from django.db.models import F, Q

from apps.invoicing.models.purchase_sql import IS_ITS_INVOICE, KEY_IS_NO_GRANTS
from apps.kernel.models import CurrencyCodeField, Entity, QuantityField, UnitPriceField

# What is asked for one: at least what payment providers take, at most what 52 bits of a billionth hold.
LEAST_PRICE, MOST_PRICE = Decimal("0.50"), Decimal("4503599.62")


class PurchaseStatus(models.TextChoices):
    OPEN = "open", "Open"
    PAID = "paid", "Paid"
    EXPIRED = "expired", "Expired"
    CANCELLED = "cancelled", "Cancelled"


@pghistory.track(exclude=["updated_at"])
class GrantPurchase(Entity):
    """Units that a customer is about to buy, or bought: paying its invoice makes the grant, once.

    What is sold never changes; what becomes of it is decided with its invoice, in the same transaction.
    """

    PREFIX: ClassVar[str] = "gpu"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    entitlement = models.ForeignKey("entitlements.Entitlement", on_delete=models.PROTECT, related_name="+")
    invoice = models.OneToOneField("invoicing.Invoice", on_delete=models.PROTECT, related_name="+")
    grant = models.OneToOneField(
        "entitlements.Grant", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="What it was paid for; a right that took the first one's place may hold it.",
    )  # fmt: skip
    status = models.CharField(max_length=10, choices=PurchaseStatus, default=PurchaseStatus.OPEN)
    amount = QuantityField(help_text="Units.")
    price = models.DecimalField(max_digits=16, decimal_places=9, help_text="Of all of them, as asked, without tax.")
    unit_price = UnitPriceField(help_text="Of one.")
    currency = CurrencyCodeField()
    effective_at = models.DateTimeField(null=True, blank=True, help_text="Empty: from its payment on.")
    expires_at = models.DateTimeField(null=True, blank=True)
    rollover_min = QuantityField(default=0)
    rollover_max = QuantityField(null=True, blank=True, help_text="Empty: all.")
    idempotency_key = models.CharField(max_length=255)
    success_url = models.CharField(max_length=2000, blank=True)
    cancel_url = models.CharField(max_length=2000, blank=True)
    placed_at = models.DateTimeField(help_text="In the customer's time, as all of these.")
    payment_expires_at = models.DateTimeField(help_text="The first moment at which it cannot be paid any more.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When it was paid, or given up.")

    class Meta:
        constraints = [
            models.CheckConstraint(name="purchase_status_known", condition=Q(status__in=PurchaseStatus.values)),
            models.CheckConstraint(
                name="purchase_price_in_bounds", condition=Q(price__gte=LEAST_PRICE, price__lte=MOST_PRICE)
            ),
            models.CheckConstraint(
                name="purchase_of_something", condition=Q(amount__gt=0, unit_price__gt=0) & ~Q(currency="")
            ),
            models.CheckConstraint(
                name="purchase_paid_has_grant",
                condition=Q(status="paid", grant__isnull=False) | (~Q(status="paid") & Q(grant__isnull=True)),
            ),
            models.CheckConstraint(
                name="purchase_ended_has_instant",
                condition=Q(status="open", ended_at__isnull=True) | (~Q(status="open") & Q(ended_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="purchase_grant_is_an_interval",
                condition=Q(expires_at__isnull=True)
                | Q(expires_at__gte=F("payment_expires_at"))
                & (Q(effective_at__isnull=True) | Q(expires_at__gt=F("effective_at"))),
            ),
            models.CheckConstraint(
                name="purchase_can_be_paid_for_a_time", condition=Q(payment_expires_at__gt=F("placed_at"))
            ),
            models.CheckConstraint(
                name="purchase_rollover_not_negative",
                condition=Q(rollover_min__gte=0) & (Q(rollover_max__isnull=True) | Q(rollover_max__gte=0)),
            ),
            models.UniqueConstraint(fields=["entitlement", "idempotency_key"], name="purchase_key_once"),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="purchase_list"),
            # Serves "which are not paid in time".
            models.Index(fields=["payment_expires_at"], name="purchase_due", condition=Q(status="open")),
        ]
        triggers = [
            pgtrigger.ReadOnly(name="purchase_is_agreed", exclude=["status", "grant", "ended_at", "updated_at"]),
            pgtrigger.Protect(
                name="purchase_ends_once", operation=pgtrigger.Update, condition=~pgtrigger.Q(old__status="open")
            ),
            pgtrigger.Protect(name="purchase_is_kept", operation=pgtrigger.Delete),
            # A key is either a grant's that was given or a purchase's.
            pgtrigger.Trigger(
                name="purchase_key_is_no_grants",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func=KEY_IS_NO_GRANTS,
            ),
            # It ends as its invoice does, and what was bought is what was paid.
            pgtrigger.Trigger(
                name="purchase_is_its_invoice",
                when=pgtrigger.After,
                timing=pgtrigger.Deferred,
                operation=pgtrigger.Insert | pgtrigger.Update,
                func=IS_ITS_INVOICE,
            ),
        ]

    def __str__(self) -> str:
        return self.public_id
