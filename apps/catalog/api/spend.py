"""Commitments and caps over the wire."""

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from apps.catalog.selectors.spend import Spend, SpendAmount
from apps.catalog.services.spend import FIELDS
from apps.kernel.http.fields import DecimalStringField, StrictCharField
from apps.kernel.money import format_decimal


class SpendSerializer(serializers.Serializer[Any]):
    """An amount for each full period of a cadence; without one, for each billing period."""

    amount = DecimalStringField(places=9, low=Decimal(0))
    cadence = StrictCharField(max_length=20, required=False, allow_null=True)


class SpendFields(serializers.Serializer[Any]):
    """What plans, their versions and prices may ask for; null takes it away."""

    minimumCommitment = SpendSerializer(required=False, allow_null=True)
    spendCap = SpendSerializer(required=False, allow_null=True)


class SpendShown(serializers.Serializer[Any]):
    """The same as it is shown; absent where there is none."""

    minimumCommitment = SpendSerializer(required=False)
    spendCap = SpendSerializer(required=False)


def read_spend(data: dict[str, Any]) -> dict[str, SpendAmount | None]:
    """Give the commitments and caps that a body names, by kind."""
    return {
        kind: None if data[name] is None else SpendAmount(data[name]["amount"], data[name].get("cadence") or "")
        for kind, name in FIELDS.items()
        if name in data
    }


def render_spend(spend: Spend) -> dict[str, Any]:
    """Give them in the wire's form."""
    return {
        FIELDS[kind]: {"amount": format_decimal(terms.amount), "cadence": terms.cadence or None}
        for kind, terms in sorted(spend.items())
    }
