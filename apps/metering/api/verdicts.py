"""What became of events, by their keys: the verdict on each, and the keys that came with other content."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.fields import InstantField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.metering.models import EventConflict
from apps.metering.selectors.verdicts import KeyState, verdicts_on

KEYS_AT_ONCE = 100


class KeyVerdictSerializer(serializers.Serializer[Any]):
    object = serializers.SerializerMethodField()
    idempotencyKey = serializers.CharField(source="idempotency_key")
    status = serializers.ChoiceField(choices=[(state.value, state.name) for state in KeyState], source="state")
    eventId = serializers.SerializerMethodField(help_text="The event that stands under the key.")
    acceptedAt = InstantField(source="accepted_at", allow_null=True)
    decidedAt = InstantField(source="decided_at", allow_null=True)
    conflicts = serializers.IntegerField(help_text="How often the key came with other content.")
    reason = serializers.CharField()

    def get_object(self, verdict: Any) -> str:
        return "eventStatus"

    def get_eventId(self, verdict: Any) -> str | None:
        return verdict.event_id or None


class KeyVerdictsSerializer(serializers.Serializer[Any]):
    object = serializers.CharField()
    data = KeyVerdictSerializer(many=True)  # type: ignore[assignment]


class EventConflictSerializer(serializers.Serializer[Any]):
    object = serializers.SerializerMethodField()
    idempotencyKey = serializers.CharField(source="idempotency_key")
    eventId = serializers.CharField(source="first_event_id", help_text="The event that stands under the key.")
    content = serializers.DictField(help_text="What the later event said.")
    detectedAt = InstantField(source="detected_at")

    def get_object(self, conflict: EventConflict) -> str:
        return "eventConflict"


class EventStatuses(ContractView):
    """The verdict on one key or several: `idempotencyKey` may be repeated."""

    scopes = {"GET": "usage:read"}

    @extend_schema(
        operation_id="getEventStatus",
        parameters=[OpenApiParameter("idempotencyKey", str, required=True, many=True)],
        responses=KeyVerdictsSerializer,
    )
    def get(self, request: Request) -> Response:
        keys = request.query_params.getlist("idempotencyKey")
        if not 0 < len(keys) <= KEYS_AT_ONCE or any(not 0 < len(key) <= 255 for key in keys):
            message = f"Give 1 to {KEYS_AT_ONCE} keys of 1 to 255 characters, the parameter once for each."
            raise InvalidError(message, errors=[FieldError("idempotencyKey", message)])
        verdicts = verdicts_on(organization_id=self.organization_id, keys=keys)
        return Response({"object": "list", "data": KeyVerdictSerializer(verdicts, many=True).data})


class EventConflicts(ContractView):
    """Keys that came again with other content, the newest first; the first content counts."""

    scopes = {"GET": "usage:read"}

    @extend_schema(
        operation_id="listEventConflicts",
        parameters=[
            OpenApiParameter("idempotencyKey", str),
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
        ],
        responses=page_of(EventConflictSerializer),
    )
    def get(self, request: Request) -> Response:
        rows = EventConflict.objects.filter(organization_id=self.organization_id).order_by("-id")
        if "idempotencyKey" in request.query_params:
            rows = rows.filter(idempotency_key=request.query_params["idempotencyKey"])
        return Response(list_page(request, rows, lambda row: EventConflictSerializer(row).data))
