import base64
import binascii
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.invoicing.api.outputs import (
    checkout_url,
    lines_of,
    render_invoice,
    render_invoice_line,
    render_invoices,
    render_line_item,
)
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus
from apps.invoicing.selectors.invoices import billing, invoices_of, live_lines, with_neighbours
from apps.invoicing.selectors.projections import projected_invoices
from apps.invoicing.services.manual import ManualLine, add_manual_line, check_quantity, find_open_invoice
from apps.invoicing.services.sessions import HOSTED_LINK_LIFE, open_session
from apps.invoicing.services.settlement import settle_out_of_band
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.fields import DecimalStringField, InstantField, StrictCharField
from apps.kernel.http.pagination import list_page, page_bounds
from apps.kernel.http.ratelimit import limit_rate
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.kernel.money import format_amount, is_currency
from apps.kernel.time import Period, format_instant
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.clocks import current_time
from apps.subscriptions.selectors.subscriptions import subscriptions_of

SCOPES = {"GET": "invoices:read", "POST": "invoices:write"}
WIRE_STATES = {*InvoiceStatus.values, "CLOSED"}
LINES_PAGE = 100
LINES_MAXIMUM = 1000
MANUAL_LINES_PER_MINUTE = 60


class InvoiceMemberSerializer(serializers.Serializer[Any]):
    """An invoice that was issued on a document of several."""

    id = serializers.CharField()
    subscriptionId = serializers.CharField()
    sequenceNumber = serializers.IntegerField()
    periodStart = InstantField()
    periodEnd = InstantField()
    subtotal = serializers.CharField()
    totalTax = serializers.CharField()
    grandTotal = serializers.CharField()


class InvoiceSerializer(serializers.Serializer[Any]):
    """An invoice; totals are live while its period is open."""

    id = serializers.CharField()
    object = serializers.CharField()
    status = serializers.CharField()
    invoiceNumber = serializers.CharField(allow_null=True)
    subscriptionId = serializers.CharField()
    customerId = serializers.CharField()
    merchantId = serializers.CharField()
    currency = serializers.CharField()
    subtotal = serializers.CharField()
    totalTax = serializers.CharField()
    grandTotal = serializers.CharField()
    paidAmount = serializers.CharField()
    creditedAmount = serializers.CharField(required=False)
    balanceApplied = serializers.CharField(required=False)
    amountDue = serializers.CharField(required=False)
    unpaidAmount = serializers.CharField()
    periodStart = InstantField()
    periodEnd = InstantField()
    sequenceNumber = serializers.IntegerField()
    part = serializers.IntegerField(required=False)
    itemCount = serializers.IntegerField()
    consolidatedInvoiceId = serializers.CharField(required=False, allow_null=True)
    members = InvoiceMemberSerializer(many=True, required=False)
    createdAt = InstantField()
    updatedAt = InstantField()


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
    idempotencyKey = StrictCharField(required=False, allow_null=True, max_length=255)

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


class PayInvoiceSerializer(serializers.Serializer[Any]):
    method = serializers.ChoiceField(choices=["out_of_band", "hosted_link"])
    reason = StrictCharField(required=False, max_length=1000, allow_blank=True)


class InvoiceView(ContractView):
    scopes = SCOPES

    def invoice(self, public_id: str) -> Invoice:
        return self.get_own(invoices_of(organization_id=self.organization_id), public_id, "invoice")

    def subscription(self, public_id: str) -> Subscription:
        rows = subscriptions_of(organization_id=self.organization_id)
        return self.get_own(rows, public_id, "subscription")

    def rendered(self, invoice: Invoice) -> dict[str, Any]:
        return render_invoice(invoice, live_lines([invoice]).get(invoice.pk))

    @property
    def expands(self) -> set[str]:
        return {part.strip() for part in self.request.query_params.get("expand", "").split(",") if part}


