from django.db import models
from django.db.models import Q

from apps.metering.models.events import EventColumns


class ParkReason(models.TextChoices):
    TOO_LATE = "too_late", "Too late"
    TOO_EARLY = "too_early", "Too early"


class ParkState(models.TextChoices):
    PARKED = "parked", "Parked"
    RELEASED = "released", "Released"
    DISCARDED = "discarded", "Discarded"


class ParkedEvent(EventColumns):
    """An accepted event of odd timing: kept as it came, counted only when someone releases it."""

    key_hash = models.UUIDField()
    content_hash = models.UUIDField()
    reason = models.CharField(max_length=9, choices=ParkReason)
    state = models.CharField(max_length=9, choices=ParkState, default=ParkState.PARKED)
    settled_at = models.DateTimeField(null=True, blank=True, help_text="When it was released or discarded.")
    settled_by = models.CharField(max_length=255, blank=True)
    note = models.TextField(blank=True, help_text="Why it was released or discarded.")

    class Meta:
        constraints = [
            models.CheckConstraint(name="parkedevent_reason_known", condition=Q(reason__in=ParkReason.values)),
            models.CheckConstraint(name="parkedevent_state_known", condition=Q(state__in=ParkState.values)),
            models.CheckConstraint(
                name="parkedevent_settled_has_instant",
                condition=Q(state="parked", settled_at__isnull=True)
                | Q(~Q(state="parked"), settled_at__isnull=False),
            ),
            models.UniqueConstraint(fields=["public_id"], name="parkedevent_id_once"),
            # A repeat of a parked event changes nothing, even after it was dealt with.
            models.UniqueConstraint(
                fields=["organization_id", "key_hash", "content_hash"], name="parkedevent_content_once"
            ),
        ]
        indexes = [
            models.Index(fields=["organization_id", "-id"], name="parkedevent_list"),
            models.Index(fields=["organization_id", "id"], name="parkedevent_open", condition=Q(state="parked")),
            # Serves "whose time has come".
            models.Index(
                fields=["occurred_at"],
                name="parkedevent_early",
                condition=Q(state="parked", reason="too_early"),
            ),
        ]

    def __str__(self) -> str:
        return self.public_id
