"""Voiding events, and counting stored ones for a metric."""

from datetime import datetime
from typing import Any

from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.models import BillableMetric
from apps.kernel.clock import wall_now
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.fields import InstantField, MatchedCharField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.kernel.time import format_instant
from apps.metering.models import BackfillJob, EventVoid, JobStatus, VoidJob
from apps.metering.models.corrections import ACTIVE_JOB, EventJob
from apps.metering.services.backfilling import start_backfill
from apps.metering.services.voiding import REASON_LENGTH, NamedVoid, start_void_job, void_named
from apps.metering.tasks import backfill, void_events

SCOPE = "events:correct"
NAMES_AT_ONCE = 1_000
PAGE = [OpenApiParameter("limit", int), OpenApiParameter("offset", int)]


class SpanSerializer(serializers.Serializer[Any]):
    """An interval `[from, to)`, open where an end is left out."""

    to = InstantField(required=False)

    def get_fields(self) -> dict[str, Any]:
        # "from" is a word of the language and cannot be declared as an attribute.
        return {"from": InstantField(required=False), **super().get_fields()}

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if "from" in data and "to" in data and data["from"] >= data["to"]:
            raise serializers.ValidationError({"to": "Must be after from."}, code="invalid")
        return data


class VoidFilterSerializer(SpanSerializer):
    type = MatchedCharField(required=False, max_length=255)
    source = MatchedCharField(required=False, max_length=255)  # type: ignore[assignment]
    subject = MatchedCharField(required=False, max_length=255)
    externalSubject = MatchedCharField(required=False, max_length=255)


class VoidRequestSerializer(serializers.Serializer[Any]):
    reason = StrictCharField(max_length=REASON_LENGTH)
    eventIds = serializers.ListField(
        child=StrictCharField(max_length=40), required=False, min_length=1, max_length=NAMES_AT_ONCE
    )
    idempotencyKeys = serializers.ListField(
        child=MatchedCharField(max_length=255), required=False, min_length=1, max_length=NAMES_AT_ONCE
    )
    filter = VoidFilterSerializer(required=False)


class NamedVoidSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="The id or the key, as it was given.")
    outcome = serializers.ChoiceField(choices=["voided", "already_voided", "unknown"])
    eventId = serializers.CharField(allow_null=True)


class VoidOutcomeSerializer(serializers.Serializer[Any]):
    object = serializers.CharField()
    voided = serializers.IntegerField()
    alreadyVoided = serializers.IntegerField()
    unknown = serializers.IntegerField()
    events = NamedVoidSerializer(many=True)


class JobSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id")
    status = serializers.ChoiceField(choices=JobStatus.choices)
    total = serializers.IntegerField(allow_null=True, help_text="Events to look at; known once the job runs.")
    seen = serializers.IntegerField(help_text="Events looked at.")
    changed = serializers.IntegerField(help_text="Events that count for something else than before.")
    failure = serializers.CharField()
    createdAt = InstantField(source="created_at")
    updatedAt = InstantField(source="updated_at")
    finishedAt = InstantField(source="finished_at", allow_null=True)


class VoidJobSerializer(JobSerializer):
    object = serializers.SerializerMethodField()
    reason = serializers.CharField()
    filter = serializers.SerializerMethodField()

    def get_object(self, job: VoidJob) -> str:
        return "eventVoidJob"

    def get_filter(self, job: VoidJob) -> dict[str, str]:
        named = {
            "type": job.event_type,
            "source": job.source,
            "subject": job.subject,
            "externalSubject": job.external_subject,
            **_span(job),
        }
        return {name: value for name, value in named.items() if value}


class BackfillSerializer(JobSerializer):
    object = serializers.SerializerMethodField()
    billableMetricId = serializers.CharField(source="metric.public_id")
    interval = serializers.SerializerMethodField()
    unusable = serializers.IntegerField(help_text="Events whose value the metric cannot use.")
    firstProblem = serializers.CharField(source="first_problem")

    def get_object(self, job: BackfillJob) -> str:
        return "billableMetricBackfill"

    def get_interval(self, job: BackfillJob) -> dict[str, str]:
        return _span(job)


class EventVoidSerializer(serializers.Serializer[Any]):
    object = serializers.SerializerMethodField()
    eventId = serializers.CharField(source="event_id")
    idempotencyKey = serializers.CharField(source="idempotency_key")
    type = serializers.CharField(source="event_type")
    timestamp = InstantField(source="occurred_at")
    reason = serializers.CharField()
    voidedAt = InstantField(source="voided_at")
    voidedBy = serializers.CharField(source="voided_by.public_id")
    jobId = serializers.CharField(source="job.public_id", default=None, allow_null=True)

    def get_object(self, void: EventVoid) -> str:
        return "eventVoid"


