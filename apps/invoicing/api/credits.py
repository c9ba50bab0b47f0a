"""Credit notes over the wire, in the contract's words (refunds) and in ours, and what customers have left of them."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.customers.selectors.customers import customers_of
from apps.invoicing.api.invoices import InvoiceView
from apps.invoicing.models import BalanceEntry, CreditNote, CreditNoteStatus, Invoice, InvoiceLine, InvoiceStatus
from apps.invoicing.selectors.credits import balance_entries, balances_of, credit_notes_of
from apps.invoicing.services.crediting import (
    CreditRequest,
    PlannedCredit,
    issue_credit_note,
    plan_credit,
    record_refund,
    void_credit_note,
)
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.http.fields import DecimalStringField, InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.schema import ErrorSerializer
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.kernel.money import format_amount, format_decimal
from apps.kernel.time import format_instant
from apps.subscriptions.selectors.clocks import current_time

PAGE = [OpenApiParameter("limit", int), OpenApiParameter("offset", int)]
NOT_LEFT = OpenApiResponse(ErrorSerializer, "The invoice is not issued, or nothing is left of it.")
USED = OpenApiResponse(ErrorSerializer, "Its credit or refund was used.")
FULL_REFUND = "Refund of the whole invoice"


class CreditLineInputSerializer(serializers.Serializer[Any]):
    lineId = StrictCharField(max_length=64)
    amount = DecimalStringField(places=9)


class PreviewCreditNoteSerializer(serializers.Serializer[Any]):
    """What is credited: everything that is left, an `amount` with tax, or amounts of `lines` without tax."""

    amount = DecimalStringField(places=9, required=False)
    lines = CreditLineInputSerializer(many=True, required=False, max_length=1000)  # type: ignore[call-arg]
    destination = serializers.ChoiceField(choices=["balance", "refund"], default="balance")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if "amount" in data and "lines" in data:
            raise serializers.ValidationError({"amount": "Give an amount or lines, not both."}, code="invalid")
        named = [line["lineId"] for line in data.get("lines", ())]
        if len(named) != len(set(named)):
            raise serializers.ValidationError({"lines": "Name each line once."}, code="invalid")
        return data


class CreateCreditNoteSerializer(PreviewCreditNoteSerializer):
    reason = StrictCharField(max_length=1000)


class VoidSerializer(serializers.Serializer[Any]):
    reason = StrictCharField(max_length=1000, required=False, allow_blank=True)


class RefundSerializer(serializers.Serializer[Any]):
    reason = StrictCharField(max_length=1000, required=False, allow_blank=True)


class PaidOutSerializer(serializers.Serializer[Any]):
    reference = StrictCharField(max_length=255)


class CreditedLineSerializer(serializers.Serializer[Any]):
    lineId = serializers.CharField()
    displayName = serializers.CharField()
    subtotal = serializers.CharField()
    taxRate = serializers.CharField()
    tax = serializers.CharField()
    total = serializers.CharField()


class PlannedCreditSerializer(serializers.Serializer[Any]):
    """What a credit note would say; `dueAfter` and `leftAfter` are of its invoice."""

    currency = serializers.CharField()
    subtotal = serializers.CharField()
    totalTax = serializers.CharField()
    total = serializers.CharField()
    dueAmount = serializers.CharField()
    balanceAmount = serializers.CharField()
    refundAmount = serializers.CharField()
    dueAfter = serializers.CharField()
    leftAfter = serializers.CharField()
    lines = CreditedLineSerializer(many=True)


class CreditNoteSerializer(serializers.Serializer[Any]):
    """A credit note; the three amounts say where its total went."""

    object = serializers.CharField()
    id = serializers.CharField()
    creditNoteNumber = serializers.CharField()
    status = serializers.ChoiceField(choices=CreditNoteStatus.values)
    merchantId = serializers.CharField()
    customerId = serializers.CharField()
    invoiceId = serializers.CharField()
    invoiceNumber = serializers.CharField()
    currency = serializers.CharField()
    subtotal = serializers.CharField()
    totalTax = serializers.CharField()
    total = serializers.CharField()
    dueAmount = serializers.CharField()
    balanceAmount = serializers.CharField()
    refundAmount = serializers.CharField()
    refundStatus = serializers.ChoiceField(choices=["none", "pending", "paid_out", "voided"])
    refundReference = serializers.CharField(allow_null=True)
    reason = serializers.CharField()
    voidReason = serializers.CharField(allow_null=True)
    issuedAt = InstantField()
    refundedAt = InstantField(allow_null=True)
    voidedAt = InstantField(allow_null=True)
    lines = CreditedLineSerializer(many=True)
    pdfUrl = serializers.CharField()
    createdAt = InstantField()


class InvoiceRefundSerializer(serializers.Serializer[Any]):
    """A credit note in the words of the contract; `amount` is without tax."""

    object = serializers.CharField()
    id = serializers.CharField()
    invoiceId = serializers.CharField()
    merchantId = serializers.CharField()
    amount = serializers.CharField()
    taxAmount = serializers.CharField()
    total = serializers.CharField()
    currency = serializers.CharField()
    status = serializers.ChoiceField(choices=CreditNoteStatus.values)
    externalCreditNoteId = serializers.CharField()
    createdAt = InstantField()
    permalink = serializers.CharField(allow_null=True)
    pdfUrl = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)
    voidedAt = InstantField(allow_null=True)


class InvoiceRefundListSerializer(serializers.Serializer[Any]):
    object = serializers.CharField()
    data = InvoiceRefundSerializer(many=True)  # type: ignore[assignment]


class BalanceSerializer(serializers.Serializer[Any]):
    currency = serializers.CharField()
    amount = serializers.CharField()


class BalanceEntrySerializer(serializers.Serializer[Any]):
    """A change of the balance; `amount` is what it adds, below zero what it takes."""

    object = serializers.CharField()
    id = serializers.CharField()
    kind = serializers.CharField()
    amount = serializers.CharField()
    currency = serializers.CharField()
    creditNoteId = serializers.CharField()
    invoiceId = serializers.CharField(allow_null=True)
    occurredAt = InstantField()


class CustomerBalanceSerializer(page_of(BalanceEntrySerializer)):  # type: ignore[misc]
    customerId = serializers.CharField()
    balances = BalanceSerializer(many=True)


def render_credit_note(note: CreditNote) -> dict[str, Any]:
    """Give a credit note in the wire's form."""
    currency = note.currency
    return {
        "object": "creditNote",
        "id": note.public_id,
        "creditNoteNumber": note.number,
        "status": note.status,
        "merchantId": note.organization.public_id,
        "customerId": note.customer.public_id,
        "invoiceId": note.invoice.public_id,
        "invoiceNumber": note.invoice.number,
        "currency": currency,
        "subtotal": format_amount(note.subtotal, currency),
        "totalTax": format_amount(note.total_tax, currency),
        "total": format_amount(note.total, currency),
        "dueAmount": format_amount(note.due_amount, currency),
        "balanceAmount": format_amount(note.balance_amount, currency),
        "refundAmount": format_amount(note.refund_amount, currency),
        "refundStatus": note.refund_state,
        "refundReference": note.refund_reference or None,
        "reason": note.reason,
        "voidReason": note.void_reason or None,
        "issuedAt": format_instant(note.issued_at),
        "refundedAt": None if note.refunded_at is None else format_instant(note.refunded_at),
        "voidedAt": None if note.voided_at is None else format_instant(note.voided_at),
        "lines": [_line(line.invoice_line, line.subtotal, line.tax_amount, currency) for line in note.lines.all()],
        "pdfUrl": _pdf_url(note),
        "createdAt": format_instant(note.created_at),
    }


