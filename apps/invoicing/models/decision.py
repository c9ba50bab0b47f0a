from typing import ClassVar

import pgtrigger
from django.db import models
from django.db.models import Q

from apps.kernel.models import AmountField, Entity


class DecisionKind(models.TextChoices):
    VOID = "void", "Voided"
    WRITE_OFF = "write_off", "Written off"
    REINSTATE = "reinstate", "Reinstated"


class InvoiceDecision(Entity):
    """That somebody gave an invoice up, or took that back, and why; never changed."""

    PREFIX: ClassVar[str] = "ivd"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    invoice = models.ForeignKey("invoicing.Invoice", on_delete=models.PROTECT, related_name="decisions")
    kind = models.CharField(max_length=9, choices=DecisionKind)
    amount = AmountField(help_text="What was due of it then, with tax.")
    reason = models.CharField(max_length=1000)
    decided_by = models.CharField(max_length=255, blank=True, help_text="Who decided, as far as it is known.")
    decided_at = models.DateTimeField(help_text="In the subscription's time.")

    class Meta:
        constraints = [
            models.CheckConstraint(name="invoicedecision_kind_known", condition=Q(kind__in=DecisionKind.values)),
            models.CheckConstraint(name="invoicedecision_has_reason", condition=~Q(reason="")),
            # Cancelled is the end.
            models.UniqueConstraint(fields=["invoice"], name="invoicedecision_void_once", condition=Q(kind="void")),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="invoicedecision_list")]
        triggers = [pgtrigger.Protect(name="decision_is_frozen", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.reason}"
