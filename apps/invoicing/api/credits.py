"""Credit notes over the wire, in the contract's words (refunds) and in ours, and what customers have left of them."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.customers.selectors.customers import customers_of
from apps.invoicing.api.credit_shapes import (
    CreateCreditNoteSerializer,
    CreditNoteSerializer,
    CustomerBalanceSerializer,
    InvoiceRefundListSerializer,
    InvoiceRefundSerializer,
    PaidOutSerializer,
    PlannedCreditSerializer,
    PreviewCreditNoteSerializer,
    RefundSerializer,
    VoidSerializer,
    render_credit_note,
    render_entry,
    render_plan,
    render_refund,
)
from apps.invoicing.api.invoices import InvoiceView
from apps.invoicing.models import CreditNote, CreditNoteStatus, Invoice, InvoiceStatus
from apps.invoicing.selectors.credits import balance_entries, balances_of, credit_notes_of
from apps.invoicing.services.crediting import (
    CreditRequest,
    issue_credit_note,
    plan_credit,
    record_refund,
    void_credit_note,
)
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.http.pagination import list_page
from apps.kernel.http.schema import ErrorSerializer
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.kernel.money import format_amount
from apps.subscriptions.selectors.clocks import current_time

PAGE = [OpenApiParameter("limit", int), OpenApiParameter("offset", int)]
NOT_LEFT = OpenApiResponse(ErrorSerializer, "The invoice is not issued, or nothing is left of it.")
USED = OpenApiResponse(ErrorSerializer, "Its credit or refund was used.")
FULL_REFUND = "Refund of the whole invoice"


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
            voids_grant=data["voidGrant"],
            voids_burst=data["voidBurst"],
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


def _refund(invoice: Invoice, asked: CreditRequest) -> CreditNote:
    """Refund as the contract has it: of a paid invoice, and what cannot be is a 400."""
    if invoice.status != InvoiceStatus.PAID:
        raise InvalidError("Only a paid invoice can be refunded.", code="INVOICE_NOT_PAID")
    try:
        return issue_credit_note(invoice_id=invoice.pk, asked=asked, as_of=current_time(invoice.subscription))
    except ConflictError as error:
        raise InvalidError(error.message, code=error.code, details=error.details) from None


def _bad(field: str, message: str) -> InvalidError:
    return InvalidError(f"{field}: {message}", errors=[FieldError(field, message, "invalid")])