def render_plan(plan: PlannedCredit, currency: str) -> dict[str, Any]:
    """Give what a credit note would say."""
    return {
        "currency": currency,
        "subtotal": format_amount(plan.subtotal, currency),
        "totalTax": format_amount(plan.total_tax, currency),
        "total": format_amount(plan.total, currency),
        "dueAmount": format_amount(plan.goes.due, currency),
        "balanceAmount": format_amount(plan.goes.balance, currency),
        "refundAmount": format_amount(plan.goes.refund, currency),
        "dueAfter": format_amount(plan.due_after, currency),
        "leftAfter": format_amount(plan.left_after, currency),
        "lines": [_line(line, credit.net, credit.tax, currency) for line, credit in plan.credits],
    }


def render_refund(note: CreditNote) -> dict[str, Any]:
    """Give a credit note as the contract has refunds."""
    currency = note.currency
    return {
        "object": "invoice_refund",
        "id": note.public_id,
        "invoiceId": note.invoice.public_id,
        "merchantId": note.organization.public_id,
        "amount": format_amount(note.subtotal, currency),
        "taxAmount": format_amount(note.total_tax, currency),
        "total": format_amount(note.total, currency),
        "currency": currency,
        "status": note.status,
        "externalCreditNoteId": note.number,
        "createdAt": format_instant(note.created_at),
        "permalink": None,
        "pdfUrl": _pdf_url(note),
        "reason": note.reason,
        "voidedAt": None if note.voided_at is None else format_instant(note.voided_at),
    }


