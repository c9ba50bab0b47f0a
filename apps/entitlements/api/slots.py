"""What runs at once: slots acquired, kept and released, and how much of them is used."""

from datetime import datetime, timedelta
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.entitlements.api.answers import NAMES
from apps.entitlements.api.base import RightsView
from apps.entitlements.api.inputs import AskedSerializer, refuse
from apps.entitlements.models import Slot, SlotBurst
from apps.entitlements.selectors.asking import Asked
from apps.entitlements.selectors.entitlements import present_of
from apps.entitlements.selectors.slots import bursts_of, find_pool, present_of_pool, rooms_of, slot_use, slots_of
from apps.entitlements.services.bursts import grant_burst, void_burst
from apps.entitlements.services.slots import (
    LONGEST_LEASE,
    SHORTEST_LEASE,
    acquire_slot,
    keep_slot,
    release_slot,
    require_slots,
)
from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request
from apps.kernel.money import format_amount, format_decimal
from apps.kernel.time import format_instant

DEFAULT_LEASE, DEFAULT_SPAN, LONGEST_SPAN = 60, timedelta(days=1), timedelta(days=366)
FILTERS = ("customerId", "externalCustomerId", "featureId", "featureKey", "productId", "status")


class LeaseField(serializers.IntegerField):
    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        kwargs.setdefault("help_text", "How long it is held without a heartbeat.")
        super().__init__(min_value=SHORTEST_LEASE, max_value=LONGEST_LEASE, **kwargs)


class AcquireSerializer(AskedSerializer):
    idempotencyKey = StrictCharField(max_length=255)
    leaseSeconds = LeaseField(default=DEFAULT_LEASE)
    holder = StrictCharField(required=False, max_length=255, help_text="What holds it, in your words.")


class HeartbeatSerializer(serializers.Serializer[Any]):
    leaseSeconds = LeaseField()


class BurstInputSerializer(serializers.Serializer[Any]):
    slots = serializers.IntegerField(min_value=1, max_value=1_000_000)
    startsAt = InstantField(required=False)
    endsAt = InstantField()
    reason = StrictCharField(required=False, max_length=255)
    idempotencyKey = StrictCharField(max_length=255)


class SlotSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    customerId = serializers.CharField()
    featureId = serializers.CharField()
    featureKey = serializers.CharField()
    status = serializers.ChoiceField(choices=["held", "released", "expired", "forced"])
    holder = serializers.CharField()
    acquiredAt = InstantField()
    expiresAt = InstantField()
    endedAt = InstantField(allow_null=True)
    leaseSeconds = serializers.IntegerField()
    idempotencyKey = serializers.CharField()


class AcquiredSerializer(SlotSerializer):
    limit = serializers.IntegerField()
    held = serializers.IntegerField()


class StepSerializer(serializers.Serializer[Any]):
    at = InstantField()
    held = serializers.IntegerField()


class SlotUseSerializer(serializers.Serializer[Any]):
    object = serializers.CharField()
    entitlementId = serializers.CharField()
    limit = serializers.IntegerField()
    held = serializers.IntegerField()
    free = serializers.IntegerField()
    start = InstantField()
    end = InstantField()
    peak = serializers.IntegerField()
    average = serializers.CharField(help_text="Slots held, weighted by time.")
    steps = StepSerializer(many=True)


class BurstSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    entitlementId = serializers.CharField()
    slots = serializers.IntegerField()
    startsAt = InstantField()
    endsAt = InstantField()
    voidedAt = InstantField(allow_null=True)
    reason = serializers.CharField()
    idempotencyKey = serializers.CharField()
    price = serializers.CharField(allow_null=True, help_text="What was paid for it; null: given.")
    unitPrice = serializers.CharField(allow_null=True)
    currency = serializers.CharField(allow_null=True)
    invoiceId = serializers.CharField(allow_null=True)


class SlotView(RightsView):
    def slot(self, public_id: str) -> Slot:
        return self.get_own(slots_of(organization_id=self.organization_id), public_id, "slot")