class InvoiceList(InvoiceView):
    @extend_schema(
        operation_id="listInvoices",
        parameters=[
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
            OpenApiParameter("nextActionAt", str, enum=["ready"]),
            OpenApiParameter("status", str, enum=sorted(WIRE_STATES)),
            OpenApiParameter("subscriptionId", str),
            OpenApiParameter("customerId", str),
            OpenApiParameter("merchantId", str),
        ],
        responses=page_of(InvoiceSerializer),
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        self.require_merchant(query.get("merchantId"))
        rows = invoices_of(organization_id=self.organization_id)
        if query.get("subscriptionId"):
            rows = billing(rows, self.subscription(query["subscriptionId"]))
        if query.get("customerId"):
            rows = rows.filter(customer__public_id=query["customerId"])
        if query.get("status"):
            if query["status"] not in WIRE_STATES:
                raise _bad("status", "There is no such state of an invoice.")
            rows = rows.filter(status=query["status"])
        if query.get("nextActionAt") == "ready":
            rows = rows.filter(next_action_at__isnull=False)
        page = list_page(request, rows, lambda invoice: invoice)
        page["data"] = render_invoices(page["data"])
        return Response(page)


class InvoiceDetail(InvoiceView):
    @extend_schema(
        operation_id="getInvoice",
        parameters=[OpenApiParameter("expand", str), OpenApiParameter("lineItemsLimit", int)],
        responses=InvoiceSerializer,
    )
    def get(self, request: Request, public_id: str) -> Response:
        invoice = self.invoice(public_id)
        body = self.rendered(invoice)
        if {"lineItems", "lineProvenance"} & self.expands:
            body["lineItems"] = invoice_lines_page(
                invoice,
                limit=_whole(request, "lineItemsLimit"),
                token=request.query_params.get("lineItemsPageToken"),
                with_provenance="lineProvenance" in self.expands,
            )
        return Response(body)


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
            limit=_whole(request, "limit"),
            token=request.query_params.get("pageToken"),
            with_provenance="lineProvenance" in self.expands,
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
            raise _bad("subscriptionId", "Give subscriptionId or invoiceId.")
        # The lines of a document of several are those of its members.
        invoices = invoices_of(organization_id=self.organization_id).exclude(status=InvoiceStatus.CANCELLED)
        invoices = invoices.filter(has_members=False)
        if query.get("invoiceId"):
            named = self.invoice(query["invoiceId"])
            invoices = invoices.filter(Q(pk=named.pk) | Q(consolidated_into=named))
        if query.get("subscriptionId"):
            invoices = invoices.filter(subscription=self.subscription(query["subscriptionId"]))
        if query.get("status") not in {None, "", "pending", "invoiced"}:
            raise _bad("status", "Use pending or invoiced.")
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
        if "invoiceId" in data:
            invoice = self.invoice(data["invoiceId"])
        else:
            invoice = find_open_invoice(subscription_id=self.subscription(data["subscriptionId"]).pk)
        start, end = data.get("periodStart"), data.get("periodEnd")
        line = ManualLine(
            display_name=data["displayName"],
            currency=data["currency"],
            quantity=check_quantity(data["quantity"]),
            unit_price=data["unitPrice"],
            description=data.get("description") or "",
            period=Period(start, end) if start is not None and end is not None else None,
            idempotency_key=data.get("idempotencyKey") or request.headers.get("Idempotency-Key"),
        )
        invoice = with_neighbours(Invoice.objects.all()).get(pk=invoice.pk)
        stored, is_new = add_manual_line(invoice_id=invoice.pk, line=line, as_of=current_time(invoice.subscription))
        invoice = with_neighbours(Invoice.objects.all()).get(pk=stored.invoice_id)
        body = render_line_item(invoice, self._taxed(invoice, stored), {}, with_provenance=False)
        return Response(body, status=201 if is_new else 200)

    @staticmethod
    def _taxed(invoice: Invoice, stored: InvoiceLine) -> Any:
        """Give the line with the tax it carries among the others of its open invoice."""
        live = live_lines([invoice]).get(invoice.pk, [])
        return next((line for line in live if line.stored_id == stored.pk), stored)


class ProjectedInvoiceList(InvoiceView):
    @extend_schema(
        operation_id="listProjectedInvoices",
        parameters=[
            OpenApiParameter("subscriptionId", str, required=True),
            OpenApiParameter("from", str),
            OpenApiParameter("to", str),
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
        ],
        responses=page_of(InvoiceSerializer),
    )
    def get(self, request: Request) -> Response:
        subscription = self.subscription(self.require_query("subscriptionId"))
        now = current_time(subscription)
        start, end = self.query_instant("from"), self.query_instant("to")
        found = projected_invoices(subscription, start=start, end=end, as_of=now)

        def render(projected: Any) -> dict[str, Any]:
            currency = subscription.currency
            total = format_amount(projected.totals.grand_total, currency)
            return {
                "id": projected.public_id,
                "object": "invoice",
                "status": "PROJECTED",
                "autoApprove": True,
                "merchantId": subscription.organization.public_id,
                "customerId": subscription.customer.public_id,
                "subscriptionId": subscription.public_id,
                "sequenceNumber": projected.sequence_number,
                "invoiceNumber": None,
                "billingAnchor": format_instant(subscription.billing_anchor),
                "billingCadence": subscription.billing_cadence,
                "periodStart": format_instant(projected.period.start),
                "periodEnd": format_instant(projected.period.end),
                "gracePeriodEnd": format_instant(projected.period.end),
                "currency": currency,
                "subtotal": format_amount(projected.totals.subtotal, currency),
                "totalTax": format_amount(projected.totals.total_tax, currency),
                "grandTotal": total,
                "paidAmount": format_amount(Decimal(0), currency),
                "unpaidAmount": total,
                "itemCount": projected.line_count,
                "createdAt": format_instant(now),
                "updatedAt": format_instant(now),
            }

        return Response(list_page(request, found, render))


class InvoicePayment(InvoiceView):
    @extend_schema(
        operation_id="recordInvoicePayment",
        request=PayInvoiceSerializer,
        responses=OpenApiTypes.OBJECT,
    )
    def post(self, request: Request, public_id: str) -> Response:
        invoice = self.invoice(public_id)
        data = self.read(PayInvoiceSerializer)
        now = current_time(invoice.subscription)
        if data["method"] == "out_of_band":
            settle_out_of_band(invoice_id=invoice.pk, as_of=now, reason=data.get("reason", ""))
            return Response({"method": "out_of_band", "invoice": self.rendered(self.invoice(public_id))})
        with transaction.atomic():
            locked = with_neighbours(Invoice.objects.select_for_update(of=("self",))).get(pk=invoice.pk)
            session = open_session(invoice=locked, as_of=now, life=HOSTED_LINK_LIFE)
        return Response(
            {
                "method": "hosted_link",
                "paymentUrl": checkout_url(session),
                "paymentSessionId": session.public_id,
                "expiresAt": format_instant(session.expires_at),
                "invoice": self.rendered(self.invoice(public_id)),
            }
        )


def invoice_lines_page(invoice: Invoice, *, limit: int, token: str | None, with_provenance: bool) -> dict[str, Any]:
    """Give one page of an invoice's lines; the token says where the next begins."""
    offset = _read_token(token)
    lines, revisions = lines_of(invoice)
    page = lines[offset : offset + limit]
    end = offset + len(page)
    return {
        "invoiceId": invoice.public_id,
        "lineItems": [
            render_invoice_line(invoice, line, revisions, with_provenance=with_provenance) for line in page
        ],
        "totalCount": len(lines),
        "nextPageToken": _write_token(end) if end < len(lines) else None,
    }


def _write_token(offset: int) -> str:
    return base64.urlsafe_b64encode(f"o:{offset}".encode()).decode()


def _read_token(token: str | None) -> int:
    if not token:
        return 0
    try:
        kind, _, offset = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
        if kind == "o" and 0 <= int(offset) < 2**31:
            return int(offset)
    except (binascii.Error, ValueError):
        pass
    raise _bad("pageToken", "Use the nextPageToken of the page before.")


def _whole(request: Request, name: str) -> int:
    text = request.query_params.get(name) or str(LINES_PAGE)
    if text.isascii() and text.isdigit() and 1 <= int(text) <= LINES_MAXIMUM:
        return int(text)
    raise _bad(name, f"Give a whole number from 1 to {LINES_MAXIMUM}.")


def _bad(field: str, message: str) -> InvalidError:
    return InvalidError(f"{field}: {message}", errors=[FieldError(field, message, "invalid")])
