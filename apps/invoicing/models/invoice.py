from decimal import Decimal
from typing import Any, ClassVar

import pghistory
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.invoicing.models.invoice_status import FROZEN, UNCALCULATED, InvoiceStatus
from apps.invoicing.models.invoice_triggers import TRIGGERS
from apps.kernel.history import in_sets
from apps.kernel.models import AmountField, CurrencyCodeField, Entity

# What a calculation writes.
CALCULATED_COLUMNS = (
    "status",
    "next_action_at",
    "subtotal",
    "total_tax",
    "grand_total",
    "line_count",
    "calculated_at",
    "usage_counted_at",
    "failure_reason",
)


# Versions never change but together with the revisions, whose history is kept; the clock never changes.
WITHOUT_HISTORY = ("plan_version", "opened_version", "test_clock")


@pghistory.track(
    # Every period closes at its end.
    *in_sets(silent=WITHOUT_HISTORY, unless="OLD.status = 'ACTIVE' AND NEW.status = 'CLOSING'"),
    exclude=["updated_at", *WITHOUT_HISTORY],
)
class Invoice(Entity):
    """The bill of one period: live while the period is open, frozen and numbered once issued.

    Usage of a period may be billed before its end by further invoices, its parts from 1 on; its own bill, part 0,
    then bills what is left.

    Invoices of one customer may be issued as one document. It is an invoice as well, with the number, the due date
    and the payment, but without lines of its own: they stay with its members, whose sum it is.

    What a customer buys beside the plan is billed by an invoice of its own, a purchase: issued at once, of no period.
    """

    PREFIX: ClassVar[str] = "inv"

    # What it refers to is checked by `references_in_sets`. Found by the indexes below, as the customer's are.
    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    customer = models.ForeignKey(
        "customers.Customer", on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    subscription = models.ForeignKey(
        "subscriptions.Subscription", on_delete=models.PROTECT, related_name="+", db_constraint=False
    )
    # Its subscription's, which holds it, too. The next action is due by it, and is found without asking that; written
    # when the period closes, or with what is not of an open one.
    test_clock = models.ForeignKey(
        "subscriptions.TestClock", null=True, blank=True, editable=False, on_delete=models.DO_NOTHING,
        related_name="+", db_index=False, db_constraint=False,
    )  # fmt: skip
    sequence_number = models.PositiveIntegerField(help_text="0: upfront charges; n: the n-th billing period.")
    part = models.PositiveIntegerField(
        default=0, help_text="0: the period's own bill; n: its n-th early bill, of usage alone."
    )
    has_members = models.BooleanField(
        default=False, help_text="One document of several invoices; in the terms of the first one's subscription."
    )
    consolidated_into = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="members", db_index=False,
        db_constraint=False,
        help_text="The document it was issued on.",
    )  # fmt: skip
    is_purchase = models.BooleanField(
        default=False, help_text="Of what was bought beside the plan, in the period of that number."
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
        "catalog.PlanVersion", null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False,
        db_constraint=False,
        help_text="That it is billed by, with the commitments and caps of it.",
    )  # fmt: skip
    opened_version = models.ForeignKey(
        "catalog.PlanVersion", null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False,
        db_constraint=False,
        help_text="Where the period moved to another version: that it opened with, and bills prices in advance by.",
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
                fields=["subscription", "sequence_number", "part"],
                name="invoice_one_per_period_and_part",
                condition=Q(has_members=False, is_purchase=False),
            ),
            # It is made whole, and stands for itself.
            models.CheckConstraint(
                name="invoice_of_purchase_is_whole",
                condition=Q(is_purchase=False)
                | (
                    Q(part=0, has_members=False, consolidated_into__isnull=True, sequence_number__gte=1)
                    & ~Q(status__in=(*UNCALCULATED, "DRAFT"))
                ),
            ),
            # Only the document has a number, and is paid.
            models.CheckConstraint(
                name="invoice_consolidated_stands_on_one",
                condition=Q(
                    status="CONSOLIDATED",
                    consolidated_into__isnull=False,
                    number__isnull=True,
                    issued_at__isnull=False,
                    paid_amount=0,
                    has_members=False,
                    part=0,
                )
                # It is voided with its document.
                | Q(
                    status="CANCELLED",
                    consolidated_into__isnull=False,
                    number__isnull=True,
                    issued_at__isnull=False,
                    paid_amount=0,
                    has_members=False,
                    part=0,
                )
                | (~Q(status="CONSOLIDATED") & Q(consolidated_into__isnull=True)),
            ),
            # Nothing was paid of what is cancelled, also not by the balance.
            models.CheckConstraint(
                name="invoice_cancelled_is_unpaid",
                condition=~Q(status="CANCELLED") | Q(paid_amount=0, balance_applied=0),
            ),
            models.CheckConstraint(
                name="invoice_with_members_is_of_periods",
                condition=Q(has_members=False) | (Q(part=0, sequence_number__gte=1) & ~Q(status__in=UNCALCULATED)),
            ),
            # Early bills are made whole: only a period's own bill is open, and Invoice 0 is of no period.
            models.CheckConstraint(
                name="invoice_early_is_calculated",
                condition=Q(part=0) | (Q(sequence_number__gte=1) & ~Q(status__in=UNCALCULATED)),
            ),
            models.UniqueConstraint(
                fields=["organization", "number"], name="invoice_number_once", condition=Q(number__isnull=False)
            ),
            models.UniqueConstraint(
                fields=["subscription"], name="invoice_one_open_period", condition=Q(status="ACTIVE")
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="invoice_list"),
            models.Index(fields=["customer", "-id"], name="invoice_of_customer"),
            # Serves "which closed periods are past their grace", on the wall clock and on test clocks, the first of
            # very many at one instant, too.
            models.Index(
                fields=["test_clock", "next_action_at", "id"], name="invoice_due", condition=Q(status="CLOSING")
            ),
            models.Index(
                fields=["consolidated_into"], name="invoice_members", condition=Q(consolidated_into__isnull=False)
            ),
        ]
        triggers = TRIGGERS

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self._state.adding:
            self.test_clock_id = self.subscription.test_clock_id
        super().save(*args, **kwargs)

    def __str__(self) -> str:
        return self.number or self.public_id

    @property
    def is_early(self) -> bool:
        """Whether it bills usage of a period that goes on."""
        return self.part > 0

    @property
    def is_of_corrections(self) -> bool:
        """Whether it bills nothing but what was found after the last period of its subscription."""
        has_terms = bool(self.price_revision_ids) or self.has_members or self.is_purchase
        return self.period_start == self.period_end and self.sequence_number > 0 and not has_terms

    @property
    def label(self) -> str:
        """What it bills, for people."""
        if self.has_members:
            return "Several subscriptions"
        if self.is_purchase:
            return "Purchase"
        if self.sequence_number == 0:
            return "Invoice 0"
        if self.is_of_corrections:
            return "Corrections"
        period = f"Period {self.sequence_number}"
        return f"{period}, early bill {self.part}" if self.part else period

    @property
    def unpaid_amount(self) -> Decimal:
        """What is still due: not paid, not credited, and not paid from the customer's balance.

        What stands on a document of several is paid there, and of a cancelled one nothing is.
        """
        if self.status in (InvoiceStatus.CONSOLIDATED, InvoiceStatus.CANCELLED):
            return Decimal(0)
        return self.grand_total - self.settled_amount

    @property
    def settled_amount(self) -> Decimal:
        return self.paid_amount + self.credited_amount + self.balance_applied
