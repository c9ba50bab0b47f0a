"""Entitlements, grants and reservations in the wire's form."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from apps.entitlements.models import Entitlement, Grant, Reservation
from apps.entitlements.selectors.histories import History
from apps.kernel.http.fields import InstantField, StringMapField
from apps.kernel.time import format_instant

# How the wire writes "all of it": a rollover without a bound.
UNLIMITED = Decimal(999_999_999_999)
FEATURE_TYPES = ["boolean", "static", "metered"]


class RightSerializer(serializers.Serializer[Any]):
    """What every answer about a right says; `balance` and what follows only of a metered feature."""

    customerId = serializers.CharField()
    featureId = serializers.CharField()
    featureKey = serializers.CharField()
    featureType = serializers.ChoiceField(choices=FEATURE_TYPES)
    productId = serializers.CharField()
    subscriptionId = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=["active", "canceled", "expired"])
    activeFrom = InstantField()
    activeTo = InstantField(allow_null=True)
    hasAccess = serializers.BooleanField()
    metadata = StringMapField()
    config = serializers.DictField(allow_null=True)
    isSoftLimit = serializers.BooleanField(required=False)
    balance = serializers.FloatField(required=False)
    usageInPeriod = serializers.FloatField(required=False)
    overage = serializers.FloatField(required=False)
    pricingUnitId = serializers.CharField(required=False, allow_null=True)
    currentPeriodStart = InstantField(required=False, allow_null=True)
    currentPeriodEnd = InstantField(required=False, allow_null=True)


class EntitlementSerializer(RightSerializer):
    id = serializers.CharField()
    object = serializers.CharField()


class EntitlementItemSerializer(RightSerializer):
    entitlementId = serializers.CharField()


class GrantSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    entitlementId = serializers.CharField()
    amount = serializers.FloatField()
    effectiveAt = InstantField()
    createdAt = InstantField()
    recurrencePeriod = serializers.CharField(allow_null=True)
    idempotencyKey = serializers.CharField(allow_null=True)
    expiresAt = InstantField(allow_null=True)
    voidedAt = InstantField(allow_null=True)
    resetMaxRollover = serializers.FloatField()
    resetMinRollover = serializers.FloatField()
    priority = serializers.IntegerField()
    subscriptionId = serializers.CharField(required=False)
    price = serializers.CharField(required=False)
    unitPrice = serializers.CharField(required=False)


class PoolSerializer(serializers.Serializer[Any]):
    """What a customer has of a pricing unit; `usage` is all that was ever drawn."""

    id = serializers.CharField()
    object = serializers.CharField()
    pricingUnitId = serializers.CharField()
    customerId = serializers.CharField()
    activeFrom = InstantField()
    balance = serializers.FloatField()
    held = serializers.FloatField()
    available = serializers.FloatField()
    overage = serializers.FloatField()
    usage = serializers.FloatField()


class ReservationSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    entitlementId = serializers.CharField()
    quantity = serializers.FloatField()
    askedQuantity = serializers.FloatField(allow_null=True)
    status = serializers.ChoiceField(choices=["held", "settled", "released", "expired"])
    expiresAt = InstantField()
    endedAt = InstantField(allow_null=True)


def render_item(history: History) -> dict[str, Any]:
    """Give a right as an item of a list."""
    return {"entitlementId": history.entitlement.public_id, **_right(history)}


def render_entitlement(history: History) -> dict[str, Any]:
    """Give a right as itself."""
    return {"id": history.entitlement.public_id, "object": "entitlement", **_right(history)}


def status_of(row: Entitlement, at: datetime) -> str:
    if row.active_to is None or at < row.active_to:
        return "active"
    return "canceled" if row.is_canceled else "expired"


def _right(history: History) -> dict[str, Any]:
    row, state = history.entitlement, history.state
    body: dict[str, Any] = {
        "customerId": row.customer.public_id,
        "featureId": row.right_to.public_id,
        "featureKey": row.right_to.key,
        "featureType": "metered" if row.is_metered else "boolean" if row.config is None else "static",
        "productId": row.right_to.product.public_id,
        "subscriptionId": row.subscription.public_id if row.subscription is not None else None,
        "status": status_of(row, history.at),
        "activeFrom": format_instant(row.active_from),
        "activeTo": _instant(row.active_to),
        "hasAccess": history.has_access,
        "metadata": row.metadata,
        "config": row.config,
    }
    if row.is_metered:
        start, end = history.period
        body |= {
            "isSoftLimit": row.is_soft_limit,
            "balance": plain(state.balance),
            "usageInPeriod": plain(state.usage),
            "overage": plain(state.overage),
            "pricingUnitId": unit_id_of(row),
            "currentPeriodStart": format_instant(start),
            "currentPeriodEnd": _instant(end),
        }
    return body


def unit_id_of(row: Entitlement) -> str | None:
    """Give the pricing unit that a right or a pool is counted in; None where it has units of its own."""
    pool = row if row.pricing_unit_id is not None else row.pool
    return None if pool is None or pool.pricing_unit is None else pool.pricing_unit.public_id


def render_grant(row: Grant, of: str = "") -> dict[str, Any]:
    """Give a grant; one that was bought also says for what, one of a plan by which subscription.

    Args:
        of: public id of the right that was asked for it; by default whose units they are.
    """
    body = {
        "id": row.public_id,
        "object": "grant",
        "entitlementId": of or row.entitlement.public_id,
        "amount": plain(row.amount),
        "effectiveAt": format_instant(row.effective_at),
        "createdAt": format_instant(row.granted_at),
        "recurrencePeriod": row.recurrence or None,
        "idempotencyKey": row.idempotency_key,
        "expiresAt": _instant(row.expires_at),
        "voidedAt": _instant(row.voided_at),
        "resetMaxRollover": plain(UNLIMITED if row.rollover_max is None else row.rollover_max),
        "resetMinRollover": plain(row.rollover_min),
        "priority": row.priority,
    }
    if row.subscription is not None:
        body["subscriptionId"] = row.subscription.public_id
    if row.price is not None and row.unit_price is not None:
        body |= {"price": f"{plain(row.price):f}", "unitPrice": f"{plain(row.unit_price):f}"}
    return body


def render_pool(history: History, held: Decimal) -> dict[str, Any]:
    row, state = history.entitlement, history.state
    assert row.pricing_unit is not None
    return {
        "id": row.public_id,
        "object": "credit_pool",
        "pricingUnitId": row.pricing_unit.public_id,
        "customerId": row.customer.public_id,
        "activeFrom": format_instant(row.active_from),
        "balance": plain(state.balance),
        "held": plain(held),
        "available": plain(max(state.balance - held, Decimal(0))),
        "overage": plain(state.overage),
        "usage": plain(state.usage),
    }


def render_reservation(row: Reservation, at: datetime) -> dict[str, Any]:
    is_expired = row.status == "held" and row.expires_at <= at
    return {
        "id": row.public_id,
        "object": "reservation",
        "entitlementId": row.entitlement.public_id,
        "quantity": plain(row.quantity),
        "askedQuantity": None if row.asked_quantity is None else plain(row.asked_quantity),
        "status": "expired" if is_expired else row.status,
        "expiresAt": format_instant(row.expires_at),
        "endedAt": _instant(row.ended_at),
    }


def plain(amount: Decimal) -> Decimal:
    """Give a number without the zeros of its column."""
    whole = amount.to_integral_value()
    return whole if amount == whole else amount.normalize()


def _instant(value: datetime | None) -> str | None:
    return None if value is None else format_instant(value)
