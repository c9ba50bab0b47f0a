"""The call that lets a test environment begin anew."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.customers.selectors.customers import customers_of
from apps.kernel.errors import NotFoundError
from apps.kernel.http.fields import StrictCharField
from apps.kernel.http.views import ContractView, Request
from config.resetting import reset_customer, reset_merchant


class ResetSerializer(serializers.Serializer[Any]):
    scope = serializers.ChoiceField(choices=["merchant", "customer"])
    keepCatalog = serializers.BooleanField(
        required=False, help_text="Of a merchant: products, prices and plans stay."
    )
    customerId = StrictCharField(required=False, max_length=64)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if (data["scope"] == "customer") != ("customerId" in data):
            raise serializers.ValidationError(
                {"customerId": "Name the customer when the scope is customer, and only then."}, code="required"
            )
        if data["scope"] == "customer" and "keepCatalog" in data:
            raise serializers.ValidationError(
                {"keepCatalog": "A customer's reset never touches the catalog; leave this out."}, code="invalid"
            )
        return data


class MerchantReset(ContractView):
    scopes = {"POST": "organizations:write"}

    @extend_schema(
        operation_id="resetMerchant",
        request=ResetSerializer,
        responses={204: None},
        description="Deletes for good, in test environments only. Scope `merchant`: all customers with everything"
        " they did, and the catalog unless `keepCatalog`. Scope `customer`: what one did; it stays.",
    )
    def post(self, request: Request, public_id: str) -> Response:
        if public_id != self.principal.organization_public_id:
            raise NotFoundError(f"There is no merchant {public_id}.")
        data = self.read(ResetSerializer)
        if data["scope"] == "merchant":
            reset_merchant(organization_id=self.organization_id, keep_catalog=data.get("keepCatalog", False))
        else:
            rows = customers_of(organization_id=self.organization_id)
            reset_customer(customer=self.get_own(rows, data["customerId"], "customer"))
        return Response(status=204)