class SlotList(SlotView):
    @extend_schema(
        operation_id="listSlots",
        parameters=[
            *(OpenApiParameter(name, str) for name in FILTERS),
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
        ],
        responses=page_of(SlotSerializer),
    )
    def get(self, request: Request) -> Response:
        query = {name: request.query_params.get(name) or None for name in FILTERS}
        rows = slots_of(organization_id=self.organization_id)
        for name, column in (
            ("customerId", "pool__customer__public_id"),
            ("externalCustomerId", "pool__customer__external_id"),
            ("featureId", "pool__feature__public_id"),
            ("featureKey", "pool__feature__key"),
            ("productId", "pool__feature__product__public_id"),
        ):
            if query[name] is not None:
                rows = rows.filter(**{column: query[name]})
        if query["status"] not in (None, "held", "ended"):
            raise refuse("status", "Give held or ended.")
        if query["status"] is not None:
            rows = rows.filter(ended_at__isnull=query["status"] == "held")
        return Response(list_page(request, rows, render_slot))

    @extend_schema(
        operation_id="acquireSlot",
        request=AcquireSerializer,
        responses={200: AcquiredSerializer, 201: AcquiredSerializer},
        description="201 takes a slot, 200 gives the one that the same key holds. 409 `SLOTS_TAKEN` when no more may"
        " be held at once (`nextExpiryAt`: when one becomes free if nobody keeps or releases any), `SLOT_ENDED` when"
        " what the key took is over, `NOT_ENTITLED` without a right. Keep it by heartbeats before its lease ends.",
    )
    def post(self, request: Request) -> Response:
        data = self.read(AcquireSerializer)
        found = acquire_slot(
            organization_id=self.organization_id,
            asked=Asked(*(data.get(name) for name in NAMES)),
            key=data["idempotencyKey"],
            lease=timedelta(seconds=data["leaseSeconds"]),
            holder=data.get("holder", ""),
        )
        body = {**render_slot(found.slot), "limit": found.room.limit, "held": found.room.held}
        return Response(body, status=201 if found.is_new else 200)


class SlotDetail(SlotView):
    @extend_schema(operation_id="getSlot", responses=SlotSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_slot(self.slot(public_id)))


class SlotHeartbeat(SlotView):
    @extend_schema(
        operation_id="keepSlot",
        request=HeartbeatSerializer,
        responses=SlotSerializer,
        description="409 `SLOT_ENDED` when it is too late; 409 `SLOTS_OVER_LIMIT` when the limit fell below what is"
        " held and earlier slots take it all: this one then ends with its lease.",
    )
    def post(self, request: Request, public_id: str) -> Response:
        slot = self.slot(public_id)
        seconds = self.read(HeartbeatSerializer).get("leaseSeconds") if request.body else None
        kept = keep_slot(slot_id=slot.pk, lease=None if seconds is None else timedelta(seconds=seconds))
        slot.expires_at, slot.lease_seconds = kept.expires_at, kept.lease_seconds
        return Response(render_slot(slot))


class SlotRelease(SlotView):
    @extend_schema(operation_id="releaseSlot", request=None, responses=SlotSerializer)
    def post(self, request: Request, public_id: str) -> Response:
        slot = self.slot(public_id)
        ended = release_slot(slot_id=slot.pk)
        slot.ended_at, slot.end = ended.ended_at, ended.end
        return Response(render_slot(slot))


class SlotUseDetail(RightsView):
    @extend_schema(
        operation_id="getSlotUse",
        parameters=[OpenApiParameter("from", datetime), OpenApiParameter("to", datetime)],
        responses=SlotUseSerializer,
        description="Peak and average over a span, by default the last day.",
    )
    def get(self, request: Request, public_id: str) -> Response:
        row = require_slots(self.entitlement(public_id))
        pool = find_pool(customer_id=row.customer_id, feature_id=row.right_to_id)
        now = present_of(row) if pool is None else present_of_pool(pool)
        end = self.query_instant("to") or now
        start = self.query_instant("from") or end - DEFAULT_SPAN
        if not start < end <= start + LONGEST_SPAN:
            raise refuse("to", "Give an end after the start, at most 366 days later.")
        room = rooms_of([row], at={row.pk: now})[row.pk]
        use = slot_use(pool=pool, start=start, end=end, at=now) if pool is not None else None
        return Response(
            {
                "object": "slotUse",
                "entitlementId": row.public_id,
                "limit": room.limit,
                "held": room.held,
                "free": room.free,
                "start": format_instant(start),
                "end": format_instant(end),
                "peak": 0 if use is None else use.peak,
                "average": "0" if use is None else format_decimal(use.average),
                "steps": [{"at": format_instant(at), "held": held} for at, held in (use.steps if use else ())],
            }
        )


