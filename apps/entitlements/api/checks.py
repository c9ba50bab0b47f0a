"""May it be used now: many questions in one call, and units set aside."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.entitlements.api.answers import answer_questions
from apps.entitlements.api.base import READ, WRITE, RightsView
from apps.entitlements.api.inputs import CheckSerializer
from apps.entitlements.api.shapes import ReservationSerializer, render_reservation
from apps.entitlements.models import Reservation, ReservationStatus
from apps.entitlements.selectors.entitlements import present_of
from apps.entitlements.services.checking import end_reservation
from apps.kernel.errors import ForbiddenError
from apps.kernel.http.views import Request
from apps.metering.services.catching_up import catch_up


class AnswerSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    allowed = serializers.BooleanField()
    reason = serializers.ChoiceField(choices=["not_entitled", "limit_reached"], allow_null=True)
    entitlementId = serializers.CharField(allow_null=True)
    config = serializers.DictField(allow_null=True)
    balance = serializers.FloatField(allow_null=True)
    held = serializers.FloatField(allow_null=True)
    available = serializers.FloatField(allow_null=True)
    overage = serializers.FloatField(allow_null=True)
    pricingUnitId = serializers.CharField(allow_null=True)
    cost = serializers.FloatField(allow_null=True)
    reservation = ReservationSerializer(allow_null=True)


class AnswersSerializer(serializers.Serializer[Any]):
    object = serializers.CharField()
    data = AnswerSerializer(many=True)  # type: ignore[assignment]


class Check(RightsView):
    scopes = {"POST": READ}

    @extend_schema(
        operation_id="checkEntitlements",
        request=CheckSerializer,
        responses=AnswersSerializer,
        description="Answers come in the order of the questions. Setting units aside needs `entitlements:write`.",
    )
    def post(self, request: Request) -> Response:
        data = self.read(CheckSerializer)
        if any("reserveSeconds" in row for row in data["questions"]) and not self.principal.allows(WRITE):
            raise ForbiddenError(
                "This API key may not reserve.", reason="insufficient_scope", required_permissions=[WRITE]
            )
        return Response(answer_questions(self.organization_id, data["questions"], is_consistent=data["consistent"]))


class ReservationView(RightsView):
    def reservation(self, public_id: str) -> Reservation:
        rows = Reservation.objects.select_related("entitlement__subscription__test_clock")
        return self.get_own(rows, public_id, "reservation")


class ReservationDetail(ReservationView):
    @extend_schema(operation_id="getReservation", responses=ReservationSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        row = self.reservation(public_id)
        return Response(render_reservation(row, present_of(row.entitlement)))


class ReservationSettlement(ReservationView):
    @extend_schema(
        operation_id="settleReservation",
        request=None,
        responses=ReservationSerializer,
        description="Send the event of the use first. The units stay set aside until it is counted: there is no"
        " moment at which neither the event nor the reservation holds them. 503 asks to try again.",
    )
    def post(self, request: Request, public_id: str) -> Response:
        row = self.reservation(public_id)
        catch_up(organization_id=self.organization_id)
        return _ended(row, ReservationStatus.SETTLED)


class ReservationRelease(ReservationView):
    @extend_schema(operation_id="releaseReservation", request=None, responses=ReservationSerializer)
    def post(self, request: Request, public_id: str) -> Response:
        return _ended(self.reservation(public_id), ReservationStatus.RELEASED)


def _ended(row: Reservation, status: ReservationStatus) -> Response:
    now = present_of(row.entitlement)
    return Response(render_reservation(end_reservation(reservation_id=row.pk, status=status, as_of=now), now))
