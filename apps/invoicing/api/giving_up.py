"""Voiding invoices, writing them off, and taking that back."""

from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.invoicing.api.invoices import InvoiceSerializer, InvoiceView
from apps.invoicing.services.voiding import reinstate_invoice, void_invoice, write_off_invoice
from apps.kernel.http.fields import StrictCharField
from apps.kernel.http.schema import ErrorSerializer
from apps.kernel.http.views import Request
from apps.subscriptions.selectors.clocks import current_time


class DecisionReasonSerializer(serializers.Serializer[Any]):
    reason = StrictCharField(min_length=1, max_length=1000)


RESPONSES = {200: InvoiceSerializer, 409: OpenApiResponse(ErrorSerializer, "The state of the invoice forbids it.")}


class DecidingView(InvoiceView):
    def decide(self, service: Any, public_id: str) -> Response:
        invoice = self.invoice(public_id)
        service(
            invoice_id=invoice.pk,
            as_of=current_time(invoice.subscription),
            reason=self.read(DecisionReasonSerializer)["reason"],
            by=self.principal.user_public_id,
        )
        return Response(self.rendered(self.invoice(public_id)))


class InvoiceVoiding(DecidingView):
    @extend_schema(operation_id="voidInvoice", request=DecisionReasonSerializer, responses=RESPONSES)
    def post(self, request: Request, public_id: str) -> Response:
        """Void an invoice before it is paid; its number stays used, and twice is fine."""
        return self.decide(void_invoice, public_id)


class InvoiceWriteOff(DecidingView):
    @extend_schema(operation_id="writeOffInvoice", request=DecisionReasonSerializer, responses=RESPONSES)
    def post(self, request: Request, public_id: str) -> Response:
        """Write off what is due of an issued invoice; twice is fine."""
        return self.decide(write_off_invoice, public_id)


class InvoiceReinstatement(DecidingView):
    @extend_schema(operation_id="reinstateInvoice", request=DecisionReasonSerializer, responses=RESPONSES)
    def post(self, request: Request, public_id: str) -> Response:
        """Ask again for a written-off invoice."""
        return self.decide(reinstate_invoice, public_id)
