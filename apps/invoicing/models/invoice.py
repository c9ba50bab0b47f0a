from decimal import Decimal
from typing import ClassVar

import pghistory
import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.kernel.models import AmountField, CurrencyCodeField, Entity


class InvoiceStatus(models.TextChoices):
    ACTIVE = "ACTIVE", "Open"
    CLOSING = "CLOSING", "Closing"
    CALCULATING = "CALCULATING", "Calculating"
    DRAFT = "DRAFT", "Draft"
    ISSUED = "ISSUED", "Issued"
    PAID = "PAID", "Paid"
    PAYMENT_FAILED = "PAYMENT_FAILED", "Payment failed"
    WRITTEN_OFF = "WRITTEN_OFF", "Written off"
    CANCELLED = "CANCELLED", "Cancelled"
    FAILED = "FAILED", "Failed"


# An invoice in one of these was issued; a number is what tells a cancelled one that was from one that was not.
FROZEN = ("ISSUED", "PAID", "PAYMENT_FAILED", "WRITTEN_OFF")
FROZEN_COLUMNS = (
    "number",
    "issued_at",
    "due_at",
    "subtotal",
    "total_tax",
    "grand_total",
    "line_count",
    "currency",
    "organization_id",
    "customer_id",
    "subscription_id",
    "sequence_number",
    "part",
    "period_start",
    "period_end",
)


# The version never changes but together with the revisions, whose history is kept.
@pghistory.track(exclude=["updated_at", "plan_version"])
class Invoice(Entity):
    """The bill of one period: live while the period is open, frozen and numbered once issued.

    Usage of a period may be billed before its end by further invoices, its parts from 1 on; its own bill, part 0,
    then bills what is left.
    """

    PREFIX: ClassVar[str] = "inv"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey("customers.Customer", on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey("subscriptions.Subscription", on_delete=models.PROTECT, related_name="+")
    sequence_number = models.PositiveIntegerField(help_text="0: upfront charges; n: the n-th billing period.")
    part = models.PositiveIntegerField(
        default=0, help_text="0: the period's own bill; n: its n-th early bill, of usage alone."
    )
    status = models.CharField(max_length=14, choices=InvoiceStatus)
    currency = CurrencyCodeField()
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    due_after = models.DateTimeField(help_text="Charges due after this, up to the next field, are on this bill.")
    due_until = models.DateTimeField()
    # The terms the period opened with; charges in advance of the next period go by that period's terms.
    price_revision_ids = ArrayField(models.BigIntegerField(), default=list, blank=True)
    next_revision_ids = ArrayField(models.BigIntegerField(), default=list, blank=True)
    plan_version = models.ForeignKey(
        "catalog.PlanVersion", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Whose commitments and caps the period opened with.",
    )  # fmt: skip
    usage_counted_at = models.DateTimeField(
        null=True, blank=True, help_text="Wall-clock moment its usage was read; what is merged later is late."
    )
    grace_period_end = models.DateTimeField()
    auto_approve = models.BooleanField(default=True)
    next_action_at = models.DateTimeField(null=True, blank=True, help_text="In the subscription's time.")
    failure_reason = models.TextField(blank=True)

    subtotal = AmountField(default=0, help_text="Live totals are computed; these are kept from calculation on.")
    total_tax = AmountField(default=0)
    grand_total = AmountField(default=0)
    paid_amount = AmountField(default=0)
    credited_amount = AmountField(default=0, help_text="What credit notes took off what was due.")
    balance_applied = AmountField(default=0, help_text="What the customer's balance paid when it was issued.")
    line_count = models.PositiveIntegerField(default=0)

    number = models.CharField(max_length=40, null=True, blank=True, editable=False)
    calculated_at = models.DateTimeField(null=True, blank=True)
    issued_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    settlement_note = models.CharField(max_length=1000, blank=True)
    metadata = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="invoice_status_known", condition=Q(status__in=InvoiceStatus.values)),
            models.CheckConstraint(
                name="invoice_period_is_an_interval", condition=Q(period_start__lte=F("period_end"))
            ),
            models.CheckConstraint(
                name="invoice_due_window_is_an_interval", condition=Q(due_after__lt=F("due_until"))
            ),
            models.CheckConstraint(
                name="invoice_grace_after_period", condition=Q(grace_period_end__gte=F("period_end"))
            ),
            models.CheckConstraint(
                name="invoice_totals_add_up", condition=Q(grand_total=F("subtotal") + F("total_tax"))
            ),
            models.CheckConstraint(
                name="invoice_paid_not_above_total",
                condition=Q(paid_amount=0) | Q(paid_amount__gt=0, paid_amount__lte=F("grand_total")),
            ),
            models.CheckConstraint(
                name="invoice_settled_not_above_total",
                condition=Q(credited_amount=0, balance_applied=0)
                | Q(
                    credited_amount__gte=0,
                    balance_applied__gte=0,
                    grand_total__gte=F("paid_amount") + F("credited_amount") + F("balance_applied"),
                ),
            ),
            models.CheckConstraint(
                name="invoice_frozen_is_numbered",
                condition=~Q(status__in=FROZEN) | Q(number__isnull=False, issued_at__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["subscription", "sequence_number", "part"], name="invoice_one_per_period_and_part"
            ),
            # Early bills are made whole: only a period's own bill is open, and Invoice 0 is of no period.
            models.CheckConstraint(
                name="invoice_early_is_calculated",
                condition=Q(part=0) | (Q(sequence_number__gte=1) & ~Q(status__in=["ACTIVE", "CLOSING", "FAILED"])),
            ),
            models.UniqueConstraint(fields=["organization", "number"], name="invoice_number_once"),
            models.UniqueConstraint(
                fields=["subscription"], name="invoice_one_open_period", condition=Q(status="ACTIVE")
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="invoice_list"),
            models.Index(fields=["customer", "-id"], name="invoice_of_customer"),
            # Serves "which closed periods are past their grace".
            models.Index(fields=["next_action_at"], name="invoice_due", condition=Q(next_action_at__isnull=False)),
        ]
        triggers = [
            # An issued document never changes; what is paid, and whether, may.
            pgtrigger.Protect(
                name="issued_is_frozen",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition(
                    "OLD.number IS NOT NULL AND ROW("
                    + ", ".join(f"OLD.{column}" for column in FROZEN_COLUMNS)
                    + ") IS DISTINCT FROM ROW("
                    + ", ".join(f"NEW.{column}" for column in FROZEN_COLUMNS)
                    + ")"
                ),
            ),
            pgtrigger.Protect(
                name="issued_stays_issued",
                operation=pgtrigger.Update,
                condition=pgtrigger.Q(old__number__isnull=False)
                & ~pgtrigger.Q(new__status__in=(*FROZEN, "CANCELLED")),
            ),
            pgtrigger.Protect(
                name="numbered_is_kept",
                operation=pgtrigger.Delete,
                condition=pgtrigger.Q(old__number__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.number or self.public_id

    @property
    def is_early(self) -> bool:
        """Whether it bills usage of a period that goes on."""
        return self.part > 0

    @property
    def label(self) -> str:
        """What it bills, for people."""
        if self.sequence_number == 0:
            return "Invoice 0"
        period = f"Period {self.sequence_number}"
        return f"{period}, early bill {self.part}" if self.part else period

    @property
    def unpaid_amount(self) -> Decimal:
        """What is still due: not paid, not credited, and not paid from the customer's balance."""
        return self.grand_total - self.settled_amount

    @property
    def settled_amount(self) -> Decimal:
        return self.paid_amount + self.credited_amount + self.balance_applied
