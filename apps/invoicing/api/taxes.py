"""The taxes of an invoice over the wire: what was decided line by line, and what it comes to."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.invoicing.api.tax_shapes import render_share
from apps.invoicing.domain.taxes import tax_shares
from apps.invoicing.models import Invoice
from apps.invoicing.selectors.invoices import invoices_of, live_lines, stored_lines, totals
from apps.kernel.http.views import ContractView, Request
from apps.kernel.money import format_amount


class TaxShareSerializer(serializers.Serializer[Any]):
    """One tax of an invoice: on which net amount, and what it comes to.

    `category` is EN 16931's code, and null where no registration decided. A line with several taxes counts in the
    `net` of each.
    """

    category = serializers.CharField(allow_null=True)
    jurisdiction = serializers.CharField(allow_null=True)
    name = serializers.CharField(allow_null=True)
    percent = serializers.CharField()
    net = serializers.CharField()
    amount = serializers.CharField()
    reason = serializers.CharField(allow_null=True)
    reasonCode = serializers.CharField(allow_null=True)


class InvoiceTaxesSerializer(serializers.Serializer[Any]):
    invoiceId = serializers.CharField()
    currency = serializers.CharField()
    subtotal = serializers.CharField()
    totalTax = serializers.CharField()
    taxes = TaxShareSerializer(many=True)


class InvoiceTaxes(ContractView):
    scopes = {"GET": "invoices:read"}

    @extend_schema(operation_id="getInvoiceTaxes", responses=InvoiceTaxesSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        """Give the taxes of an invoice; live while its period is open. Their amounts sum to `totalTax`."""
        invoice: Invoice = self.get_own(invoices_of(organization_id=self.organization_id), public_id, "invoice")
        live = live_lines([invoice]).get(invoice.pk)
        sums, _ = totals(invoice, live)
        lines = live if live is not None else stored_lines(invoice)
        return Response(
            {
                "invoiceId": invoice.public_id,
                "currency": invoice.currency,
                "subtotal": format_amount(sums.subtotal, invoice.currency),
                "totalTax": format_amount(sums.total_tax, invoice.currency),
                "taxes": [render_share(share, invoice.currency) for share in tax_shares(list(lines))],
            }
        )
