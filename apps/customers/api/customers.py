from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from apps.customers.models import Customer, ZeroTaxReason
from apps.customers.selectors.customers import customers_of, tax_address_problem
from apps.customers.services.customers import (
    check_tax_rates,
    create_customer,
    delete_customer,
    update_customer,
)
from apps.kernel.clock import wall_now
from apps.kernel.errors import FieldError, InvalidError, NotFoundError
from apps.kernel.http.fields import AddressSerializer, InstantField, StrictCharField, TimeZoneField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.ratelimit import limit_rate
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.organizations.models import Organization
from apps.organizations.services.organizations import find_or_create_consumer

LIST_CALLS_PER_SECOND = 10


class ConsumerSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=255)
    email = serializers.EmailField(max_length=254)
    address = AddressSerializer()
    phone = StrictCharField(max_length=50, required=False)


class CreateCustomerSerializer(serializers.Serializer[Any]):
    merchantId = StrictCharField()
    consumer = ConsumerSerializer(required=False)
    consumerId = StrictCharField(required=False)
    taxId = StrictCharField(max_length=50, required=False)
    externalId = StrictCharField(max_length=255, required=False)
    taxRates = serializers.DictField(required=False)
    timezone = TimeZoneField(required=False)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if ("consumer" in data) == ("consumerId" in data):
            raise serializers.ValidationError(
                {"consumer": "Give exactly one of consumer and consumerId."}, code="required"
            )
        return data


class NotificationsSerializer(serializers.Serializer[Any]):
    invoiceIssued = serializers.BooleanField(required=False)
    invoicePaid = serializers.BooleanField(required=False)
    renewalReminder = serializers.BooleanField(required=False)


@extend_schema_field({"oneOf": [{"type": "number"}, {"type": "object", "additionalProperties": {"type": "number"}}]})
class TaxRatesField(serializers.Field[Any, Any, Any, Any]):
    """A percent for everything, or a map of percents by plan id, metric id or "default"."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict):
            return data
        if isinstance(data, int | Decimal) and not isinstance(data, bool):
            return {"default": data}
        raise serializers.ValidationError("Give a percent or a map of percents.")

    def to_representation(self, value: Any) -> Any:
        return value


class ZeroTaxSerializer(serializers.Serializer[Any]):
    """Why lines without tax have none (zero rated, exempt, reverse charge, not subject to tax), by which rule."""

    category = serializers.ChoiceField(choices=ZeroTaxReason.values)
    note = StrictCharField(max_length=255, required=False, allow_blank=True)


class UpdateCustomerSerializer(serializers.Serializer[Any]):
    taxId = StrictCharField(max_length=50, required=False, allow_null=True)
    externalId = StrictCharField(max_length=255, required=False, allow_null=True)
    taxRates = TaxRatesField(required=False)
    notificationSettings = NotificationsSerializer(required=False)
    timezone = TimeZoneField(required=False, allow_null=True)
    zeroTax = ZeroTaxSerializer(required=False, allow_null=True)
    billingReference = StrictCharField(max_length=100, required=False, allow_null=True)
    consolidateInvoices = serializers.BooleanField(
        required=False, allow_null=True, help_text="Null: as the merchant does."
    )


class ValidTaxAddressSerializer(serializers.Serializer[Any]):
    valid = serializers.BooleanField()
    message = serializers.CharField(required=False)


class CreatedCustomerSerializer(serializers.Serializer[Any]):
    customerId = serializers.CharField()
    validTaxAddress = ValidTaxAddressSerializer()


class CustomerOrganizationSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    address = AddressSerializer()
    billingEmails = serializers.ListField(child=serializers.CharField())
    phone = serializers.CharField()


class CustomerSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id")
    consumerId = serializers.CharField(source="consumer.public_id")
    merchantId = serializers.CharField(source="organization.public_id")
    createdAt = InstantField(source="created_at")
    updatedAt = InstantField(source="updated_at")
    object = serializers.CharField(default="customer")
    validTaxAddress = ValidTaxAddressSerializer()
    organization = CustomerOrganizationSerializer()
    taxId = serializers.CharField(required=False)
    externalId = serializers.CharField(required=False)
    taxRates = serializers.DictField()
    notificationSettings = NotificationsSerializer()
    timezone = serializers.CharField(allow_null=True)
    zeroTax = ZeroTaxSerializer(required=False)
    billingReference = serializers.CharField(required=False)
    consolidateInvoices = serializers.BooleanField(allow_null=True)


def render_customer(customer: Customer) -> dict[str, Any]:
    """Give a customer in the wire's form; an empty own id or tax id is left out."""
    consumer = customer.consumer
    body: dict[str, Any] = {
        "id": customer.public_id,
        "object": "customer",
        "consumerId": consumer.public_id,
        "merchantId": customer.organization.public_id,
        "createdAt": InstantField().to_representation(customer.created_at),
        "updatedAt": InstantField().to_representation(customer.updated_at),
        "validTaxAddress": render_validity(consumer),
        "organization": {
            "id": consumer.public_id,
            "name": consumer.name,
            "address": {
                "line1": consumer.line1,
                "line2": consumer.line2,
                "city": consumer.city,
                "state": consumer.state,
                "country": consumer.country,
                "zipCode": consumer.zip_code,
            },
            "billingEmails": consumer.billing_emails,
            "phone": consumer.phone,
        },
        "taxRates": {name: Decimal(str(rate)) for name, rate in customer.tax_rates.items()},
        "notificationSettings": {
            "invoiceIssued": customer.notify_invoice_issued,
            "invoicePaid": customer.notify_invoice_paid,
            "renewalReminder": customer.notify_renewal,
        },
    }
    body["timezone"] = customer.timezone or None
    body["consolidateInvoices"] = customer.consolidate_invoices
    if customer.tax_id:
        body["taxId"] = customer.tax_id
    if customer.external_id:
        body["externalId"] = customer.external_id
    if customer.zero_tax_reason:
        body["zeroTax"] = {"category": customer.zero_tax_reason, "note": customer.zero_tax_note}
    if customer.billing_reference:
        body["billingReference"] = customer.billing_reference
    return body


