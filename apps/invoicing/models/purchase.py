from decimal import Decimal
from typing import ClassVar

import pghistory
import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Floor

from apps.invoicing.models.purchase_sql import IS_ITS_INVOICE, KEY_IS_NOT_GIVEN
from apps.kernel.models import CurrencyCodeField, Entity, QuantityField, UnitPriceField

# What is asked for one: at least what payment providers take, at most what 52 bits of a billionth hold.
LEAST_PRICE, MOST_PRICE = Decimal("0.50"), Decimal("4503599.62")
MOST_SLOTS = 1_000_000


class PurchaseStatus(models.TextChoices):
    OPEN = "open", "Open"
    PAID = "paid", "Paid"
    EXPIRED = "expired", "Expired"
    CANCELLED = "cancelled", "Cancelled"


@pghistory.track(exclude=["updated_at"])
class Purchase(Entity):
    """What a customer is about to buy, or bought: units, or a burst of slots. Paying its invoice makes it, once.

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
    pool = models.ForeignKey(
        "entitlements.SlotPool", null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False,
        help_text="Whose slots it sells more of; empty: it sells units.",
    )  # fmt: skip
    burst = models.OneToOneField(
        "entitlements.SlotBurst", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="What it was paid for, of slots.",
    )  # fmt: skip
    status = models.CharField(max_length=10, choices=PurchaseStatus, default=PurchaseStatus.OPEN)
    amount = QuantityField(help_text="Units, or slots.")
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
                name="purchase_paid_has_what_it_sold",
                condition=Q(status="paid", pool__isnull=True, grant__isnull=False, burst__isnull=True)
                | Q(status="paid", pool__isnull=False, grant__isnull=True, burst__isnull=False)
                | (~Q(status="paid") & Q(grant__isnull=True, burst__isnull=True)),
            ),
            models.CheckConstraint(
                name="purchase_ended_has_instant",
                condition=Q(status="open", ended_at__isnull=True) | (~Q(status="open") & Q(ended_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="purchase_is_of_an_interval",
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
            # A burst has an end, and slots are not used up, so that no reset leaves anything of them.
            models.CheckConstraint(
                name="purchase_of_slots_is_a_burst",
                condition=Q(pool__isnull=True)
                | Q(
                    amount=Floor("amount"),
                    amount__lte=MOST_SLOTS,
                    expires_at__isnull=False,
                    rollover_min=0,
                    rollover_max__isnull=True,
                ),
            ),
            models.UniqueConstraint(fields=["entitlement", "idempotency_key"], name="purchase_key_once"),
            # Bursts outlive rights, and share their keys with those that are given.
            models.UniqueConstraint(fields=["pool", "idempotency_key"], name="purchase_key_once_of_a_pool"),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="purchase_list"),
            # Serves "which are not paid in time".
            models.Index(fields=["payment_expires_at"], name="purchase_due", condition=Q(status="open")),
        ]
        triggers = [
            pgtrigger.ReadOnly(
                name="purchase_is_agreed", exclude=["status", "grant", "burst", "ended_at", "updated_at"]
            ),
            pgtrigger.Protect(
                name="purchase_ends_once", operation=pgtrigger.Update, condition=~pgtrigger.Q(old__status="open")
            ),
            pgtrigger.Protect(name="purchase_is_kept", operation=pgtrigger.Delete),
            # A key is either that of a grant or burst which was given, or a purchase's.
            pgtrigger.Trigger(
                name="purchase_key_is_not_given",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func=KEY_IS_NOT_GIVEN,
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

    @property
    def is_burst(self) -> bool:
        """Whether it sells slots for a time, rather than units."""
        return self.pool_id is not None
