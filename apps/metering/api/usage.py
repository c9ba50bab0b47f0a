"""Reading usage: the meter question and the raw events of a metric."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.models import BillableMetric
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.pagination import page_bounds
from apps.kernel.http.schema import ErrorSerializer
from apps.kernel.http.views import ContractView, Request
from apps.kernel.time import Cadence, add, format_instant
from apps.metering.models import EventVoid, MeterEvent, Subject
from apps.metering.selectors.gone import require_raw
from apps.metering.selectors.links import find_customer_subjects, owners_at, spans_filter
from apps.metering.selectors.meter import SIZES, SUBJECT, MeterQuestion, MeterRow, meter_rows, parse_filters
from apps.metering.services.merge import drain

GONE = "The answer needs raw events that are dropped; whole hours of usage are kept."
STEPS = {"MINUTE": "PT1M", "HOUR": "PT1H", "DAY": "P1D", "MONTH": "P1M"}
# More windows than this in one answer are a mistyped interval.
MAXIMUM_WINDOWS = 50_000


class IntervalSerializer(serializers.Serializer[Any]):
    to = InstantField()
    subject = StrictCharField(required=False, max_length=255)

    def get_fields(self) -> dict[str, Any]:
        # "from" is a word of the language and cannot be declared as an attribute.
        return {"from": InstantField(), **super().get_fields()}

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if data["from"] >= data["to"]:
            raise serializers.ValidationError({"to": "Must be after from."}, code="invalid")
        return data


class MeterQuerySerializer(IntervalSerializer):
    windowSize = serializers.ChoiceField(choices=list(SIZES), required=False)
    groupBy = StrictCharField(required=False, max_length=1000)
    filterGroupBy = StrictCharField(required=False, max_length=5000)
    groupLimit = serializers.IntegerField(required=False, min_value=1, max_value=500)
    groupOffset = serializers.IntegerField(required=False, min_value=0, max_value=100_000)
    consistent = serializers.BooleanField(required=False, default=False)


class EventQuerySerializer(IntervalSerializer):
    externalId = StrictCharField(required=False, max_length=255)
    externalSubject = StrictCharField(required=False, max_length=255)


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
            OpenApiParameter("consistent", bool),
        ],
        responses={200: UsageResponseSerializer, 409: OpenApiResponse(ErrorSerializer, GONE)},
    )
    def get(self, request: Request, public_id: str) -> Response:
        metric = self.get_own(BillableMetric.objects.filter(deleted_at__isnull=True), public_id, "billable metric")
        query = self.read_query(MeterQuerySerializer)
        if query["consistent"]:
            drain()
        base = self._question(metric, query)
        total = meter_rows(base)
        body: dict[str, Any] = {
            "object": "meter",
            "billableMetricId": metric.public_id,
            "totalValue": number(total[0].quantity if total else None),
        }
        size, groups = query.get("windowSize"), self._groups(metric, query)
        if size or groups:
            rows = meter_rows(replace(base, window_size=size, group_by=groups))
            rows = self._page(rows, query, body) if groups else rows
            if size:
                body["windowedValues"] = [self._window(row, size) for row in rows]
            if groups:
                body["groupedValues"] = self._grouped(rows, groups)
        return Response(body)

    def _question(self, metric: BillableMetric, query: dict[str, Any]) -> MeterQuestion:
        subjects = None
        if "subject" in query:
            subjects = find_customer_subjects(
                organization_id=self.organization_id, customer_public_id=query["subject"]
            )
        filters = None
        if "filterGroupBy" in query:
            try:
                filters = parse_filters(query["filterGroupBy"])
            except ValueError:
                raise _bad("filterGroupBy", "Give a JSON object of text values by dimension.") from None
            self._known(metric, filters, "filterGroupBy", with_subject=False)
        size = query.get("windowSize")
        if size is not None and (query["to"] - query["from"]) / _shortest(size) > MAXIMUM_WINDOWS:
            raise _bad("windowSize", f"The interval has more than {MAXIMUM_WINDOWS} windows.")
        return MeterQuestion(metric, query["from"], query["to"], subjects, None, (), filters, query.get("subject"))

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
    def _page(rows: list[MeterRow], query: dict[str, Any], body: dict[str, Any]) -> list[MeterRow]:
        """Keep the groups of one page, the largest first, when paging is asked for."""
        limit, offset = query.get("groupLimit"), query.get("groupOffset", 0)
        if limit is None and not offset:
            return rows
        weight: dict[tuple[str, ...], Decimal] = {}
        for row in rows:
            weight[row.group] = weight.get(row.group, Decimal(0)) + (row.quantity or Decimal(0))
        ordered = sorted(weight, key=lambda group: (-weight[group], group))
        end = None if limit is None else offset + limit
        kept = set(ordered[offset:end])
        if limit is not None:
            body["groupCount"] = len(ordered)
        return [row for row in rows if row.group in kept]

    @staticmethod
    def _window(row: MeterRow, size: str) -> dict[str, Any]:
        assert row.window_start is not None
        end = add(row.window_start, Cadence.parse(STEPS[size]))
        return {
            "windowStart": format_instant(row.window_start),
            "windowEnd": format_instant(end),
            "value": number(row.quantity),
        }

    @staticmethod
    def _grouped(rows: list[MeterRow], groups: list[str]) -> list[dict[str, Any]]:
        return [
            {
                "groupBy": dict(zip(groups, row.group, strict=True)),
                "value": number(row.quantity),
                "eventCount": row.event_count,
            }
            for row in rows
        ]


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
        query = self.read_query(EventQuerySerializer)
        limit, offset = page_bounds(request, default=20, maximum=200)
        rows = MeterEvent.objects.filter(
            organization_id=self.organization_id,
            event_type=metric.event_type,
            occurred_at__gte=query["from"],
            occurred_at__lt=query["to"],
        )
        if "subject" in query:
            rows = rows.filter(
                spans_filter(
                    find_customer_subjects(organization_id=self.organization_id, customer_public_id=query["subject"])
                )
            )
        if "externalId" in query:
            rows = rows.filter(external_id=query["externalId"])
        if "externalSubject" in query:
            named = Subject.objects.filter(
                organization_id=self.organization_id, is_external=True, value=query["externalSubject"]
            )
            rows = rows.filter(subject_id__in=list(named.values_list("pk", flat=True)))
        total = rows.count()
        page = list(rows.order_by("-occurred_at", "-public_id")[offset : offset + limit])
        require_raw([query["from"]])
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


def _shortest(size: str) -> timedelta:
    return {
        "MINUTE": timedelta(minutes=1),
        "HOUR": timedelta(hours=1),
        "DAY": timedelta(days=1),
        "MONTH": timedelta(days=28),
    }[size]


def _bad(field: str, message: str) -> InvalidError:
    return InvalidError(f"{field}: {message}", errors=[FieldError(field, message, "invalid")])
