"""What the tax endpoints share."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers

from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.schema import ErrorSerializer
from apps.kernel.time import format_instant

SCOPES = {
    "GET": "catalog:read",
    "POST": "catalog:write",
    "PATCH": "catalog:write",
    "DELETE": "catalog:write",
}

OVERLAP = OpenApiResponse(ErrorSerializer, "Another one of its kind is in force on some of these days.")


class DatedInput(serializers.Serializer[Any]):
    """Days on which something holds; null has no bound, and `validTo` is not in it."""

    validFrom = serializers.DateField(required=False, allow_null=True)
    validTo = serializers.DateField(required=False, allow_null=True)


class PlaceInput(DatedInput):
    country = StrictCharField(max_length=2)
    region = StrictCharField(max_length=20, required=False, allow_blank=True)


class EntityOutput(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    merchantId = serializers.CharField()
    createdAt = InstantField()
    updatedAt = InstantField()


class DatedOutput(EntityOutput):
    country = serializers.CharField()
    region = serializers.CharField()
    validFrom = serializers.DateField(allow_null=True)
    validTo = serializers.DateField(allow_null=True)


def entity(row: Any, kind: str) -> dict[str, Any]:
    """Give what every tax object has."""
    return {
        "id": row.public_id,
        "object": kind,
        "merchantId": row.organization.public_id,
        "createdAt": format_instant(row.created_at),
        "updatedAt": format_instant(row.updated_at),
    }


def dated(row: Any) -> dict[str, Any]:
    """Give where and when something holds."""
    return {
        "country": row.country,
        "region": row.region,
        "validFrom": _day(row.valid.lower),
        "validTo": _day(row.valid.upper),
    }


def renamed(data: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Give what was sent under the names that services use."""
    return {names.get(name, name): value for name, value in data.items()}


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
