"""Reading usage: the meter question and the raw events of a metric."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.models import BillableMetric
from apps.catalog.selectors.metrics import require_counting
from apps.kernel.errors import FieldError, InvalidError, NotFoundError
from apps.kernel.http.fields import InstantField, MatchedCharField, TimeZoneField
from apps.kernel.http.pagination import page_bounds
from apps.kernel.http.schema import ErrorSerializer
from apps.kernel.http.views import ContractView, Request
from apps.kernel.time import format_instant
from apps.metering.api.doorbell import ring
from apps.metering.domain.grid import SIZES
from apps.metering.models import EventVoid, MeterEvent, Subject
from apps.metering.selectors.asked import Asked, find_asked
from apps.metering.selectors.events import count_listed_events, listed_events
from apps.metering.selectors.gone import require_raw
from apps.metering.selectors.links import SubjectSpan, find_customer_subjects, owners_at
from apps.metering.selectors.meter import (
    MAXIMUM_VALUES,
    SUBJECT,
    MeterQuestion,
    MeterRow,
    TooManyWindowsError,
    meter_rows,
    parse_filters,
)
from apps.metering.services.catching_up import catch_up

GONE = "The answer needs raw events that are dropped; whole hours of usage are kept."


class IntervalSerializer(serializers.Serializer[Any]):
    to = InstantField()
    subject = MatchedCharField(required=False, max_length=255)

    def get_fields(self) -> dict[str, Any]:
        # "from" is a word of the language and cannot be declared as an attribute.
        return {"from": InstantField(), **super().get_fields()}

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if data["from"] >= data["to"]:
            raise serializers.ValidationError({"to": "Must be after from."}, code="invalid")
        return data


class MeterQuerySerializer(IntervalSerializer):
    windowSize = serializers.ChoiceField(choices=list(SIZES), required=False)
    groupBy = MatchedCharField(required=False, max_length=1000)
    filterGroupBy = MatchedCharField(required=False, max_length=5000)
    groupLimit = serializers.IntegerField(required=False, min_value=1, max_value=500)
    groupOffset = serializers.IntegerField(required=False, min_value=0, max_value=100_000)
    timeZone = TimeZoneField(required=False, default="UTC")
    consistent = serializers.BooleanField(required=False, default=False)


class EventQuerySerializer(IntervalSerializer):
    externalId = MatchedCharField(required=False, max_length=255)
    externalSubject = MatchedCharField(required=False, max_length=255)


class WindowedValueSerializer(serializers.Serializer[Any]):
    windowStart = InstantField()
    windowEnd = InstantField()
    value = serializers.FloatField()


class GroupedValueSerializer(serializers.Serializer[Any]):
    groupBy = serializers.DictField(child=serializers.CharField())
    value = serializers.FloatField()
    eventCount = serializers.IntegerField()


class UsageResponseSerializer(serializers.Serializer[Any]):
    object = serializers.CharField()
    billableMetricId = serializers.CharField()
    totalValue = serializers.FloatField()
    windowedValues = WindowedValueSerializer(many=True, required=False)
    groupedValues = GroupedValueSerializer(many=True, required=False)
    groupCount = serializers.IntegerField(required=False)


class MetricUsage(ContractView):
    """How much of a metric was used in `[from, to)`, in windows of time and by group if asked."""

    scopes = {"GET": "usage:read"}

    @extend_schema(
        operation_id="getBillableMetricMeter",
        parameters=[
            OpenApiParameter("from", datetime, required=True),
            OpenApiParameter("to", datetime, required=True),
            OpenApiParameter("subject", str),
            OpenApiParameter("windowSize", str, enum=list(SIZES)),
            OpenApiParameter("groupBy", str),
            OpenApiParameter("filterGroupBy", str),
            OpenApiParameter("groupLimit", int),
            OpenApiParameter("groupOffset", int),
            OpenApiParameter(
                "timeZone", str, description="IANA name; windows begin at its local hours and midnights."
            ),
            OpenApiParameter(
                "consistent",
                bool,
                description="Wait, briefly, until all that was accepted before is counted; else 503.",
            ),
        ],
        responses={
            200: UsageResponseSerializer,
            409: OpenApiResponse(ErrorSerializer, GONE),
            503: OpenApiResponse(ErrorSerializer, "Not everything is counted yet; ask again after `Retry-After`."),
        },
    )
    def get(self, request: Request, public_id: str) -> Response:
        try:
            query = self.read_query(MeterQuerySerializer)
        except serializers.ValidationError:
            # Of two mistakes the address is the first.
            self._find(public_id, None)
            raise
        asked = self._find(public_id, query.get("subject"))
        if query["consistent"]:
            self._catch_up()
            # A subject may have had its first event just now.
            asked = self._find(public_id, query.get("subject"))
        metric = asked.metric
        require_counting(metric)
        base = self._question(asked, query)
        size, groups = query.get("windowSize"), self._groups(metric, query)
        try:
            total = meter_rows(base)
            body: dict[str, Any] = {
                "object": "meter",
                "billableMetricId": metric.public_id,
                "totalValue": number(total[0].quantity if total else None),
            }
            if size or groups:
                rows = self._rows(replace(base, tz=query["timeZone"]), size, groups, query, body)
                if size:
                    body["windowedValues"] = [self._window(row) for row in rows]
                if groups:
                    body["groupedValues"] = [self._group(row, groups) for row in rows]
        except TooManyWindowsError:
            message = (
                f"The answer would hold more than {MAXIMUM_VALUES} values; ask for larger windows or fewer groups."
            )
            raise _bad("windowSize", message) from None
        return Response(body)

    def _catch_up(self) -> None:
        ring()
        catch_up(organization_id=self.organization_id)

    def _find(self, public_id: str, customer: str | None) -> Asked:
        asked = find_asked(
            organization_id=self.organization_id, metric_public_id=public_id, customer_public_id=customer
        )
        if asked is None:
            raise NotFoundError(f"There is no billable metric {public_id}.")
        return asked

    def _question(self, asked: Asked, query: dict[str, Any]) -> MeterQuestion:
        filters = None
        if "filterGroupBy" in query:
            try:
                filters = parse_filters(query["filterGroupBy"])
            except ValueError:
                raise _bad("filterGroupBy", "Give a JSON object of text values by dimension.") from None
            self._known(asked.metric, filters, "filterGroupBy", with_subject=False)
        return MeterQuestion(
            asked.metric, query["from"], query["to"], asked.subjects, filters=filters, owner=query.get("subject")
        )

    @staticmethod
    def _rows(
        question: MeterQuestion, size: str | None, groups: list[str], query: dict[str, Any], body: dict[str, Any]
    ) -> list[MeterRow]:
        """Give windows in time, and in each the groups, the largest of the whole interval first."""
        if not groups:
            return meter_rows(replace(question, window_size=size))
        ranked = sorted(
            meter_rows(replace(question, group_by=groups)), key=lambda row: (-(row.quantity or Decimal(0)), row.group)
        )
        limit, offset = query.get("groupLimit"), query.get("groupOffset", 0)
        if limit is not None:
            body["groupCount"] = len(ranked)
        page = ranked[offset : None if limit is None else offset + limit]
        if size is None:
            return page
        rank = {row.group: position for position, row in enumerate(page)}
        wanted = None if len(page) == len(ranked) else list(rank)
        rows = meter_rows(replace(question, window_size=size, group_by=groups, only_groups=wanted))
        # A group whose first event was merged between the two questions has no place yet.
        return sorted(rows, key=lambda row: (row.window_start, rank.get(row.group, len(rank)), row.group))

    def _groups(self, metric: BillableMetric, query: dict[str, Any]) -> list[str]:
        names = [name.strip() for name in query.get("groupBy", "").split(",") if name.strip()]
        self._known(metric, names, "groupBy", with_subject=True)
        return list(dict.fromkeys(names))

    @staticmethod
    def _known(metric: BillableMetric, names: Any, field: str, *, with_subject: bool) -> None:
        known = {*metric.group_by, *([SUBJECT] if with_subject else [])}
        unknown = sorted(set(names) - known)
        if unknown:
            raise _bad(field, f"The metric has no dimension {', '.join(unknown)}.")

    @staticmethod
    def _window(row: MeterRow) -> dict[str, Any]:
        return {
            "windowStart": format_instant(row.window_start),
            "windowEnd": format_instant(row.window_end),
            "value": number(row.quantity),
        }

    @staticmethod
    def _group(row: MeterRow, groups: list[str]) -> dict[str, Any]:
        return {
            "groupBy": dict(zip(groups, row.group, strict=True)),
            "value": number(row.quantity),
            "eventCount": row.event_count,
        }


class MetricEvents(ContractView):
    """The raw events of a metric in `[from, to)`, newest first."""

    scopes = {"GET": "usage:read"}

    @extend_schema(
        operation_id="listBillableMetricEvents",
        parameters=[
            OpenApiParameter("from", datetime, required=True),
            OpenApiParameter("to", datetime, required=True),
            OpenApiParameter("subject", str),
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
            OpenApiParameter("externalId", str),
            OpenApiParameter("externalSubject", str),
        ],
        responses={200: OpenApiTypes.OBJECT, 409: OpenApiResponse(ErrorSerializer, GONE)},
    )
    def get(self, request: Request, public_id: str) -> Response:
        metric = self.get_own(BillableMetric.objects.filter(deleted_at__isnull=True), public_id, "billable metric")
        require_counting(metric)
        query = self.read_query(EventQuerySerializer)
        limit, offset = page_bounds(request, default=20, maximum=200)
        spans: list[SubjectSpan] | None = None
        if "subject" in query:
            spans = find_customer_subjects(organization_id=self.organization_id, customer_public_id=query["subject"])
        if "externalSubject" in query:
            rows = Subject.objects.filter(
                organization_id=self.organization_id, is_external=True, value=query["externalSubject"]
            )
            named = list(rows.values_list("pk", flat=True))
            spans = (
                [SubjectSpan(subject) for subject in named]
                if spans is None
                else [span for span in spans if span.subject in named]
            )
        interval = {"metric": metric, "start": query["from"], "end": query["to"], "subjects": spans}
        events = listed_events(**interval)
        if "externalId" in query:
            events = events.filter(external_id=query["externalId"])
            total = events.count()
        else:
            total = count_listed_events(**interval)
        page = list(events[offset : offset + limit])
        require_raw([query["from"]], is_listed=True)
        return Response(
            {
                "object": "list",
                "billableMetricId": metric.public_id,
                "events": self._render(page),
                "pagination": {"limit": limit, "offset": offset, "total": total},
            }
        )

    def _render(self, events: list[MeterEvent]) -> list[dict[str, Any]]:
        ids = {event.subject_id for event in events}
        subjects = {row.pk: row for row in Subject.objects.filter(pk__in=ids)}
        owners = owners_at(
            organization_id=self.organization_id,
            moments=[(event.subject_id, event.occurred_at) for event in events],
        )
        named = EventVoid.objects.filter(
            organization_id=self.organization_id, event_id__in=[e.public_id for e in events]
        )
        voids = {row.event_id: row for row in named}
        rendered = []
        for event in events:
            subject = subjects[event.subject_id]
            own = "" if subject.is_external else subject.value
            entry = {
                "object": "meterEvent",
                "id": event.public_id,
                "type": event.event_type,
                "source": event.source,
                "subject": owners.get((subject.pk, event.occurred_at), own),
                "time": format_instant(event.occurred_at),
                "idempotencyKey": event.idempotency_key,
                "data": event.data,
            }
            if subject.is_external:
                entry["externalSubject"] = subject.value
            if event.external_id:
                entry["externalId"] = event.external_id
            if event.public_id in voids:
                void = voids[event.public_id]
                entry |= {"voidedAt": format_instant(void.voided_at), "voidReason": void.reason}
            rendered.append(entry)
        return rendered


def number(value: Decimal | None) -> int | Decimal:
    """Give a quantity as a JSON number, whole ones without a fraction; nothing is 0."""
    if value is None:
        return 0
    return int(value) if value == value.to_integral_value() else value.normalize()


def _bad(field: str, message: str) -> InvalidError:
    return InvalidError(f"{field}: {message}", errors=[FieldError(field, message, "invalid")])
