"""A customer takes a plan: the subscription, its Invoice 0 and the way to pay it."""

from datetime import datetime, timedelta

from django.db import transaction

from apps.catalog.models import Plan
from apps.catalog.selectors.terms import current_revision_ids
from apps.customers.models import Customer
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.targets import just_before, target_lines
from apps.invoicing.services.activation import activate_and_open, first_bill_until
from apps.invoicing.services.coupons import hold_coupons
from apps.invoicing.services.holding import hold_rates
from apps.invoicing.services.issuing import issue_group, store_calculations
from apps.invoicing.services.periods import approves_itself
from apps.invoicing.services.sessions import open_session
from apps.kernel.clock import wall_now
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.subscriptions import cadence_of, grid_of
from apps.subscriptions.services.subscriptions import SubscriptionOptions, place_subscription


@transaction.atomic
def subscribe(
    *,
    customer: Customer,
    plan: Plan,
    name: str,
    started_at: datetime,
    as_of: datetime,
    options: SubscriptionOptions,
) -> tuple[Subscription, bool]:
    """Subscribe a customer to a plan and bill what is due at once.

    Returns:
        The subscription and whether it is new; an existing live one to the plan is given back unchanged.

    Raises:
        ConflictError: a live subscription to another plan of the product exists.
        InvalidError: the dates do not fit.
    """
    subscription, is_new = place_subscription(
        customer=customer, plan=plan, name=name, started_at=started_at, as_of=as_of, options=options
    )
    if is_new and started_at <= as_of:
        start_billing(subscription_id=subscription.pk, as_of=as_of)
        subscription.refresh_from_db()
    return subscription, is_new


@transaction.atomic
def start_billing(*, subscription_id: int, as_of: datetime, waits_for_payment: bool = True) -> bool:
    """Bill the upfront charges of a subscription whose start has come; without any it is active at once.

    Args:
        subscription_id: its key.
        as_of: the present.
        waits_for_payment: False lets it be active while Invoice 0 is unpaid, as one that follows another is.

    Returns:
        False when another worker did it.
    """
    subscription = (
        Subscription.objects.select_for_update(of=("self",), no_key=True, skip_locked=True)
        .select_related("organization", "customer__organization", "plan", "test_clock")
        .filter(pk=subscription_id, status=SubscriptionStatus.SCHEDULED)
        .first()
    )
    if subscription is None:
        return False
    subscription.next_action_at = None
    invoice = _make_invoice_zero(subscription, as_of)
    if invoice is None or invoice.status == InvoiceStatus.PAID:
        activate_and_open(subscription=subscription, as_of=as_of)
        return True
    if waits_for_payment:
        subscription.status = SubscriptionStatus.PENDING_PAYMENT
        subscription.save()
    else:
        activate_and_open(subscription=subscription, as_of=as_of)
    if invoice.status == InvoiceStatus.ISSUED:
        open_activation_session(invoice=invoice, as_of=as_of)
    return True


def open_activation_session(*, invoice: Invoice, as_of: datetime) -> None:
    """Make the page where Invoice 0 can be paid, for as long as the subscription says."""
    open_session(
        invoice=invoice,
        as_of=as_of,
        life=timedelta(minutes=invoice.subscription.session_expiry_minutes),
        entity_type="subscription",
    )


def _make_invoice_zero(subscription: Subscription, as_of: datetime) -> Invoice | None:
    """Issue the invoice of everything due up to the start; None when nothing is."""
    first = grid_of(subscription).slot_at(cadence_of(subscription), subscription.started_at)
    if first is None:
        return None
    until = first_bill_until(subscription)
    invoice = Invoice.objects.create(
        organization_id=subscription.organization_id,
        customer_id=subscription.customer_id,
        subscription=subscription,
        sequence_number=0,
        status=InvoiceStatus.CALCULATING,
        currency=subscription.currency,
        period_start=first.service.start,
        period_end=max(first.service.end, until),
        due_after=just_before(subscription.billing_starts_at),
        due_until=until,
        price_revision_ids=list(current_revision_ids(plan_version_id=subscription.plan_version_id)),
        plan_version_id=subscription.plan_version_id,
        grace_period_end=max(first.service.end, until),
        auto_approve=approves_itself(subscription),
    )
    invoice = with_neighbours(Invoice.objects.all()).get(pk=invoice.pk)
    counted_at = wall_now()
    hold_coupons([invoice])
    hold_rates([invoice])
    lines = target_lines([invoice], as_of=as_of)
    if not lines[invoice.pk]:
        invoice.delete()
        return None
    store_calculations(invoices=[invoice], lines=lines, as_of=as_of, counted_at=counted_at)
    if invoice.auto_approve:
        issue_group(invoices=[invoice], as_of=as_of)
    else:
        invoice.status = InvoiceStatus.DRAFT
        invoice.save()
    return invoice
