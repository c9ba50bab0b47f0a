"""What was bought, as it stands on its own and on its invoice."""

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from apps.invoicing.models import Purchase, PurchaseStatus
from apps.kernel.http.fields import InstantField
from apps.kernel.money import format_amount, format_decimal
from apps.kernel.time import format_instant


class _PurchasedSerializer(serializers.Serializer[Any]):
    object = serializers.CharField()
    id = serializers.CharField()
    status = serializers.ChoiceField(choices=PurchaseStatus.choices)
    invoiceId = serializers.CharField()
    entitlementId = serializers.CharField()
    price = serializers.CharField()
    unitPrice = serializers.CharField()
    currency = serializers.CharField()
    paymentExpiresAt = InstantField()
    createdAt = InstantField()
    endedAt = InstantField(allow_null=True)


class PurchasedGrantSerializer(_PurchasedSerializer):
    grantId = serializers.CharField(allow_null=True)
    grantAmount = serializers.FloatField()


class PurchasedBurstSerializer(_PurchasedSerializer):
    burstId = serializers.CharField(allow_null=True)
    slots = serializers.IntegerField()
    startsAt = InstantField(allow_null=True, help_text="As asked; null: from its payment on.")
    endsAt = InstantField()


def purchased_name(row: Purchase) -> str:
    """Give the name under which an invoice carries what it sold."""
    return "burstPurchase" if row.is_burst else "grantPurchase"


def render_purchased(row: Purchase) -> dict[str, Any]:
    """Give what was sold and what became of it."""
    return {
        "id": row.public_id,
        "object": "burst_purchase" if row.is_burst else "grant_purchase",
        "status": row.status,
        "invoiceId": row.invoice.public_id,
        "entitlementId": row.entitlement.public_id,
        **(_burst(row) if row.is_burst else _grant(row)),
        "price": format_amount(row.price, row.currency),
        "unitPrice": format_decimal(row.unit_price),
        "currency": row.currency.lower(),
        "paymentExpiresAt": format_instant(row.payment_expires_at),
        "createdAt": format_instant(row.placed_at),
        "endedAt": format_instant(row.ended_at) if row.ended_at is not None else None,
    }


def _grant(row: Purchase) -> dict[str, Any]:
    return {
        "grantId": row.grant.public_id if row.grant is not None else None,
        "grantAmount": Decimal(format_decimal(row.amount)),
    }


def _burst(row: Purchase) -> dict[str, Any]:
    return {
        "burstId": row.burst.public_id if row.burst is not None else None,
        "slots": int(row.amount),
        "startsAt": format_instant(row.effective_at) if row.effective_at is not None else None,
        "endsAt": format_instant(row.expires_at) if row.expires_at is not None else None,
    }
