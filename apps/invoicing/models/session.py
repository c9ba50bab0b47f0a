from typing import ClassVar

import pghistory
from django.db import models
from django.db.models import Q

from apps.kernel.models import AmountField, CurrencyCodeField, Entity


class SessionStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    COMPLETED = "completed", "Completed"
    EXPIRED = "expired", "Expired"
    CANCELLED = "cancelled", "Cancelled"


@pghistory.track(exclude=["updated_at"])
class PaymentSession(Entity):
    """A hosted page where one invoice can be paid until it expires."""

    PREFIX: ClassVar[str] = "ps"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    invoice = models.ForeignKey("invoicing.Invoice", on_delete=models.PROTECT, related_name="sessions")
    entity_type = models.CharField(max_length=12, choices=[("subscription", "Subscription"), ("invoice", "Invoice")])
    amount = AmountField()
    currency = CurrencyCodeField()
    status = models.CharField(max_length=10, choices=SessionStatus, default=SessionStatus.PENDING)
    expires_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="session_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(
                name="session_completed_has_instant",
                condition=Q(status="completed", completed_at__isnull=False)
                | (~Q(status="completed") & Q(completed_at__isnull=True)),
            ),
            # A new link replaces the old one.
            models.UniqueConstraint(fields=["invoice"], name="session_one_pending", condition=Q(status="pending")),
        ]
