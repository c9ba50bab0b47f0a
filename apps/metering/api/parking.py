"""Events that are put aside for their odd timing: listed, released, discarded."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.kernel.clock import wall_now
from apps.kernel.errors import FieldError, InvalidError, NotFoundError
from apps.kernel.http.fields import InstantField, MatchedCharField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.kernel.time import format_instant
from apps.metering.api.doorbell import ring
from apps.metering.models import ParkedEvent, ParkReason, ParkState
from apps.metering.selectors.parking import parked_events, with_names
from apps.metering.services.releasing import AT_ONCE, Decision, discard_parked, release_parked

MAXIMUM_IDS = 1_000
TOO_OLD = "Keys or raw events of its time are gone, so it could not be counted exactly once; discard it."


class ParkedFilterSerializer(serializers.Serializer[Any]):
    reason = serializers.ChoiceField(choices=ParkReason.values, required=False)
    type = MatchedCharField(required=False, max_length=255)
    source = MatchedCharField(required=False, max_length=255)  # type: ignore[assignment]  # the wire's name
    subject = MatchedCharField(required=False, max_length=255)
    externalSubject = MatchedCharField(required=False, max_length=255)
    idempotencyKey = MatchedCharField(required=False, max_length=255)
    to = InstantField(required=False)

    def get_fields(self) -> dict[str, Any]:
        # "from" is a word of the language and cannot be declared as an attribute.
        return {"from": InstantField(required=False), **super().get_fields()}


class ParkedQuerySerializer(ParkedFilterSerializer):
    state = serializers.ChoiceField(choices=ParkState.values, required=False)


class DecideSerializer(serializers.Serializer[Any]):
    """Which parked events: by id, or all that fit a filter."""

    ids = serializers.ListField(
        child=StrictCharField(max_length=40), required=False, min_length=1, max_length=MAXIMUM_IDS
    )
    filter = ParkedFilterSerializer(required=False)
    reason = StrictCharField(max_length=1000)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if ("ids" in data) == ("filter" in data):
            raise serializers.ValidationError({"ids": "Give exactly one of ids and filter."}, code="required")
        if "filter" in data and not data["filter"]:
            raise serializers.ValidationError({"filter": "Name at least one thing to filter by."}, code="required")
        return data


class ParkedEventSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField(default="parkedEvent")
    state = serializers.ChoiceField(choices=ParkState.values)
    reason = serializers.ChoiceField(choices=ParkReason.values)
    type = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    subject = serializers.CharField(required=False)
    externalSubject = serializers.CharField(required=False)
    externalId = serializers.CharField(required=False)
    timestamp = InstantField()
    acceptedAt = InstantField()
    idempotencyKey = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]
    settledAt = InstantField(required=False)
    settledBy = serializers.CharField(required=False)
    note = serializers.CharField(required=False)


class TooOldSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()


class DecisionSerializer(serializers.Serializer[Any]):
    object = serializers.CharField(default="parkedDecision")
    released = serializers.IntegerField(required=False)
    discarded = serializers.IntegerField(required=False)
    refused = TooOldSerializer(many=True)
    hasMore = serializers.BooleanField(help_text="More fit the filter than one call decides on; call again.")


class ParkedList(ContractView):
    scopes = {"GET": "usage:read"}

    @extend_schema(
        operation_id="listParkedEvents",
        parameters=[
            OpenApiParameter("state", str, enum=ParkState.values),
            OpenApiParameter("reason", str, enum=ParkReason.values),
            *(OpenApiParameter(name, str) for name in ("type", "source", "subject", "externalSubject")),
            OpenApiParameter("idempotencyKey", str),
            OpenApiParameter("from", datetime),
            OpenApiParameter("to", datetime),
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
        ],
        responses=page_of(ParkedEventSerializer),
    )
    def get(self, request: Request) -> Response:
        filters = self.read_query(ParkedQuerySerializer)
        rows = parked_events(organization_id=self.organization_id, filters=filters)
        return Response(list_page(request, with_names(rows), render_parked))


class _Decide(ContractView):
    scopes = {"POST": "events:correct"}
    word = ""
    decide: Callable[..., Decision]

    def answer(self) -> Response:
        data = self.read(DecideSerializer)
        rows = parked_events(organization_id=self.organization_id, filters=data.get("filter"))
        if "ids" in data:
            rows = self._named(data["ids"])
        decision = type(self).decide(
            organization_id=self.organization_id,
            rows=rows,
            by=self.principal.user_public_id,
            note=data["reason"],
            as_of=wall_now(),
        )
        ring()
        return Response(
            {
                "object": "parkedDecision",
                self.word: decision.done,
                "refused": [
                    {"id": public_id, "code": "TOO_OLD_TO_COUNT", "message": TOO_OLD}
                    for public_id in decision.too_old[:MAXIMUM_IDS]
                ],
                "hasMore": decision.done > 0 and decision.done + len(decision.too_old) == AT_ONCE,
            }
        )

    def _named(self, ids: list[str]) -> Any:
        rows = ParkedEvent.objects.filter(organization_id=self.organization_id, public_id__in=ids)
        known = set(rows.values_list("public_id", flat=True))
        missing = [public_id for public_id in ids if public_id not in known]
        if missing and len(ids) == 1:
            raise NotFoundError(f"There is no parked event {missing[0]}.")
        if missing:
            message = f"There are no parked events {', '.join(missing[:10])}."
            raise InvalidError(message, errors=[FieldError("ids", message, "unknown")])
        return rows


class ParkedRelease(_Decide):
    """Count parked events: they go the ordinary way, so a key that is known still counts once."""

    word = "released"
    decide = staticmethod(release_parked)

    @extend_schema(operation_id="releaseParkedEvents", request=DecideSerializer, responses={200: DecisionSerializer})
    def post(self, request: Request) -> Response:
        return self.answer()


class ParkedDiscard(_Decide):
    """Decide that parked events never count; they stay listed as discarded."""

    word = "discarded"
    decide = staticmethod(discard_parked)

    @extend_schema(operation_id="discardParkedEvents", request=DecideSerializer, responses={200: DecisionSerializer})
    def post(self, request: Request) -> Response:
        return self.answer()


def render_parked(row: Any) -> dict[str, Any]:
    """Give a parked event in the wire's form; it was read `with_names`."""
    body: dict[str, Any] = {
        "id": row.public_id,
        "object": "parkedEvent",
        "state": row.state,
        "reason": row.reason,
        "type": row.event_type,
        "source": row.source,
        "externalSubject" if row.subject_is_external else "subject": row.subject_name,
        "timestamp": format_instant(row.occurred_at),
        "acceptedAt": format_instant(row.accepted_at),
        "idempotencyKey": row.idempotency_key,
        "data": row.data,
    }
    if row.external_id:
        body["externalId"] = row.external_id
    if row.settled_at is not None:
        body |= {"settledAt": format_instant(row.settled_at), "settledBy": row.settled_by, "note": row.note}
    return body
