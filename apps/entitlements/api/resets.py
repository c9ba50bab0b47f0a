"""Usage periods ended by hand."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.entitlements.api.base import RightsView
from apps.entitlements.models import UsageReset
from apps.entitlements.selectors.entitlements import present_of
from apps.entitlements.services.resetting import ResetTerms, reset_entitlement
from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request
from apps.kernel.time import format_instant


class ResetBodySerializer(serializers.Serializer[Any]):
    """How a usage period ends."""

    idempotencyKey = StrictCharField(max_length=255)
    effectiveAt = InstantField(
        required=False, help_text="Counts from the beginning of its minute; now by default. Never in the future."
    )
    retainAnchor = serializers.BooleanField(
        default=True, help_text="Whether later resets keep their calendar; otherwise they count from this one."
    )
    preserveOverage = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="Whether overage is carried over; by default as the entitlement's template says.",
    )
    reason = StrictCharField(max_length=255, required=False, default="")


class ResetSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    entitlementId = serializers.CharField()
    effectiveAt = InstantField()
    createdAt = InstantField()
    retainAnchor = serializers.BooleanField()
    preserveOverage = serializers.BooleanField()
    reason = serializers.CharField(allow_blank=True)
    idempotencyKey = serializers.CharField()


class EntitlementReset(RightsView):
    @extend_schema(
        operation_id="resetEntitlement",
        request=ResetBodySerializer,
        responses={201: ResetSerializer, 200: ResetSerializer},
        description="Ends the running usage period of a metered entitlement: grants keep their rollover, the"
        " allowance is issued, usage counts from zero. 200 gives the reset that the same key made before.",
    )
    def post(self, request: Request, public_id: str) -> Response:
        row = self.entitlement(public_id)
        data = self.read(ResetBodySerializer)
        terms = ResetTerms(
            idempotency_key=data["idempotencyKey"],
            effective_at=data.get("effectiveAt"),
            retains_anchor=data["retainAnchor"],
            preserves_overage=data["preserveOverage"],
            reason=data["reason"],
        )
        made, is_new = reset_entitlement(entitlement_id=row.pk, terms=terms, as_of=present_of(row))
        return Response(render_reset(made), status=201 if is_new else 200)


class ResetList(RightsView):
    @extend_schema(
        operation_id="listEntitlementResets",
        parameters=[OpenApiParameter("limit", int), OpenApiParameter("offset", int)],
        responses=page_of(ResetSerializer),
        description="Resets made by hand, newest first; those of the calendar follow from the template.",
    )
    def get(self, request: Request, public_id: str) -> Response:
        rows = UsageReset.objects.filter(entitlement=self.entitlement(public_id)).select_related("entitlement")
        return Response(list_page(request, rows.order_by("-effective_at"), render_reset))


def render_reset(row: UsageReset) -> dict[str, Any]:
    return {
        "id": row.public_id,
        "object": "entitlement_reset",
        "entitlementId": row.entitlement.public_id,
        "effectiveAt": format_instant(row.effective_at),
        "createdAt": format_instant(row.made_at),
        "retainAnchor": row.retains_anchor,
        "preserveOverage": row.preserves_overage,
        "reason": row.reason,
        "idempotencyKey": row.idempotency_key,
    }
