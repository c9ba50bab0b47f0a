"""A subscriber's own page behind a signed link, and the call that makes such a link."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.documents.api.invoices import document
from apps.documents.domain.paper import period_in_words
from apps.documents.models import DocumentFormat
from apps.documents.selectors.portal import bills_of, find_bill, rights_left, running_bill
from apps.documents.services.portal_links import LinkExpiredError, make_link_token, read_link_token
from apps.kernel.clock import wall_now
from apps.kernel.errors import DomainError
from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.ratelimit import limit_rate
from apps.kernel.http.views import ContractView, Request
from apps.kernel.money import format_decimal, format_money, format_unit_price
from apps.kernel.time import Cadence, format_instant
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.clocks import current_time
from apps.subscriptions.selectors.subscriptions import subscriptions_of

DEFAULT_LIFE, LONGEST_LIFE = "PT10M", timedelta(days=7)
LINKS_PER_SECOND = 1
# A link is a key: it is kept by no cache, told to no other site and found by no search.
PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


class PortalLinkSerializer(serializers.Serializer[Any]):
    expiresIn = StrictCharField(required=False, max_length=20, help_text="ISO 8601, at most P7D; PT10M by default.")

    def validate_expiresIn(self, text: str) -> str:
        try:
            cadence = Cadence.parse(text)
        except ValueError:
            raise serializers.ValidationError("Give an ISO 8601 duration, such as PT1H.", code="invalid") from None
        if cadence.is_once or cadence.months or _life(text) > LONGEST_LIFE:
            raise serializers.ValidationError("Give at least a second and at most P7D.", code="out_of_range")
        return text


class SubscriptionPortalSerializer(serializers.Serializer[Any]):
    object = serializers.CharField()
    url = serializers.URLField()
    expiresAt = InstantField()


class PortalLink(ContractView):
    scopes = {"POST": "subscriptions:write"}

    @extend_schema(
        operation_id="generatePortalLink", request=PortalLinkSerializer, responses=SubscriptionPortalSerializer
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Give a link to the subscriber's own page; whoever has it can read that page until it expires."""
        limit_rate(name="portal.create", caller=self.principal.key_id, calls=LINKS_PER_SECOND)
        subscription = self.get_own(subscriptions_of(organization_id=self.organization_id), public_id, "subscription")
        life = self.read(PortalLinkSerializer).get("expiresIn", DEFAULT_LIFE) if request.body else DEFAULT_LIFE
        # The token tells whole seconds.
        expires_at = (wall_now() + _life(life)).replace(microsecond=0)
        path = reverse("portal", args=[make_link_token(subscription, expires_at=expires_at)])
        return Response(
            {
                "object": "subscriptionPortal",
                "url": f"{settings.BASE_URL}{path}",
                "expiresAt": format_instant(expires_at),
            }
        )


@require_safe
def portal(request: HttpRequest, token: str) -> HttpResponse:
    """Show a subscription to whoever has a link to it: what is used, left and billed."""
    try:
        subscription = _subscription(token)
    except LinkExpiredError:
        return _private(render(request, "documents/portal_expired.html", status=410))
    running, now = running_bill(subscription), current_time(subscription)
    zone = ZoneInfo(subscription.organization.timezone)
    currency = subscription.currency
    context = {
        "subscription": subscription,
        "merchant": subscription.organization.name,
        "customer": subscription.customer.consumer.name,
        "plan": subscription.plan.name,
        "status": subscription.get_status_display(),
        "running": running,
        "period": period_in_words(running.invoice.period_start, running.invoice.period_end, subscription.timezone)
        if running is not None
        else "",
        "lines": [
            {
                "name": line.display_name,
                "quantity": _figure(line.quantity),
                "unit_price": format_unit_price(line.unit_price, currency),
                "amount": format_money(line.subtotal, currency),
            }
            for line in (running.lines if running is not None else ())
        ],
        "tax": format_money(running.totals.total_tax, currency)
        if running is not None and running.totals.total_tax
        else "",
        "total": format_money(running.totals.grand_total, currency) if running is not None else "",
        "rights": [
            {"name": left.name, "left": "included" if left.balance is None else f"{_figure(left.balance)} left"}
            for left in rights_left(subscription)
        ],
        "bills": [
            {
                "number": bill.invoice.number,
                # The day that stands on the document.
                "issued_on": bill.invoice.issued_at.astimezone(zone).date() if bill.invoice.issued_at else "",
                "status": bill.invoice.get_status_display(),
                "total": format_money(bill.invoice.grand_total, bill.invoice.currency),
                "pdf": reverse("portal-invoice", args=[token, bill.invoice.public_id]),
                "pay": reverse("checkout", args=[bill.session.public_id]) if bill.session is not None else "",
            }
            for bill in bills_of(subscription, at=now)
        ],
    }
    return _private(render(request, "documents/portal.html", context))


@require_safe
def portal_invoice(request: HttpRequest, token: str, public_id: str) -> HttpResponse:
    """Give one of the subscription's invoices as a PDF."""
    try:
        subscription = _subscription(token)
    except LinkExpiredError:
        return _private(render(request, "documents/portal_expired.html", status=410))
    invoice = find_bill(subscription, public_id)
    if invoice is None:
        raise Http404
    try:
        return _private(document(invoice, DocumentFormat.PDF))
    except DomainError as error:
        return _private(HttpResponse(error.message, status=error.status, content_type="text/plain; charset=utf-8"))


def _subscription(token: str) -> Subscription:
    """Find the subscription of a link.

    Raises:
        LinkExpiredError: its time is over.
        Http404: it was not made here, or what it was for is gone.
    """
    try:
        public_id = read_link_token(token, now=wall_now())
    except ValueError:
        raise Http404 from None
    rows = Subscription.objects.select_related("organization", "customer__consumer", "plan", "test_clock")
    found = rows.filter(public_id=public_id).first()
    if found is None:
        raise Http404
    return found


def _figure(value: Decimal) -> str:
    """Give a quantity as documents have it."""
    return f"{Decimal(format_decimal(value)):,f}".replace("-", "\N{MINUS SIGN}")


def _private(answer: HttpResponse) -> HttpResponse:
    for name, value in PRIVATE.items():
        answer[name] = value
    return answer


def _life(text: str) -> timedelta:
    cadence = Cadence.parse(text)
    return timedelta(days=cadence.days, seconds=cadence.seconds)
