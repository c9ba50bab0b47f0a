"""Lines of invoices over the wire: those of one, those of a subscription, and manual ones."""

from decimal import Decimal
from typing import Any

from django.db.models import Q
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.invoicing.api.invoices import InvoiceView
from apps.invoicing.api.line_pages import (
    LINES_MAXIMUM,
    LINES_PAGE,
    bad,
    invoice_lines_page,
    resolved_items,
    whole_number,
)
from apps.invoicing.api.outputs import lines_of, render_line_item
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus
from apps.invoicing.selectors.invoices import invoices_of, live_lines, with_neighbours
from apps.invoicing.services.manual import ManualLine, add_manual_line, check_quantity, find_invoice_for
from apps.kernel.http.fields import AbsentField, DecimalStringField, InstantField, StrictCharField
from apps.kernel.http.pagination import page_bounds
from apps.kernel.http.ratelimit import limit_rate
from apps.kernel.http.views import Request
from apps.kernel.money import format_amount, is_currency
from apps.kernel.time import Period
from apps.subscriptions.selectors.clocks import current_time

MANUAL_LINES_PER_MINUTE = 60
KEY_LENGTH = 255


class CreateManualLineSerializer(serializers.Serializer[Any]):
    displayName = StrictCharField(max_length=255)
    currency = serializers.RegexField(r"^[A-Z]{3}$")
    quantity = DecimalStringField(accept_number=True, places=9)
    unitPrice = DecimalStringField(accept_number=True, places=15)
    subscriptionId = StrictCharField(required=False)
    invoiceId = StrictCharField(required=False)
    description = StrictCharField(required=False, allow_null=True, allow_blank=True, max_length=5000)
    invoiceAt = InstantField(required=False, allow_null=True)
    periodStart = InstantField(required=False, allow_null=True)
    periodEnd = InstantField(required=False, allow_null=True)
    idempotencyKey = StrictCharField(required=False, allow_null=True, max_length=KEY_LENGTH)
    itemId = AbsentField("item")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if ("subscriptionId" in data) == ("invoiceId" in data):
            raise serializers.ValidationError(
                {"subscriptionId": "Give exactly one of subscriptionId and invoiceId."}, code="required"
            )
        start, end = data.get("periodStart"), data.get("periodEnd")
        if (start is None) != (end is None) or (start is not None and start >= end):
            raise serializers.ValidationError(
                {"periodEnd": "Give both ends of the period, the start before the end."}, code="invalid"
            )
        if not is_currency(data["currency"]):
            raise serializers.ValidationError({"currency": "Give an ISO 4217 code."}, code="invalid")
        return data


class InvoiceLineList(InvoiceView):
    @extend_schema(
        operation_id="getInvoiceLineItems",
        parameters=[
            OpenApiParameter("limit", int),
            OpenApiParameter("pageToken", str),
            OpenApiParameter("expand", str),
        ],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request, public_id: str) -> Response:
        page = invoice_lines_page(
            self.invoice(public_id),
            limit=whole_number(request, "limit"),
            token=request.query_params.get("pageToken"),
            expands=self.expands,
        )
        return Response(page)


