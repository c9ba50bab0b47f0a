"""The hosted page of a payment session: what is owed and, in a test environment, a button that pays."""

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from apps.invoicing.models import PaymentSession, SessionStatus
from apps.invoicing.selectors.purchases import find_purchase
from apps.invoicing.services.sessions import complete_session
from apps.kernel.errors import ConflictError
from apps.kernel.money import format_money
from apps.subscriptions.selectors.clocks import current_time


@require_http_methods(["GET", "HEAD", "POST"])
def checkout(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show a session; a POST pays it with the sandbox, which exists in test environments only."""
    session = get_object_or_404(_sessions(), public_id=public_id)
    invoice = session.invoice
    purchase = find_purchase(invoice)
    now = current_time(invoice.subscription)
    is_sandbox = invoice.organization.environment == "test"
    problem = ""
    if request.method == "POST" and is_sandbox:
        try:
            complete_session(session_id=session.pk, as_of=now)
        except ConflictError as error:
            problem = error.message
        else:
            target = purchase.success_url if purchase is not None else invoice.subscription.redirect_on_success
            return redirect(target or request.path)
        session.refresh_from_db()
    is_open = session.status == SessionStatus.PENDING and session.expires_at > now
    context = {
        "session": session,
        "invoice": invoice,
        "merchant": invoice.organization.name,
        "customer": invoice.customer.consumer.name,
        "amount": format_money(session.amount, session.currency),
        "is_open": is_open,
        "purchase": purchase,
        "is_paid": session.status == SessionStatus.COMPLETED,
        "is_sandbox": is_sandbox,
        "problem": problem,
    }
    return render(request, "invoicing/checkout.html", context, status=200 if not problem else 409)


def _sessions() -> QuerySet[PaymentSession]:
    return PaymentSession.objects.select_related(
        "invoice__organization", "invoice__customer__consumer", "invoice__subscription__test_clock"
    )
