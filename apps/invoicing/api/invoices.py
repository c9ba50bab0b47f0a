from decimal import Decimal
from typing import Any

from django.db import transaction
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.invoicing.api.line_pages import bad, invoice_lines_page, whole_number
from apps.invoicing.api.outputs import checkout_url, provider_of, render_invoice, render_invoices
from apps.invoicing.api.purchase_shapes import PurchasedBurstSerializer, PurchasedGrantSerializer
from apps.invoicing.models import DecisionKind, Invoice, InvoiceStatus
from apps.invoicing.selectors.invoices import billing, invoices_of, live_lines, ready, with_neighbours
from apps.invoicing.services.projecting import projected_invoices
from apps.invoicing.services.sessions import HOSTED_LINK_LIFE, open_session
from apps.invoicing.services.settlement import settle_out_of_band
from apps.kernel.clock import wall_now
from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.kernel.money import format_amount
from apps.kernel.time import format_instant
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.clocks import current_time
from apps.subscriptions.selectors.subscriptions import subscriptions_of

SCOPES = {"GET": "invoices:read", "POST": "invoices:write"}
WIRE_STATES = {*InvoiceStatus.values, "CLOSED"}
# Each of these shows the lines; the last two say more of them.
EXPANDABLE = {"lineItems", "lineProvenance", "items"}


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


class InvoiceDecisionSerializer(serializers.Serializer[Any]):
    """That an invoice was voided, written off or reinstated; on a single invoice, the oldest first."""

    id = serializers.CharField()
    kind = serializers.ChoiceField(choices=DecisionKind.choices)
    amount = serializers.CharField(help_text="What was due of it then.")
    reason = serializers.CharField()
    decidedBy = serializers.CharField(allow_blank=True)
    decidedAt = InstantField()


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
    grantPurchase = PurchasedGrantSerializer(required=False)
    burstPurchase = PurchasedBurstSerializer(required=False)
    decisions = InvoiceDecisionSerializer(many=True, required=False)
    createdAt = InstantField()
    updatedAt = InstantField()


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
        body = render_invoice(invoice, live_lines([invoice]).get(invoice.pk))
        body["decisions"] = [
            {
                "id": row.public_id,
                "kind": row.kind,
                "amount": format_amount(row.amount, invoice.currency),
                "reason": row.reason,
                "decidedBy": row.decided_by,
                "decidedAt": format_instant(row.decided_at),
            }
            for row in invoice.decisions.order_by("pk")
        ]
        return body

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
                raise bad("status", "There is no such state of an invoice.")
            rows = rows.filter(status=query["status"])
        if query.get("nextActionAt"):
            if query["nextActionAt"] != "ready":
                raise bad("nextActionAt", "Use ready.")
            rows = ready(rows, as_of=wall_now())
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
        if EXPANDABLE & self.expands:
            body["lineItems"] = invoice_lines_page(
                invoice,
                limit=whole_number(request, "lineItemsLimit"),
                token=request.query_params.get("lineItemsPageToken"),
                expands=self.expands,
            )
        return Response(body)


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
            locked = with_neighbours(Invoice.objects.select_for_update(of=("self",), no_key=True)).get(pk=invoice.pk)
            session = open_session(invoice=locked, as_of=now, life=HOSTED_LINK_LIFE)
        return Response(
            {
                "method": "hosted_link",
                "provider": provider_of(invoice),
                "paymentUrl": checkout_url(session),
                "paymentSessionId": session.public_id,
                "expiresAt": format_instant(session.expires_at),
                "invoice": self.rendered(self.invoice(public_id)),
            }
        )
