from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.response import Response

from apps.invoicing.api.invoices import InvoiceSerializer
from apps.invoicing.api.outputs import render_invoices
from apps.invoicing.api.subscriptions import SubscriptionView
from apps.invoicing.services.afterwards import bill_corrections_now
from apps.invoicing.services.early import bill_usage_now
from apps.kernel.http.schema import ErrorSerializer
from apps.kernel.http.views import Request
from apps.subscriptions.selectors.clocks import current_time


class EarlyBill(SubscriptionView):
    @extend_schema(
        operation_id="billSubscriptionUsage",
        request=None,
        responses={
            201: InvoiceSerializer,
            409: OpenApiResponse(ErrorSerializer, "There is no usage to bill, or no open period."),
        },
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Bill the usage of the open period so far; the period's own bill has what comes after."""
        subscription = self.subscription(public_id)
        invoice = bill_usage_now(subscription_id=subscription.pk, as_of=current_time(subscription))
        return Response(render_invoices([invoice])[0], status=201)


class Corrections(SubscriptionView):
    @extend_schema(
        operation_id="billSubscriptionCorrections",
        request=None,
        responses={
            201: InvoiceSerializer,
            409: OpenApiResponse(
                ErrorSerializer, "The subscription goes on, or nothing changed since its last invoice."
            ),
        },
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Bill what was found after the last invoice of a subscription that ended, without waiting for the job."""
        invoice = bill_corrections_now(subscription_id=self.subscription(public_id).pk)
        return Response(render_invoices([invoice])[0], status=201)