class CreditingView(InvoiceView):
    """What endpoints of an invoice's credit notes share."""

    def asked(self, serializer: type[serializers.Serializer[Any]]) -> CreditRequest:
        data = self.read(serializer)
        lines = data.get("lines")
        return CreditRequest(
            reason=data.get("reason", ""),
            amount=data.get("amount"),
            lines=None if lines is None else {line["lineId"]: line["amount"] for line in lines},
            wants_refund=data["destination"] == "refund",
        )

    def note(self, public_id: str) -> CreditNote:
        return self.get_own(credit_notes_of(organization_id=self.organization_id), public_id, "credit note")


class InvoiceCreditNotes(CreditingView):
    @extend_schema(
        operation_id="createCreditNote",
        request=CreateCreditNoteSerializer,
        responses={201: CreditNoteSerializer, 409: NOT_LEFT},
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Credit an issued invoice: less that is due, and the rest to the customer's balance or as a refund."""
        invoice = self.invoice(public_id)
        note = issue_credit_note(
            invoice_id=invoice.pk,
            asked=self.asked(CreateCreditNoteSerializer),
            as_of=current_time(invoice.subscription),
        )
        return Response(render_credit_note(self.note(note.public_id)), status=201)


class CreditNotePreview(CreditingView):
    @extend_schema(
        operation_id="previewCreditNote",
        request=PreviewCreditNoteSerializer,
        responses={200: PlannedCreditSerializer, 409: NOT_LEFT},
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Say what a credit note would give back, without making it."""
        invoice = self.invoice(public_id)
        plan = plan_credit(invoice=invoice, asked=self.asked(PreviewCreditNoteSerializer))
        return Response(render_plan(plan, invoice.currency))


class CreditNoteList(CreditingView):
    @extend_schema(
        operation_id="listCreditNotes",
        parameters=[
            *PAGE,
            OpenApiParameter("invoiceId", str),
            OpenApiParameter("customerId", str),
            OpenApiParameter("merchantId", str),
            OpenApiParameter("status", str, enum=CreditNoteStatus.values),
        ],
        responses=page_of(CreditNoteSerializer),
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        self.require_merchant(query.get("merchantId"))
        rows = credit_notes_of(organization_id=self.organization_id)
        if query.get("invoiceId"):
            rows = rows.filter(invoice=self.invoice(query["invoiceId"]))
        if query.get("customerId"):
            rows = rows.filter(customer__public_id=query["customerId"])
        if query.get("status"):
            if query["status"] not in CreditNoteStatus.values:
                raise _bad("status", "Use ISSUED or VOIDED.")
            rows = rows.filter(status=query["status"])
        return Response(list_page(request, rows, render_credit_note))


class CreditNoteDetail(CreditingView):
    @extend_schema(operation_id="getCreditNote", responses=CreditNoteSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_credit_note(self.note(public_id)))


class CreditNoteVoiding(CreditingView):
    @extend_schema(
        operation_id="voidCreditNote", request=VoidSerializer, responses={200: CreditNoteSerializer, 409: USED}
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Take back a credit note that nothing came of yet; twice is fine."""
        note = self.note(public_id)
        reason = self.read(VoidSerializer).get("reason", "")
        void_credit_note(credit_note_id=note.pk, as_of=current_time(note.invoice.subscription), reason=reason)
        return Response(render_credit_note(self.note(public_id)))


class CreditNoteRefund(CreditingView):
    @extend_schema(
        operation_id="recordCreditNoteRefund",
        request=PaidOutSerializer,
        responses={
            200: CreditNoteSerializer,
            409: OpenApiResponse(ErrorSerializer, "There is no refund to pay out."),
        },
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Record that the refund of a credit note was paid out, with the reference of the payment; twice is fine."""
        note = self.note(public_id)
        reference = self.read(PaidOutSerializer)["reference"]
        record_refund(credit_note_id=note.pk, as_of=current_time(note.invoice.subscription), reference=reference)
        return Response(render_credit_note(self.note(public_id)))


class InvoiceRefunds(CreditingView):
    @extend_schema(operation_id="listInvoiceRefunds", responses=InvoiceRefundListSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        """List the credit notes of an invoice, newest first."""
        rows = credit_notes_of(organization_id=self.organization_id).filter(invoice=self.invoice(public_id))
        return Response({"object": "list", "data": [render_refund(note) for note in rows]})

    @extend_schema(
        operation_id="createInvoiceRefund", request=RefundSerializer, responses={201: InvoiceRefundSerializer}
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Refund what is left of a paid invoice, once."""
        invoice = self.invoice(public_id)
        reason = self.read(RefundSerializer).get("reason") or FULL_REFUND
        note = _refund(invoice, CreditRequest(reason=reason, wants_refund=True))
        return Response(render_refund(self.note(note.public_id)), status=201)


class InvoiceRefundVoiding(CreditingView):
    @extend_schema(
        operation_id="voidInvoiceRefund",
        request=VoidSerializer,
        responses={200: InvoiceRefundSerializer, 409: USED},
    )
    def post(self, request: Request, public_id: str, refund_id: str) -> Response:
        """Take a refund back that was not paid out yet."""
        invoice = self.invoice(public_id)
        rows = credit_notes_of(organization_id=self.organization_id).filter(invoice=invoice)
        note = self.get_own(rows, refund_id, "refund")
        reason = self.read(VoidSerializer).get("reason", "")
        void_credit_note(credit_note_id=note.pk, as_of=current_time(invoice.subscription), reason=reason)
        return Response(render_refund(self.note(refund_id)))


class CustomerBalanceView(ContractView):
    scopes = {"GET": "invoices:read"}

    @extend_schema(operation_id="getCustomerBalance", parameters=PAGE, responses=CustomerBalanceSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        """Say what a customer has left of its credits, by currency, and what changed it, newest first."""
        customer = self.get_own(customers_of(organization_id=self.organization_id), public_id, "customer")
        rows = balance_entries(organization_id=self.organization_id).filter(customer=customer)
        page = list_page(request, rows, render_entry)
        balances = [
            {"currency": row.currency, "amount": format_amount(row.amount, row.currency)}
            for row in balances_of(customer_id=customer.pk)
        ]
        return Response({**page, "customerId": customer.public_id, "balances": balances})


def render_entry(entry: BalanceEntry) -> dict[str, Any]:
    """Give a change of a balance in the wire's form."""
    return {
        "object": "balanceEntry",
        "id": entry.public_id,
        "kind": entry.kind,
        "amount": format_amount(entry.amount, entry.currency),
        "currency": entry.currency,
        "creditNoteId": entry.credit_note.public_id,
        "invoiceId": None if entry.invoice is None else entry.invoice.public_id,
        "occurredAt": format_instant(entry.occurred_at),
    }


def _refund(invoice: Invoice, asked: CreditRequest) -> CreditNote:
    """Refund as the contract has it: of a paid invoice, and what cannot be is a 400."""
    if invoice.status != InvoiceStatus.PAID:
        raise InvalidError("Only a paid invoice can be refunded.", code="INVOICE_NOT_PAID")
    try:
        return issue_credit_note(invoice_id=invoice.pk, asked=asked, as_of=current_time(invoice.subscription))
    except ConflictError as error:
        raise InvalidError(error.message, code=error.code, details=error.details) from None


def _line(line: InvoiceLine, net: Decimal, tax: Decimal, currency: str) -> dict[str, Any]:
    return {
        "lineId": line.public_id,
        "displayName": line.display_name,
        "subtotal": format_amount(net, currency),
        "taxRate": format_decimal(line.tax_rate),
        "tax": format_amount(tax, currency),
        "total": format_amount(net + tax, currency),
    }


def _pdf_url(note: CreditNote) -> str:
    return f"{settings.BASE_URL}/v2/creditNotes/{note.public_id}/pdf"


def _bad(field: str, message: str) -> InvalidError:
    return InvalidError(f"{field}: {message}", errors=[FieldError(field, message, "invalid")])
