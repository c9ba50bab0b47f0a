"""Corrections of what events count for: voids, and the jobs that void or count many events."""

from typing import ClassVar

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.kernel.models import Entity


class EventVoid(models.Model):
    """That an event counts for nothing any more: who said so, why, and what it counted for until then."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    event_id = models.CharField(max_length=40, help_text="The event's id on the wire.")
    idempotency_key = models.CharField(max_length=255)
    event_type = models.CharField(max_length=255)
    subject = models.ForeignKey(
        "metering.Subject", on_delete=models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    occurred_at = models.DateTimeField()
    reason = models.CharField(max_length=1000)
    voided_by = models.ForeignKey("organizations.User", on_delete=models.PROTECT, related_name="+")
    voided_at = models.DateTimeField()
    job = models.ForeignKey("metering.VoidJob", null=True, on_delete=models.PROTECT, related_name="+")
    metrics = ArrayField(models.BigIntegerField(), help_text="Keys of the metrics it counted for.")
    quantities = ArrayField(
        models.DecimalField(max_digits=38, decimal_places=9), help_text="How much, in the same order."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "event_id"], name="eventvoid_once"),
            models.CheckConstraint(name="eventvoid_has_a_reason", condition=~Q(reason="")),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="eventvoid_list"),
            # Serves the search for a key.
            models.Index(fields=["organization", "idempotency_key"], name="eventvoid_by_key"),
        ]
        triggers = [
            pgtrigger.Protect(name="voids_are_kept", operation=pgtrigger.Update | pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return self.event_id


class JobStatus(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"


ACTIVE_JOB = (JobStatus.QUEUED, JobStatus.RUNNING)


class EventJob(Entity):
    """Work through stored events in the order of type, moment and key; each chunk commits with the position.

    Attributes:
        total: events to look at, counted when the job begins.
        seen: events looked at.
        changed: events that count for something else than before.
        accepted_before: only events accepted before this moment are looked at.
    """

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=7, choices=JobStatus, default=JobStatus.QUEUED)
    starts_at = models.DateTimeField(null=True, blank=True, help_text="Only events from this moment on.")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Only events before this moment.")
    accepted_before = models.DateTimeField()
    total = models.BigIntegerField(null=True, blank=True)
    seen = models.BigIntegerField(default=0)
    changed = models.BigIntegerField(default=0)
    last_type = models.CharField(max_length=255, blank=True)
    last_at = models.DateTimeField(null=True, blank=True)
    last_key = models.BigIntegerField(default=0)
    failure = models.TextField(blank=True)
    started_by = models.ForeignKey("organizations.User", on_delete=models.PROTECT, related_name="+")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.public_id


class VoidJob(EventJob):
    """Voids every event that a filter names."""

    PREFIX: ClassVar[str] = "evj"

    reason = models.CharField(max_length=1000)
    event_type = models.CharField(max_length=255, blank=True)
    source = models.CharField(max_length=255, blank=True)
    subject = models.CharField(max_length=255, blank=True, help_text="The customer's id.")
    external_subject = models.CharField(max_length=255, blank=True, help_text="The merchant's own id for it.")

    class Meta:
        constraints = [
            models.CheckConstraint(name="voidjob_has_a_reason", condition=~Q(reason="")),
            models.CheckConstraint(
                name="voidjob_has_a_filter",
                violation_error_message="Name at least one of type, source, subject, own id, start and end.",
                condition=~Q(event_type="")
                | ~Q(source="")
                | ~Q(subject="")
                | ~Q(external_subject="")
                | Q(starts_at__isnull=False)
                | Q(ends_at__isnull=False),
            ),
            models.CheckConstraint(
                name="voidjob_interval",
                violation_error_message="The end must be after the start.",
                condition=Q(starts_at__isnull=True) | Q(ends_at__gt=F("starts_at")) | Q(ends_at__isnull=True),
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="voidjob_list")]


class BackfillJob(EventJob):
    """Counts stored events for one metric by its present definition."""

    PREFIX: ClassVar[str] = "bfj"

    metric = models.ForeignKey("catalog.BillableMetric", on_delete=models.PROTECT, related_name="+")
    definition = models.JSONField(help_text="The metric's definition that is applied; another one stops the job.")
    unusable = models.BigIntegerField(default=0, help_text="Events whose value the metric cannot use.")
    first_problem = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["metric"], name="backfilljob_one_at_a_time", condition=Q(status__in=["queued", "running"])
            ),
            models.CheckConstraint(
                name="backfilljob_interval",
                violation_error_message="The end must be after the start.",
                condition=Q(starts_at__isnull=True) | Q(ends_at__gt=F("starts_at")) | Q(ends_at__isnull=True),
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="backfilljob_list")]
