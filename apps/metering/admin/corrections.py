"""Screens of what was corrected: voided events, and the jobs that void or count many."""

from abc import abstractmethod
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import redirect
from unfold.decorators import display

from apps.kernel.adminsite.abstract import AbstractScreen
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import BillingModelAdmin, ReadOnlyModelAdmin
from apps.kernel.adminsite.display import moment
from apps.kernel.clock import wall_now
from apps.kernel.errors import DomainError, ForbiddenError
from apps.metering.models import BackfillJob, EventVoid, JobStatus, VoidJob
from apps.metering.models.corrections import ACTIVE_JOB, EventJob
from apps.metering.services.backfilling import start_backfill
from apps.metering.services.jobs import resume_job, stop_job
from apps.metering.services.voiding import start_void_job
from apps.metering.tasks import backfill, void_events

COLOURS = {"Queued": "info", "Running": "info", "Done": "success", "Failed": "danger", "Stopped": "warning"}


def start_work(job: EventJob) -> None:
    """Send a job to a worker once it is committed."""
    task = void_events if isinstance(job, VoidJob) else backfill
    key = job.pk
    transaction.on_commit(lambda: task.delay(key))


def _stop(call: Call) -> str:
    stop_job(job=call.row)
    return "The job stops after its present chunk; what is done stays done."


def _resume(call: Call) -> str:
    resume_job(job=call.row)
    start_work(call.row)
    return "The job goes on where it stands."


class JobAdmin(BillingModelAdmin, metaclass=AbstractScreen):
    """Base of the screens of jobs: made by a form, then only watched, stopped and resumed."""

    add_right: ClassVar[str | None] = "develop"
    asked_for: ClassVar[list[str]] = []
    list_filter = ["organization", "status"]
    list_select_related = ["organization", "started_by"]
    date_hierarchy = "created_at"
    ordering = ["-id"]
    actions_detail = ["stop", "resume"]

    stop = service_action(
        title="Stop",
        permissions=["develop"],
        description="The job stops after its present chunk. What is done stays done.",
        run=_stop,
        icon="stop_circle",
        fits=lambda job: job.status in ACTIVE_JOB,
    )
    resume = service_action(
        title="Resume",
        permissions=["develop"],
        description="The job goes on where it stands.",
        run=_resume,
        icon="restart_alt",
        fits=lambda job: job.status in (JobStatus.STOPPED, JobStatus.FAILED),
    )

    @display(description="Status", label=COLOURS)
    def state(self, job: EventJob) -> str:
        return JobStatus(job.status).label

    @display(description="Progress")
    def progress(self, job: EventJob) -> str:
        return "—" if job.total is None else f"{job.seen:,} of {job.total:,} events"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return self.asked_for
        hidden = {"id", "last_type", "last_at", "last_key", "definition"}
        return [field.name for field in self.opts.fields if field.name not in hidden]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [] if obj is None else self.get_fields(request, obj)

    @abstractmethod
    def start(self, obj: Any, person: Any) -> EventJob:
        """Run the use-case that makes the job a person asked for."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        person: Any = request.user
        organization_id = obj.metric.organization_id if isinstance(obj, BackfillJob) else obj.organization_id
        if not person.has_right("develop", organization_id):
            raise ForbiddenError("You may not correct events of this organization.")
        made = self.start(obj, person)
        obj.pk, obj.public_id, obj.organization_id = made.pk, made.public_id, made.organization_id
        start_work(made)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except DomainError as error:
            messages.error(request, error.message)
            return redirect(request.get_full_path())


@admin.register(EventVoid)
class EventVoidAdmin(ReadOnlyModelAdmin):
    """Events that count for nothing any more, with who said so and why."""

    empty_text = "Events that count for nothing any more are listed here, with who decided it and why."
    list_display = ["event_id", "idempotency_key", "event_type", "occurred_at", "reason", "voided_by", "voided_at"]
    list_filter = ["organization", "event_type"]
    search_fields = ["=event_id", "=idempotency_key", "=job__public_id"]
    search_help_text = "Exact event id, idempotency key or job id"
    list_select_related = ["organization", "voided_by"]
    date_hierarchy = "voided_at"
    ordering = ["-id"]


@admin.register(VoidJob)
class VoidJobAdmin(JobAdmin):
    """Jobs that void every event a filter names."""

    empty_text = "A job voids all events that fit a filter."
    list_display = ["public_id", "organization", "reason", "chosen", "state", "progress", "changed", "created_at"]
    search_fields = ["public_id", "reason", "event_type", "source", "subject", "external_subject"]
    asked_for = [
        "organization", "reason", "event_type", "source", "subject", "external_subject", "starts_at", "ends_at",
    ]  # fmt: skip

    @display(description="Filter")
    def chosen(self, job: VoidJob) -> str:
        named = [job.event_type, job.source, job.subject, job.external_subject]
        span = f"{moment(job.starts_at)} to {moment(job.ends_at)}" if job.starts_at or job.ends_at else ""
        return ", ".join(part for part in (*named, span) if part)

    def start(self, obj: Any, person: Any) -> EventJob:
        return start_void_job(
            organization_id=obj.organization_id,
            reason=obj.reason,
            user_id=person.pk,
            as_of=wall_now(),
            event_type=obj.event_type,
            source=obj.source,
            subject=obj.subject,
            external_subject=obj.external_subject,
            starts_at=obj.starts_at,
            ends_at=obj.ends_at,
        )


@admin.register(BackfillJob)
class BackfillJobAdmin(JobAdmin):
    """Jobs that count stored events for a metric by its present definition."""

    empty_text = "A job counts stored events again by a metric's present definition."
    list_display = ["public_id", "metric", "state", "progress", "changed", "unusable", "created_at", "finished_at"]
    list_filter = ["organization", "status", "metric"]
    list_select_related = ["organization", "metric", "started_by"]
    search_fields = ["public_id", "metric__public_id", "metric__name"]
    asked_for = ["metric", "starts_at", "ends_at"]

    def start(self, obj: Any, person: Any) -> EventJob:
        return start_backfill(
            metric_id=obj.metric_id,
            user_id=person.pk,
            as_of=wall_now(),
            starts_at=obj.starts_at,
            ends_at=obj.ends_at,
        )
