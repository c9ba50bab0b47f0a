"""What was bought, as it stands on its own and on its invoice."""

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from apps.invoicing.models import GrantPurchase, PurchaseStatus
from apps.kernel.http.fields import InstantField
from apps.kernel.money import format_amount, format_decimal
from apps.kernel.time import format_instant


class PurchasedSerializer(serializers.Serializer[Any]):
    object = serializers.CharField()
    id = serializers.CharField()
    status = serializers.ChoiceField(choices=PurchaseStatus.choices)
    invoiceId = serializers.CharField()
    entitlementId = serializers.CharField()
    grantId = serializers.CharField(allow_null=True)
    grantAmount = serializers.FloatField()
    price = serializers.CharField()
    unitPrice = serializers.CharField()
    currency = serializers.CharField()
    paymentExpiresAt = InstantField()
    createdAt = InstantField()
    endedAt = InstantField(allow_null=True)


def render_purchased(row: GrantPurchase) -> dict[str, Any]:
    """Give what was sold and what became of it."""
    return {
        "id": row.public_id,
        "object": "grant_purchase",
        "status": row.status,
        "invoiceId": row.invoice.public_id,
        "entitlementId": row.entitlement.public_id,
        "grantId": row.grant.public_id if row.grant is not None else None,
        "grantAmount": Decimal(format_decimal(row.amount)),
        "price": format_amount(row.price, row.currency),
        "unitPrice": format_decimal(row.unit_price),
        "currency": row.currency.lower(),
        "paymentExpiresAt": format_instant(row.payment_expires_at),
        "createdAt": format_instant(row.placed_at),
        "endedAt": format_instant(row.ended_at) if row.ended_at is not None else None,
    }
