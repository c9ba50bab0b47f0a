from datetime import datetime
from typing import ClassVar

import pghistory
from django.db import models
from django.db.models import F, Q

from apps.kernel.models import Entity, QuantityField


class ReservationStatus(models.TextChoices):
    HELD = "held", "Held"
    SETTLED = "settled", "Settled"
    RELEASED = "released", "Released"


@pghistory.track(exclude=["updated_at"])
class Reservation(Entity):
    """Units set aside for use that is about to happen; nobody else gets them until it ends."""

    PREFIX: ClassVar[str] = "rsv"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    entitlement = models.ForeignKey("entitlements.Entitlement", on_delete=models.PROTECT, related_name="reservations")
    quantity = QuantityField()
    asked_quantity = QuantityField(
        null=True, blank=True, help_text="Units of use that credits of a pool are held for; empty: its own units."
    )
    status = models.CharField(max_length=8, choices=ReservationStatus, default=ReservationStatus.HELD)
    made_at = models.DateTimeField(help_text="In the customer's time.")
    expires_at = models.DateTimeField(help_text="The first moment it holds nothing, unless it ends before.")
    ended_at = models.DateTimeField(null=True, blank=True)
    idempotency_key = models.CharField(max_length=255, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="reservation_quantity_positive", condition=Q(quantity__gt=0)),
            models.CheckConstraint(
                name="reservation_expires_after_its_start", condition=Q(expires_at__gt=F("made_at"))
            ),
            models.CheckConstraint(
                name="reservation_held_until_it_ends",
                condition=Q(status="held", ended_at__isnull=True)
                | (Q(status__in=["settled", "released"], ended_at__isnull=False)),
            ),
            models.UniqueConstraint(
                fields=["entitlement", "idempotency_key"],
                name="reservation_key_once",
                condition=~Q(idempotency_key=""),
            ),
        ]
        indexes = [
            # Serves every check: what do others hold?
            models.Index(
                fields=["entitlement", "expires_at"],
                include=["quantity"],
                name="reservation_held",
                condition=Q(status="held"),
            )
        ]

    def is_held_at(self, at: datetime) -> bool:
        return self.status == ReservationStatus.HELD and at < self.expires_at
