from typing import ClassVar

import pghistory
from django.db import models
from django.db.models import F, Q

from apps.kernel.models import Entity


class ClockStatus(models.TextChoices):
    READY = "ready", "Ready"
    ADVANCING = "advancing", "Advancing"
    FAILED = "failed", "Failed"


@pghistory.track()
class TestClock(Entity):
    """A simulated time that subscriptions can live in; it only goes forward."""

    PREFIX: ClassVar[str] = "tc"
    __test__ = False  # its name says test, it holds none

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True)
    current_time = models.DateTimeField(help_text="All work due up to here is done.")
    target_time = models.DateTimeField(help_text="Where it is advancing to; equals the current time at rest.")
    status = models.CharField(max_length=9, choices=ClockStatus, default=ClockStatus.READY)
    failure = models.TextField(blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="testclock_goes_forward", condition=Q(target_time__gte=F("current_time"))),
            models.CheckConstraint(
                name="testclock_rests_at_target",
                condition=~Q(status="ready") | Q(target_time=F("current_time")),
            ),
        ]
        indexes = [
            # Serves the sweep that finds clocks whose advance was interrupted.
            models.Index(fields=["status"], name="testclock_busy", condition=Q(status="advancing")),
        ]
