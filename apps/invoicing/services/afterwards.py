"""Bills of what is found after a subscription's last invoice: usage that came late, and usage that was taken back."""

from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Q, QuerySet, Value

from apps.invoicing.models import Invoice, InvoiceStatus
from apps.invoicing.models.invoice_status import UNCALCULATED
from apps.invoicing.selectors.adjustments import adjustment_terms
from apps.invoicing.selectors.late import find_late_usage
from apps.invoicing.services.issuing import calculate_invoices
from apps.invoicing.services.periods import announcement_of, approves_itself
from apps.kernel.clock import wall_now
from apps.kernel.errors import ConflictError
from apps.metering.selectors.links import subjects_of
from apps.metering.services.merge import drain
from apps.outbox.services import publish_all
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.clocks import current_time

# Late events come in crowds: what one day brings is one document.
REST = timedelta(days=1)
GROUP = 200
DAY = timedelta(days=1)
# Until these are issued, what they will say of earlier periods is not known.
UNSETTLED = (*UNCALCULATED, InvoiceStatus.CALCULATING, InvoiceStatus.DRAFT)


def open_due_corrections() -> int:
    """Open bills of corrections for subscriptions that ended, for as long as late usage of theirs is accepted.

    A subscription gets one a day at most. They are calculated and issued as any bill whose grace is over.

    Returns:
        How many were opened.
    """
    opened = 0
    ids = list(_ended().values_list("pk", flat=True))
    for start in range(0, len(ids), GROUP):
        opened += len(open_corrections(subscription_ids=ids[start : start + GROUP], rest=REST))
    return opened


def bill_corrections_now(*, subscription_id: int) -> Invoice:
    """Bill what was found after the last invoice of a subscription, however long ago it ended.

    Raises:
        ConflictError: it has not ended, has bills that are not issued, or nothing changed.
    """
    drain()
    subscription = Subscription.objects.select_related("test_clock").get(pk=subscription_id)
    if subscription.status != SubscriptionStatus.TERMINATED:
        raise ConflictError("The subscription goes on: its next invoice has them.", code="SUBSCRIPTION_LIVE")
    if Invoice.objects.filter(subscription=subscription, status__in=UNSETTLED).exists():
        raise ConflictError("An invoice of it is not issued yet; it comes first.", code="INVOICE_STATE")
    opened = open_corrections(subscription_ids=[subscription_id])
    if not opened:
        raise ConflictError("Nothing changed since the last invoice.", code="NOTHING_TO_BILL")
    calculate_invoices(invoice_ids=[opened[0].pk], as_of=current_time(subscription))
    return Invoice.objects.get(pk=opened[0].pk)


@transaction.atomic
def open_corrections(*, subscription_ids: Sequence[int], rest: timedelta = timedelta(0)) -> list[Invoice]:
    """Open a bill for each ended subscription whose usage came to another amount since it was billed.

    Another worker has, or had, those that are missing; twice is fine.

    Args:
        subscription_ids: their keys.
        rest: how long after the calculation of the last invoice, in the time of the subscription.
    """
    subscriptions = list(
        Subscription.objects.select_for_update(of=("self",), no_key=True, skip_locked=True)
        .filter(pk__in=subscription_ids, status=SubscriptionStatus.TERMINATED)
        .exclude(pk__in=Invoice.objects.filter(status__in=UNSETTLED).values("subscription_id"))
        .select_related("organization", "customer__organization", "plan", "test_clock")
        .order_by("pk")
    )
    last = {
        invoice.subscription_id: invoice
        for invoice in Invoice.objects.filter(
            subscription__in=subscriptions, part=0, has_members=False, is_purchase=False
        )
        .order_by("subscription_id", "-sequence_number")
        .distinct("subscription_id")
    }
    drawn = [
        _drawn(subscription, last[subscription.pk])
        for subscription in subscriptions
        if subscription.pk in last and _rested(subscription, last[subscription.pk], rest)
    ]
    lines = find_late_usage(
        drawn,
        subjects_of(customer_ids=sorted({invoice.customer_id for invoice in drawn})),
        adjustment_terms(invoice.subscription_id for invoice in drawn),
        as_of=None,
    )
    opened = [invoice for invoice in drawn if any(line.gross for line in lines.get(invoice.pk, ()))]
    for invoice in opened:
        invoice.pk = None
        invoice.save()
    publish_all([announcement_of(invoice, at=invoice.grace_period_end) for invoice in opened])
    return opened


def _ended() -> QuerySet[Subscription]:
    """Give the subscriptions that ended not longer ago than late usage is accepted; on test clocks all that did."""
    accepted = ExpressionWrapper(F("organization__event_days_back") * Value(DAY), output_field=DurationField())
    ended = Subscription.objects.filter(status=SubscriptionStatus.TERMINATED, period_end__isnull=False)
    known = ended.alias(
        corrected_until=ExpressionWrapper(F("terminated_at") + accepted, output_field=DateTimeField())
    )
    is_real = Q(test_clock__isnull=True, corrected_until__gt=wall_now() - 2 * REST)
    return known.filter(is_real | Q(test_clock__deleted_at__isnull=True, test_clock__isnull=False)).order_by("pk")


def _rested(subscription: Subscription, last: Invoice, rest: timedelta) -> bool:
    return last.calculated_at is None or last.calculated_at + rest <= current_time(subscription)


def _drawn(subscription: Subscription, last: Invoice) -> Invoice:
    """Give the bill that would follow the last one, of no time and no charges; its key is made up."""
    assert subscription.terminated_at is not None
    at, present = subscription.terminated_at, current_time(subscription)
    return Invoice(
        pk=-subscription.pk,
        organization_id=subscription.organization_id,
        customer=subscription.customer,
        subscription=subscription,
        sequence_number=last.sequence_number + 1,
        status=InvoiceStatus.CLOSING,
        currency=subscription.currency,
        period_start=at,
        period_end=at,
        due_after=last.due_until,
        due_until=last.due_until + timedelta(microseconds=1),
        price_revision_ids=[],
        next_revision_ids=[],
        plan_version_id=subscription.plan_version_id,
        grace_period_end=max(at, present),
        next_action_at=max(at, present),
        auto_approve=approves_itself(subscription),
    )
