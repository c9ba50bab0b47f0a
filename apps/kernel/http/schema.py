from typing import Any, Literal

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers


class ErrorSerializer(serializers.Serializer[Any]):
    """What every refusal looks like."""

    message = serializers.CharField()
    error = serializers.CharField(required=False)
    code = serializers.CharField(required=False)
    details = serializers.DictField(required=False)
    reason = serializers.CharField(required=False)
    requiredPermissions = serializers.ListField(child=serializers.CharField(), required=False)


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tells how calls are authenticated."""

    target_class = "apps.kernel.http.authentication.PrincipalAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "sk_test_… or sk_live_…"}


class DecimalScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Describes exact decimals: text, and where the wire allows it a number too."""

    target_class = "apps.kernel.http.fields.DecimalStringField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        text = {"type": "string", "format": "decimal"}
        return {"oneOf": [text, {"type": "number"}]} if self.target.accept_number else text


class ContractSchema(AutoSchema):
    """Describe every operation with the error answers that all of them share."""

    def get_tags(self) -> list[str]:
        parts = [part for part in self.path.split("/") if part]
        return [parts[1]] if len(parts) > 1 else parts

    def get_operation_id(self) -> str:
        return str(getattr(self.view, "operation_ids", {}).get(self.method) or super().get_operation_id())

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> Any:
        bodies = super()._get_response_bodies(direction)
        refusal = self._get_response_for_code(ErrorSerializer, "default")  # type: ignore[no-untyped-call]
        described = {
            "400": "A field is malformed; every bad one is named.",
            "401": "No valid API key was sent.",
            "403": "The key may not do this.",
            "404": "There is no such object of this merchant.",
            "429": "Too many calls; wait as `Retry-After` says.",
        }
        for status, text in described.items():
            bodies.setdefault(status, {**refusal, "description": text})
        return bodies
