"""Units given to rights."""

from decimal import Decimal
from functools import partial

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from apps.catalog.domain.templates import is_short
from apps.entitlements.api.base import TRUE, RightsView
from apps.entitlements.api.inputs import CreateGrantSerializer
from apps.entitlements.api.shapes import UNLIMITED, GrantSerializer, render_grant
from apps.entitlements.models import Grant
from apps.entitlements.selectors.entitlements import grants_of, present_of
from apps.entitlements.services.granting import GrantTerms, create_grant, void_grant
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request
from apps.kernel.time import Cadence

PAGE = 20


class GrantView(RightsView):
    def grant(self, public_id: str, grant_id: str) -> Grant:
        return self.get_own(grants_of(self.entitlement(public_id)), grant_id, "grant")


class GrantList(GrantView):
    @extend_schema(
        operation_id="listEntitlementGrants",
        parameters=[
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
            OpenApiParameter("includeVoided", bool),
        ],
        responses=page_of(GrantSerializer),
    )
    def get(self, request: Request, public_id: str) -> Response:
        rows = grants_of(self.entitlement(public_id))
        if request.query_params.get("includeVoided", "").lower() not in TRUE:
            rows = rows.filter(voided_at__isnull=True)
        return Response(list_page(request, rows, partial(render_grant, of=public_id), default=PAGE))

    @extend_schema(
        operation_id="createEntitlementGrant", request=CreateGrantSerializer, responses={201: GrantSerializer}
    )
    def post(self, request: Request, public_id: str) -> Response:
        row = self.entitlement(public_id)
        data = self.read(CreateGrantSerializer)
        now = present_of(row)
        rollover = data.get("resetMaxRollover")
        terms = GrantTerms(
            amount=data["amount"],
            idempotency_key=data["idempotencyKey"],
            effective_at=data.get("effectiveAt", now),
            expires_at=data.get("expiresAt"),
            priority=data.get("priority", 0),
            rollover_min=data.get("resetMinRollover", Decimal(0)),
            rollover_max=None if rollover is None or rollover >= UNLIMITED else rollover,
            recurrence=recurrence_of(data.get("recurrencePeriod")),
        )
        grant, _ = create_grant(
            entitlement_id=row.pk, terms=terms, as_of=now, is_effective_given="effectiveAt" in data
        )
        return Response(render_grant(grant, of=public_id), status=201)


class GrantDetail(GrantView):
    @extend_schema(operation_id="getEntitlementGrant", responses=GrantSerializer)
    def get(self, request: Request, public_id: str, grant_id: str) -> Response:
        return Response(render_grant(self.grant(public_id, grant_id), of=public_id))

    @extend_schema(operation_id="voidEntitlementGrant", responses=GrantSerializer)
    def delete(self, request: Request, public_id: str, grant_id: str) -> Response:
        grant = self.grant(public_id, grant_id)
        now = present_of(self.entitlement(public_id))
        return Response(render_grant(void_grant(grant_id=grant.pk, as_of=now), of=public_id))


def recurrence_of(text: str | None) -> str:
    """Read how often a grant is filled up; empty for never."""
    if text is None:
        return ""
    try:
        cadence = Cadence.parse(text)
    except ValueError:
        cadence = Cadence()
    if cadence.is_once or is_short(cadence):
        message = "Give an ISO 8601 duration of an hour or more, such as P1W or P1M."
        raise InvalidError(message, errors=[FieldError("recurrencePeriod", message, "invalid")])
    return cadence.iso