class BurstList(RightsView):
    @extend_schema(
        operation_id="listSlotBursts",
        parameters=[OpenApiParameter("limit", int), OpenApiParameter("offset", int)],
        responses=page_of(BurstSerializer),
    )
    def get(self, request: Request, public_id: str) -> Response:
        row = self.entitlement(public_id)
        return Response(list_page(request, bursts_of(row), lambda burst: render_burst(burst, row.public_id)))

    @extend_schema(
        operation_id="grantSlotBurst",
        request=BurstInputSerializer,
        responses={200: BurstSerializer, 201: BurstSerializer},
        description="Raises how many slots may be held from `startsAt` (now by default) until `endsAt`.",
    )
    def post(self, request: Request, public_id: str) -> Response:
        row = self.entitlement(public_id)
        data = self.read(BurstInputSerializer)
        known = bursts_of(row).filter(idempotency_key=data["idempotencyKey"]).first()
        # A repeat that leaves the start to us is the same whenever it comes.
        now = present_of(row) if known is None else known.starts_at
        burst, is_new = grant_burst(
            entitlement=row,
            slots=data["slots"],
            starts_at=data.get("startsAt", now),
            ends_at=data["endsAt"],
            reason=data.get("reason", ""),
            key=data["idempotencyKey"],
        )
        return Response(render_burst(burst, row.public_id), status=201 if is_new else 200)


class BurstDetail(RightsView):
    @extend_schema(operation_id="voidSlotBurst", responses=BurstSerializer)
    def delete(self, request: Request, public_id: str, burst_id: str) -> Response:
        row = self.entitlement(public_id)
        burst = self.get_own(bursts_of(row), burst_id, "burst")
        voided = void_burst(burst_id=burst.pk, as_of=present_of(row))
        return Response(render_burst(voided, row.public_id))


def render_slot(row: Slot) -> dict[str, Any]:
    now = None if row.ended_at is not None else present_of_pool(row.pool)
    status = row.end or ("expired" if now is not None and row.expires_at <= now else "held")
    ended_at = row.expires_at if status == "expired" else row.ended_at
    return {
        "id": row.public_id,
        "object": "slot",
        "customerId": row.pool.customer.public_id,
        "featureId": row.pool.feature.public_id,
        "featureKey": row.pool.feature.key,
        "status": status,
        "holder": row.holder,
        "acquiredAt": format_instant(row.acquired_at),
        "expiresAt": format_instant(row.expires_at),
        "endedAt": None if ended_at is None else format_instant(ended_at),
        "leaseSeconds": row.lease_seconds,
        "idempotencyKey": row.idempotency_key,
    }


def render_burst(row: SlotBurst, entitlement_id: str) -> dict[str, Any]:
    return {
        "id": row.public_id,
        "object": "slotBurst",
        "entitlementId": entitlement_id,
        "slots": row.slots,
        "startsAt": format_instant(row.starts_at),
        "endsAt": format_instant(row.ends_at),
        "voidedAt": None if row.voided_at is None else format_instant(row.voided_at),
        "reason": row.reason,
        "idempotencyKey": row.idempotency_key,
        "price": None if row.price is None else format_amount(row.price, row.currency),
        "unitPrice": None if row.unit_price is None else format_decimal(row.unit_price),
        "currency": row.currency.lower() or None,
        "invoiceId": row.invoice_reference or None,
    }
