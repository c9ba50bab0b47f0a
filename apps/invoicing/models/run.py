from typing import ClassVar

import pghistory
import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from apps.kernel.models import AmountField, CurrencyCodeField, Entity


class RunStatus(models.TextChoices):
    PLANNED = "planned", "Planned"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    COMPLETED = "completed", "Completed"
    CANCELLED = "cancelled", "Cancelled"


class RunItemStatus(models.TextChoices):
    WAITING = "waiting", "Waiting"
    ISSUED = "issued", "Issued"
    DRAFT = "draft", "Draft to approve"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Invoice cancelled"
    RELEASED = "released", "Left to the ordinary job"


@pghistory.track(exclude=["updated_at"])
class BillingRun(Entity):
    """Invoices of closed periods that are looked at, calculated and followed together.

    Until it is started, and while it is paused, the ordinary job leaves them alone.
    """

    PREFIX: ClassVar[str] = "brn"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=120)
    status = models.CharField(max_length=9, choices=RunStatus, default=RunStatus.PLANNED)
    plan = models.ForeignKey(
        "catalog.Plan", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Only subscriptions of this plan; empty: of every plan.",
    )  # fmt: skip
    customer_ids = ArrayField(models.BigIntegerField(), default=list, blank=True)
    closed_until = models.DateTimeField(help_text="Periods that ended until then.")
    waits_for_grace = models.BooleanField(
        default=True, help_text="Calculate each invoice when its grace period is over; otherwise at once."
    )
    item_count = models.PositiveIntegerField(default=0, editable=False)
    created_by = models.CharField(max_length=255, blank=True, editable=False)
    started_at = models.DateTimeField(null=True, blank=True, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(name="billingrun_status_known", condition=Q(status__in=RunStatus.values)),
            models.CheckConstraint(
                name="billingrun_finished_has_instant",
                condition=Q(status__in=["completed", "cancelled"], finished_at__isnull=False)
                | (~Q(status__in=["completed", "cancelled"]) & Q(finished_at__isnull=True)),
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="billingrun_list"),
            # Serves "which runs are to be worked through"; there are never many.
            models.Index(fields=["id"], name="billingrun_running", condition=Q(status="running")),
        ]

    def __str__(self) -> str:
        return self.name or self.public_id


class BillingRunItem(models.Model):
    """One invoice of a run, and what became of it there."""

    run = models.ForeignKey(BillingRun, on_delete=models.PROTECT, related_name="items", db_index=False)
    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.PROTECT, related_name="+", db_index=False
    )
    invoice = models.ForeignKey("invoicing.Invoice", on_delete=models.PROTECT, related_name="+", db_index=False)
    subscription = models.ForeignKey(
        "subscriptions.Subscription", on_delete=models.PROTECT, related_name="+", db_index=False
    )
    customer = models.ForeignKey("customers.Customer", on_delete=models.PROTECT, related_name="+", db_index=False)
    status = models.CharField(max_length=9, choices=RunItemStatus, default=RunItemStatus.WAITING)
    currency = CurrencyCodeField()
    previewed_amount = AmountField(null=True, blank=True, help_text="What it would come to, with tax.")
    previewed_at = models.DateTimeField(null=True, blank=True)
    amount = AmountField(null=True, blank=True, help_text="What it came to, with tax.")
    reason = models.CharField(max_length=2000, blank=True, help_text="Why it failed, or cannot be previewed.")
    attempts = models.PositiveIntegerField(default=0)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "invoice"], name="billingrunitem_once"),
            # Two runs never wait for the same invoice; it also serves "which invoices does a run hold".
            models.UniqueConstraint(
                fields=["invoice"], name="billingrunitem_one_holds", condition=Q(status="waiting")
            ),
            models.CheckConstraint(name="billingrunitem_status_known", condition=Q(status__in=RunItemStatus.values)),
            models.CheckConstraint(
                name="billingrunitem_done_has_amount",
                condition=~Q(status__in=["issued", "draft"]) | Q(amount__isnull=False, finished_at__isnull=False),
            ),
        ]
        indexes = [
            # Serves progress, and what is still to be done.
            models.Index(fields=["run", "status", "id"], name="billingrunitem_progress"),
            # Serves the comparison of runs.
            models.Index(fields=["run", "subscription"], name="billingrunitem_of_run"),
        ]
        triggers = [
            pgtrigger.Protect(name="run_item_is_kept", operation=pgtrigger.Delete),
            # What is done stays as it was done; what failed may be tried again.
            pgtrigger.Protect(
                name="done_item_is_frozen",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition("OLD.status IN ('issued', 'draft', 'cancelled', 'released')"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.invoice} in {self.run}"
