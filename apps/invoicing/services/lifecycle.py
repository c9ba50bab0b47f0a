"""What time makes due in invoicing, in claimable pieces."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Min, QuerySet

from apps.invoicing.models import Invoice, InvoiceStatus, PaymentSession, SessionStatus
from apps.invoicing.selectors.billing_runs import not_held
from apps.invoicing.selectors.consolidation import due_groups
from apps.invoicing.services.changing import pass_boundaries, pass_boundary
from apps.invoicing.services.issuing import calculate_or_set_aside
from apps.invoicing.services.sessions import expire_sessions
from apps.invoicing.services.subscribing import start_billing
from apps.metering.services.merge import drain
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.clocks import on_clock
from apps.subscriptions.selectors.subscriptions import due_subscriptions

logger = logging.getLogger(__name__)

# How many subscriptions or invoices one run of a step takes at most: what a worker does in some seconds, so that
# other steps have their turn.
CHUNK = 10_000
# Periods closed, and invoices calculated, in one transaction: large enough to share queries, small enough to be
# repeated cheaply.
BOUNDARY_GROUP, GROUP = 2_000, 1_000


def next_start_due(clock_id: int | None, horizon: datetime) -> datetime | None:
    return _earliest(clock_id, SubscriptionStatus.SCHEDULED, horizon)


def run_starts(clock_id: int | None, as_of: datetime) -> int:
    """Start billing subscriptions whose start has come."""
    due = due_subscriptions(clock_id=clock_id, status=SubscriptionStatus.SCHEDULED, as_of=as_of)
    ids = list(due.values_list("pk", flat=True)[:CHUNK])
    return _each(ids, lambda pk: start_billing(subscription_id=pk, as_of=as_of))


def next_boundary_due(clock_id: int | None, horizon: datetime) -> datetime | None:
    return _earliest(clock_id, SubscriptionStatus.ACTIVE, horizon)


def run_boundaries(clock_id: int | None, as_of: datetime) -> int:
    """Close the periods that are over and open the next ones."""
    due = due_subscriptions(clock_id=clock_id, status=SubscriptionStatus.ACTIVE, as_of=as_of)
    ids = list(due.values_list("pk", flat=True)[:CHUNK])
    moved = 0
    for start in range(0, len(ids), BOUNDARY_GROUP):
        moved += _pass_group(ids[start : start + BOUNDARY_GROUP], as_of)
    return moved


def _pass_group(ids: Sequence[int], as_of: datetime) -> int:
    """Move a group on; where one of them cannot, half by half, so that only that one is parked."""
    if len(ids) == 1:
        return _each(ids, lambda pk: pass_boundary(subscription_id=pk, as_of=as_of))
    try:
        return pass_boundaries(subscription_ids=ids, as_of=as_of)
    except Exception:
        half = len(ids) // 2
        return _pass_group(ids[:half], as_of) + _pass_group(ids[half:], as_of)


def next_calculation_due(clock_id: int | None, horizon: datetime) -> datetime | None:
    return _due_invoices(clock_id, horizon).values_list("next_action_at", flat=True).first()


def run_calculations(clock_id: int | None, as_of: datetime) -> int:
    """Calculate the invoices whose grace is over, after everything accepted until now is counted."""
    due = _due_invoices(clock_id, as_of)
    ids = list(due.values_list("pk", flat=True)[:CHUNK])
    if not ids:
        return 0
    drain()
    groups = due_groups(due, ids, size=GROUP)
    return sum(calculate_or_set_aside(invoice_ids=group, as_of=as_of) for group in groups)


def _due_invoices(clock_id: int | None, as_of: datetime) -> QuerySet[Invoice]:
    """Give the closed invoices whose grace is over, oldest first."""
    closed = Invoice.objects.filter(on_clock(clock_id), status=InvoiceStatus.CLOSING, next_action_at__lte=as_of)
    # By the clock, too, as the index has them: without one it is not known to be the same for all.
    return not_held(closed).order_by("test_clock_id", "next_action_at", "pk")


def next_expiry_due(clock_id: int | None, horizon: datetime) -> datetime | None:
    found = PaymentSession.objects.filter(
        on_clock(clock_id, "invoice__subscription__"),
        status=SessionStatus.PENDING,
        expires_at__lte=horizon,
    ).aggregate(earliest=Min("expires_at"))
    moment: datetime | None = found["earliest"]
    return moment


def run_expiries(clock_id: int | None, as_of: datetime) -> int:
    """Close payment pages whose time is over."""
    ids = list(
        PaymentSession.objects.filter(
            on_clock(clock_id, "invoice__subscription__"),
            status=SessionStatus.PENDING,
            expires_at__lte=as_of,
        ).values_list("pk", flat=True)[:CHUNK]
    )
    return expire_sessions(session_ids=ids)


def _earliest(clock_id: int | None, status: SubscriptionStatus, horizon: datetime) -> datetime | None:
    due = due_subscriptions(clock_id=clock_id, status=status, as_of=horizon)
    return due.values_list("next_action_at", flat=True).first()


def _each(subscription_ids: Sequence[int], work: Callable[[int], bool]) -> int:
    """Do one piece of work per subscription; one that fails is parked and the rest goes on."""
    moved = 0
    for subscription_id in subscription_ids:
        try:
            moved += work(subscription_id)
        except Exception as error:
            logger.exception("subscription %s is parked", subscription_id)
            moved += park(subscription_id=subscription_id, reason=f"{type(error).__name__}: {error}")
    return moved


@transaction.atomic
def park(*, subscription_id: int, reason: str) -> int:
    """Hold back one subscription's lifecycle work, with the reason, so that the others go on."""
    return Subscription.objects.filter(pk=subscription_id, parked_reason="").update(parked_reason=reason[:2000])
