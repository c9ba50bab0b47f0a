"""Issuing drafts."""

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.response import Response

from apps.invoicing.api.invoices import InvoiceSerializer, InvoiceView
from apps.invoicing.services.issuing import approve_invoice
from apps.kernel.http.schema import ErrorSerializer
from apps.kernel.http.views import Request
from apps.subscriptions.selectors.clocks import current_time


class InvoiceApproval(InvoiceView):
    @extend_schema(
        operation_id="approveInvoice",
        request=None,
        responses={200: InvoiceSerializer, 409: OpenApiResponse(ErrorSerializer, "It is not calculated yet.")},
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Number and issue a draft that waits for a person; one that is issued is given as it is."""
        invoice = self.invoice(public_id)
        approve_invoice(invoice_id=invoice.pk, as_of=current_time(invoice.subscription))
        return Response(self.rendered(self.invoice(public_id)))