class VoidEvents(ContractView):
    """Let events count for nothing: named ones at once, those of a filter by a job."""

    scopes = {"POST": SCOPE}

    @extend_schema(
        operation_id="voidEvents",
        request=VoidRequestSerializer,
        responses={200: VoidOutcomeSerializer, 202: VoidJobSerializer},
    )
    def post(self, request: Request) -> Response:
        data = self.read(VoidRequestSerializer)
        given = [name for name in ("eventIds", "idempotencyKeys", "filter") if name in data]
        if len(given) != 1:
            message = "Give exactly one of eventIds, idempotencyKeys and filter."
            raise InvalidError(message, errors=[FieldError(name, message) for name in given or ["filter"]])
        now = wall_now()
        if "filter" not in data:
            outcomes = void_named(
                organization_id=self.organization_id,
                event_ids=data.get("eventIds", ()),
                keys=data.get("idempotencyKeys", ()),
                reason=data["reason"],
                user_id=self.principal.user_id,
                as_of=now,
            )
            return Response(_outcome(outcomes))
        chosen = data["filter"]
        with transaction.atomic():
            job = start_void_job(
                organization_id=self.organization_id,
                reason=data["reason"],
                user_id=self.principal.user_id,
                as_of=now,
                event_type=chosen.get("type", ""),
                source=chosen.get("source", ""),
                subject=chosen.get("subject", ""),
                external_subject=chosen.get("externalSubject", ""),
                starts_at=chosen.get("from"),
                ends_at=chosen.get("to"),
            )
            transaction.on_commit(lambda: void_events.delay(job.pk))
        return Response(VoidJobSerializer(job).data, status=202)


class EventVoidList(ContractView):
    """Voided events of a merchant, the newest first."""

    scopes = {"GET": "usage:read"}

    @extend_schema(
        operation_id="listVoidedEvents",
        parameters=[OpenApiParameter("idempotencyKey", str), OpenApiParameter("eventId", str), *PAGE],
        responses=page_of(EventVoidSerializer),
    )
    def get(self, request: Request) -> Response:
        rows = EventVoid.objects.filter(organization_id=self.organization_id)
        for name, column in (("idempotencyKey", "idempotency_key"), ("eventId", "event_id")):
            if name in request.query_params:
                rows = rows.filter(**{column: request.query_params[name]})
        rows = rows.select_related("voided_by", "job").order_by("-id")
        return Response(list_page(request, rows, lambda row: EventVoidSerializer(row).data))


class VoidJobList(ContractView):
    """Jobs that void events by a filter, the newest first."""

    scopes = {"GET": "usage:read"}

    @extend_schema(operation_id="listEventVoidJobs", parameters=PAGE, responses=page_of(VoidJobSerializer))
    def get(self, request: Request) -> Response:
        rows = VoidJob.objects.filter(organization_id=self.organization_id).order_by("-id")
        return Response(list_page(request, rows, lambda row: VoidJobSerializer(row).data))


class VoidJobDetail(ContractView):
    """One such job and how far it is."""

    scopes = {"GET": "usage:read"}

    @extend_schema(operation_id="getEventVoidJob", responses=VoidJobSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(VoidJobSerializer(self.get_own(VoidJob.objects.all(), public_id, "event void job")).data)


class MetricBackfills(ContractView):
    """Stored events counted for a metric by its present definition."""

    scopes = {"GET": "usage:read", "POST": SCOPE}

    @extend_schema(operation_id="listBillableMetricBackfills", parameters=PAGE, responses=page_of(BackfillSerializer))
    def get(self, request: Request, public_id: str) -> Response:
        rows = BackfillJob.objects.filter(metric=self._metric(public_id)).select_related("metric").order_by("-id")
        return Response(list_page(request, rows, lambda row: BackfillSerializer(row).data))

    @extend_schema(operation_id="backfillBillableMetric", request=SpanSerializer, responses={202: BackfillSerializer})
    def post(self, request: Request, public_id: str) -> Response:
        """Count the metric's stored events in `[from, to)` as if its present definition had always stood.

        Asking again while the job runs gives that job; 409 when it is over another interval.
        """
        metric = self._metric(public_id)
        data = self.read(SpanSerializer)
        with transaction.atomic():
            job = start_backfill(
                metric_id=metric.pk,
                user_id=self.principal.user_id,
                as_of=wall_now(),
                starts_at=data.get("from"),
                ends_at=data.get("to"),
            )
            if job.status in ACTIVE_JOB:
                transaction.on_commit(lambda: backfill.delay(job.pk))
        return Response(BackfillSerializer(job).data, status=202)

    def _metric(self, public_id: str) -> BillableMetric:
        return self.get_own(BillableMetric.objects.filter(deleted_at__isnull=True), public_id, "billable metric")


def _outcome(outcomes: list[NamedVoid]) -> dict[str, Any]:
    counts = {
        kind: sum(entry.outcome == kind for entry in outcomes) for kind in ("voided", "already_voided", "unknown")
    }
    return {
        "object": "eventVoids",
        "voided": counts["voided"],
        "alreadyVoided": counts["already_voided"],
        "unknown": counts["unknown"],
        "events": [
            {"name": entry.name, "outcome": entry.outcome, "eventId": entry.event_id or None} for entry in outcomes
        ],
    }


def _span(job: EventJob) -> dict[str, str]:
    ends: dict[str, datetime | None] = {"from": job.starts_at, "to": job.ends_at}
    return {name: format_instant(moment) for name, moment in ends.items() if moment is not None}