def render_validity(consumer: Organization) -> dict[str, Any]:
    problem = tax_address_problem(consumer)
    return {"valid": True} if problem is None else {"valid": False, "message": problem}


class CustomerList(ContractView):
    scopes = {"GET": "customers:read", "POST": "customers:write"}

    @extend_schema(
        operation_id="listCustomers",
        parameters=[
            OpenApiParameter("organizationId", str, required=True),
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
            OpenApiParameter("name", str),
            OpenApiParameter("email", str),
            OpenApiParameter("externalId", str),
        ],
        responses=page_of(CustomerSerializer),
    )
    def get(self, request: Request) -> Response:
        limit_rate(name="customers.list", caller=self.principal.key_id, calls=LIST_CALLS_PER_SECOND)
        self.require_merchant(self.require_query("organizationId"))
        rows = customers_of(organization_id=self.organization_id)
        for name, column in (("name", "consumer__name"), ("email", "consumer__email")):
            text = request.query_params.get(name)
            if text is None:
                continue
            if not 3 <= len(text) <= 255 or "\x00" in text:
                raise InvalidError(
                    f"{name} is too short.",
                    errors=[FieldError(name, "Give 3 to 255 characters.", "too_short")],
                )
            rows = rows.filter(**{f"{column}__icontains": text})
        external_id = request.query_params.get("externalId")
        if external_id is not None:
            rows = rows.filter(external_id=external_id.replace("\x00", ""))
        return Response(list_page(request, rows, render_customer))

    @extend_schema(
        operation_id="createCustomer",
        request=CreateCustomerSerializer,
        responses={
            201: CreatedCustomerSerializer,
            200: OpenApiResponse(CreatedCustomerSerializer, "The customer exists already."),
        },
    )
    def post(self, request: Request) -> Response:
        data = self.read(CreateCustomerSerializer)
        self.require_merchant(data["merchantId"])
        merchant = Organization.objects.get(pk=self.organization_id)
        customer, is_new = create_customer(
            merchant=merchant,
            consumer=self._consumer(merchant, data),
            external_id=data.get("externalId"),
            tax_id=data.get("taxId", ""),
            tax_rates=check_tax_rates(data.get("taxRates", {})),
            timezone=data.get("timezone", ""),
            as_of=wall_now(),
        )
        body = {"customerId": customer.public_id, "validTaxAddress": render_validity(customer.consumer)}
        return Response(body, status=201 if is_new else 200)

    @staticmethod
    def _consumer(merchant: Organization, data: dict[str, Any]) -> Organization:
        if "consumerId" in data:
            known = Organization.objects.filter(public_id=data["consumerId"], managed_by=merchant).first()
            if known is None:
                raise NotFoundError(f"There is no consumer {data['consumerId']}.")
            return known
        sent = data["consumer"]
        return find_or_create_consumer(
            merchant=merchant,
            name=sent["name"],
            email=sent["email"],
            phone=sent.get("phone", ""),
            address=dict(sent["address"]),
        )


class CustomerDetail(ContractView):
    scopes = {"GET": "customers:read", "PATCH": "customers:write", "DELETE": "customers:write"}

    def customer(self, public_id: str) -> Customer:
        return self.get_own(customers_of(organization_id=self.organization_id), public_id, "customer")

    @extend_schema(operation_id="getCustomer", responses=CustomerSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_customer(self.customer(public_id)))

    @extend_schema(operation_id="updateCustomer", request=UpdateCustomerSerializer, responses=CustomerSerializer)
    def patch(self, request: Request, public_id: str) -> Response:
        customer = self.customer(public_id)
        data = self.read(UpdateCustomerSerializer)
        changes: dict[str, Any] = {}
        if "taxId" in data:
            changes["tax_id"] = data["taxId"] or ""
        if "externalId" in data:
            changes["external_id"] = data["externalId"] or None
        if "timezone" in data:
            changes["timezone"] = data["timezone"] or ""
        if "taxRates" in data:
            changes["tax_rates"] = check_tax_rates(data["taxRates"])
        if "zeroTax" in data:
            why = data["zeroTax"] or {"category": ""}
            changes["zero_tax_reason"], changes["zero_tax_note"] = why["category"], why.get("note", "")
        if "billingReference" in data:
            changes["billing_reference"] = data["billingReference"] or ""
        if "consolidateInvoices" in data:
            changes["consolidate_invoices"] = data["consolidateInvoices"]
        names = {
            "invoiceIssued": "notify_invoice_issued",
            "invoicePaid": "notify_invoice_paid",
            "renewalReminder": "notify_renewal",
        }
        for name, value in data.get("notificationSettings", {}).items():
            changes[names[name]] = value
        update_customer(customer_id=customer.pk, changes=changes, as_of=wall_now())
        return Response(render_customer(self.customer(public_id)))

    @extend_schema(operation_id="deleteCustomer", responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        delete_customer(customer_id=self.customer(public_id).pk, as_of=wall_now())
        return Response(status=204)