class LineItemList(InvoiceView):
    """The lines of a subscription over all its invoices, and manual lines put on open ones."""

    @extend_schema(
        operation_id="listLineItems",
        parameters=[
            OpenApiParameter("subscriptionId", str),
            OpenApiParameter("invoiceId", str),
            OpenApiParameter("status", str, enum=["pending", "invoiced"]),
            OpenApiParameter("expand", str),
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
        ],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        limit, offset = page_bounds(request, default=LINES_PAGE, maximum=LINES_MAXIMUM)
        if not query.get("subscriptionId") and not query.get("invoiceId"):
            raise bad("subscriptionId", "Give subscriptionId or invoiceId.")
        # The lines of a document of several are those of its members.
        invoices = invoices_of(organization_id=self.organization_id).exclude(status=InvoiceStatus.CANCELLED)
        invoices = invoices.filter(has_members=False)
        if query.get("invoiceId"):
            named = self.invoice(query["invoiceId"])
            invoices = invoices.filter(Q(pk=named.pk) | Q(consolidated_into=named))
        if query.get("subscriptionId"):
            invoices = invoices.filter(subscription=self.subscription(query["subscriptionId"]))
        if query.get("status") not in {None, "", "pending", "invoiced"}:
            raise bad("status", "Use pending or invoiced.")
        if query.get("status"):
            invoices = invoices.filter(issued_at__isnull=query["status"] == "pending")
        rendered: list[dict[str, Any]] = []
        currency = "USD"
        for invoice in invoices.order_by("sequence_number", "part", "pk"):
            lines, revisions = lines_of(invoice)
            currency = invoice.currency
            rendered.extend(
                render_line_item(invoice, line, revisions, with_provenance="lineProvenance" in self.expands)
                for line in lines
            )
        fees = sum((Decimal(line["subtotal"]) for line in rendered if "subtotal" in line), Decimal(0))
        usage = sum(
            (Decimal(line["estimatedSubtotal"]) for line in rendered if "estimatedSubtotal" in line),
            Decimal(0),
        )
        return Response(
            {
                "object": "list",
                "data": rendered[offset : offset + limit],
                "totalCount": len(rendered),
                "summary": {
                    "feeSubtotal": format_amount(fees, currency),
                    "meteredEstimatedSubtotal": format_amount(usage, currency),
                    "currency": currency,
                },
                **resolved_items(self.expands),
            }
        )

    @extend_schema(
        operation_id="createLineItem",
        request=CreateManualLineSerializer,
        responses={
            201: OpenApiTypes.OBJECT,
            200: OpenApiResponse(OpenApiTypes.OBJECT, "The line with this key exists."),
        },
    )
    def post(self, request: Request) -> Response:
        limit_rate(name="lines.create", caller=self.principal.key_id, calls=MANUAL_LINES_PER_MINUTE, seconds=60)
        data = self.read(CreateManualLineSerializer)
        start, end = data.get("periodStart"), data.get("periodEnd")
        line = ManualLine(
            display_name=data["displayName"],
            currency=data["currency"],
            quantity=check_quantity(data["quantity"]),
            unit_price=data["unitPrice"],
            description=data.get("description") or "",
            period=Period(start, end) if start is not None and end is not None else None,
            idempotency_key=data.get("idempotencyKey") or self._key_of(request),
        )
        if "invoiceId" in data:
            invoice = self.invoice(data["invoiceId"])
        else:
            subscription = self.subscription(data["subscriptionId"])
            invoice = find_invoice_for(line, subscription=subscription, until=data.get("invoiceAt"))
        invoice = with_neighbours(Invoice.objects.all()).get(pk=invoice.pk)
        stored, is_new = add_manual_line(invoice_id=invoice.pk, line=line, as_of=current_time(invoice.subscription))
        invoice = with_neighbours(Invoice.objects.all()).get(pk=stored.invoice_id)
        body = render_line_item(invoice, self._taxed(invoice, stored), {}, with_provenance=False)
        return Response(body, status=201 if is_new else 200)

    @staticmethod
    def _key_of(request: Request) -> str | None:
        """Give the key in the header, held to what one in the body is."""
        key = request.headers.get("Idempotency-Key")
        if key is not None and (not 0 < len(key) <= KEY_LENGTH or "\x00" in key):
            raise bad("Idempotency-Key", f"Use 1 to {KEY_LENGTH} characters.")
        return key

    @staticmethod
    def _taxed(invoice: Invoice, stored: InvoiceLine) -> Any:
        """Give the line with the tax it carries among the others of its open invoice."""
        live = live_lines([invoice]).get(invoice.pk, [])
        return next((line for line in live if line.stored_id == stored.pk), stored)
