import time
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.kernel.clock import wall_now
from apps.kernel.errors import FieldError, ForbiddenError, InvalidError
from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.kernel.time import Cadence, add
from apps.subscriptions.models import ClockStatus, TestClock
from apps.subscriptions.selectors.clocks import clocks_of
from apps.subscriptions.services.clocks import create_clock, delete_clock, request_advance
from apps.subscriptions.tasks import advance_clock

POLL_SECONDS = 0.05


class CreateTestClockSerializer(serializers.Serializer[Any]):
    currentTime = InstantField(required=False)
    description = StrictCharField(required=False, allow_blank=True, max_length=2000)
    merchantId = StrictCharField(required=False)
    name = StrictCharField(required=False, allow_blank=True, max_length=255)


class AdvanceTestClockSerializer(serializers.Serializer[Any]):
    currentTime = InstantField(required=False)
    advanceBy = StrictCharField(required=False, max_length=40)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if len({"currentTime", "advanceBy"} & set(data)) != 1:
            raise serializers.ValidationError("Give either currentTime or advanceBy.", code="required")
        return data


class TestClockSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id")
    createdAt = InstantField(source="created_at")
    currentTime = InstantField(source="current_time")
    targetTime = InstantField(source="target_time")
    status = serializers.ChoiceField(choices=ClockStatus.values)
    failure = serializers.CharField()
    merchantId = serializers.CharField(source="organization.public_id")
    updatedAt = InstantField(source="updated_at")
    deletedAt = InstantField(source="deleted_at", allow_null=True)
    description = serializers.CharField(allow_null=True)
    name = serializers.CharField(allow_null=True)


def render(clock: TestClock) -> dict[str, Any]:
    return dict(TestClockSerializer(clock).data)


class TestClockList(ContractView):
    """Test clocks of a merchant: simulated time for its test subscriptions."""

    scopes = {"GET": "testClocks:read", "POST": "testClocks:write"}

    @extend_schema(
        operation_id="listTestClocks",
        parameters=[
            OpenApiParameter("merchantId", str),
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
        ],
        responses=page_of(TestClockSerializer),
    )
    def get(self, request: Request) -> Response:
        self.require_merchant(request.query_params.get("merchantId"))
        clocks = clocks_of(organization_id=self.organization_id).select_related("organization")
        return Response(list_page(request, clocks, render))

    @extend_schema(
        operation_id="createTestClock",
        request=CreateTestClockSerializer,
        responses={201: TestClockSerializer},
    )
    def post(self, request: Request) -> Response:
        data = self.read(CreateTestClockSerializer)
        self.require_merchant(data.get("merchantId"))
        if self.principal.is_live:
            raise ForbiddenError(
                "Test clocks exist in test environments only; use an sk_test_ key.",
                reason="no_permission",
                required_permissions=[],
            )
        clock = create_clock(
            organization_id=self.organization_id,
            current_time=data.get("currentTime") or wall_now(),
            name=data.get("name", ""),
            description=data.get("description", ""),
        )
        return Response(render(clock), status=201)


class TestClockDetail(ContractView):
    """One test clock: read it, send it forward, withdraw it."""

    scopes = {"GET": "testClocks:read", "PATCH": "testClocks:write", "DELETE": "testClocks:write"}

    @extend_schema(operation_id="getTestClock", responses=TestClockSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render(self._clock(public_id)))

    @extend_schema(operation_id="advanceTestClock", request=AdvanceTestClockSerializer, responses=TestClockSerializer)
    def patch(self, request: Request, public_id: str) -> Response:
        """Send the clock forward: `currentTime` changes only when all work due on the way is done.

        The answer waits a few seconds for that; after it, read the clock until its status is `ready`.
        """
        clock = self._clock(public_id)
        target = self._target(clock, self.read(AdvanceTestClockSerializer))
        with transaction.atomic():
            clock = request_advance(clock_id=clock.pk, target=target)
            if clock.status == ClockStatus.ADVANCING:
                transaction.on_commit(lambda: advance_clock.delay(clock.pk))
        return Response(render(self._wait(clock)))

    @extend_schema(operation_id="deleteTestClock", responses=TestClockSerializer)
    def delete(self, request: Request, public_id: str) -> Response:
        return Response(render(delete_clock(clock_id=self._clock(public_id).pk, as_of=wall_now())))

    def _clock(self, public_id: str) -> TestClock:
        rows = clocks_of(organization_id=self.organization_id).select_related("organization")
        return self.get_own(rows, public_id, "test clock")

    @staticmethod
    def _target(clock: TestClock, data: dict[str, Any]) -> datetime:
        if "currentTime" in data:
            target: datetime = data["currentTime"]
            return target
        try:
            step = Cadence.parse(data["advanceBy"])
            target = add(clock.current_time, step)
        except (ValueError, OverflowError):
            target = clock.current_time
        if target <= clock.current_time:
            raise InvalidError(
                "advanceBy must be an ISO 8601 duration above zero, such as P1M or PT2H.",
                errors=[FieldError("advanceBy", "Give an ISO 8601 duration, such as P1M.", "invalid")],
            )
        return target

    @staticmethod
    def _wait(clock: TestClock) -> TestClock:
        """Give the clock as it is once it stopped, or after the time a client waits for an answer."""
        patience = time.monotonic() + settings.TEST_CLOCK_WAIT_SECONDS
        while clock.status == ClockStatus.ADVANCING and time.monotonic() < patience:
            time.sleep(POLL_SECONDS)
            clock = TestClock.objects.select_related("organization").get(pk=clock.pk)
        return clock
