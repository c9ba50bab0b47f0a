"""Opening and closing the periods of subscriptions, each with its invoice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from django.db import connection, transaction
from django.db.models import Value
from django.db.models.functions import Coalesce

from apps.catalog.models import Plan
from apps.catalog.selectors.terms import current_revision_ids_of
from apps.entitlements.services.metering import meter_credits
from apps.invoicing.events import InvoiceCreated
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.kernel.clock import wall_now
from apps.kernel.ids import new_id
from apps.kernel.rows import as_array, insert_values, join, many, update_rows
from apps.organizations.models import Organization
from apps.outbox.services import Announcement, publish_all
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.services.subscriptions import BOUNDARY_COLUMNS, move_on

# What no part of a boundary asks of a subscription, and is not read of thousands.
UNREAD_COLUMNS = (
    "name", "metadata", "created_at", "updated_at", "placed_at", "activated_at", "billing_starts_at", "product",
    "replaces", "elapsed_period_billing", "trial_usage", "billing_thresholds", "next_action_at", "reminded_at",
    "reminded_period", "parked_reason", "auto_charge", "tax_exempt", "payment_term_days", "session_expiry_minutes",
    "redirect_on_success", "redirect_on_failure", "minimum_account_balance", "change_reason", "change_description",
    "change_metadata", "termination_change_reason",
)  # fmt: skip


@transaction.atomic
def cross_boundaries(*, subscription_ids: Sequence[int], as_of: datetime) -> list[Subscription]:
    """Close the periods of subscriptions that are over and open the next: one transaction for all, once for each.

    Returns:
        Those that moved on; another worker moves, or has moved, those that are missing, or they are no longer active.
    """
    # By their keys alone: looked for by what makes them due too, all that are due would be read for every group. What
    # another worker has moved on meanwhile is left out by a condition that no index serves.
    locked = Subscription.objects.select_for_update(no_key=True, skip_locked=True).filter(
        pk__in=many(subscription_ids)
    )
    due = locked.alias(ends=Coalesce("period_end", Value(as_of + timedelta(days=1)))).filter(ends__lte=as_of)
    rows = due.defer(*UNREAD_COLUMNS).order_by("pk")
    subscriptions: list[Subscription] = [row for row in rows if row.status == SubscriptionStatus.ACTIVE]
    if not subscriptions:
        return []
    join(subscriptions, "organization", Organization.objects.all())
    join(subscriptions, "plan", Plan.objects.all())
    ended_at = {subscription.pk: cast(datetime, subscription.period_end) for subscription in subscriptions}
    move_on(subscriptions=subscriptions)
    revisions = current_revision_ids_of({subscription.plan_version_id for subscription in subscriptions})
    ends = []
    opened = []
    for subscription in subscriptions:
        at = ended_at[subscription.pk]
        is_over = subscription.status == SubscriptionStatus.TERMINATED
        next_ids = [] if is_over else revisions[subscription.plan_version_id]
        ends.append(PeriodEnd(subscription, at, next_ids))
        if not is_over:
            subscription.price_revision_ids = next_ids
            opened.append((subscription, _opened(subscription=subscription, due_after=at, revision_ids=next_ids)))
    meter_credits([one for one, _ in opened])
    update_rows(subscriptions, [*BOUNDARY_COLUMNS, "price_revision_ids"])
    close_invoices(ends)
    if opened:
        insert_values(Invoice, list(opened[0][1]), [list(columns.values()) for _, columns in opened])
    publish_all([_announcement(one, columns, at=ended_at[one.pk]) for one, columns in opened])
    return subscriptions


def open_invoice(
    *, subscription: Subscription, due_after: datetime, revision_ids: Sequence[int], as_of: datetime
) -> Invoice:
    """Make the live invoice of a subscription's open period (caller's transaction)."""
    columns = _opened(subscription=subscription, due_after=due_after, revision_ids=revision_ids)
    invoice = Invoice(**columns)
    invoice.subscription = subscription
    invoice.save()
    publish_all([announcement_of(invoice, at=as_of)])
    return invoice


def _opened(*, subscription: Subscription, due_after: datetime, revision_ids: Sequence[int]) -> dict[str, Any]:
    """Give what is not as by default of the invoice of a subscription's open period, by attribute."""
    assert subscription.period_start is not None
    assert subscription.period_end is not None
    return {
        "public_id": new_id(Invoice.PREFIX),
        "organization_id": subscription.organization_id,
        "customer_id": subscription.customer_id,
        "subscription_id": subscription.pk,
        "sequence_number": subscription.period_number,
        "part": 0,
        "status": InvoiceStatus.ACTIVE.value,
        "currency": subscription.currency,
        "period_start": subscription.period_start,
        "period_end": subscription.period_end,
        "due_after": due_after,
        "due_until": subscription.period_end,
        "price_revision_ids": list(revision_ids),
        "plan_version_id": subscription.plan_version_id,
        "grace_period_end": subscription.period_end + grace_of(subscription),
        "auto_approve": approves_itself(subscription),
    }


def announcement_of(invoice: Invoice, *, at: datetime) -> Announcement:
    """Give what is announced of a new invoice."""
    return _announcement(invoice.subscription, vars(invoice), at=at)


def _announcement(subscription: Subscription, columns: Mapping[str, Any], *, at: datetime) -> Announcement:
    names = ("sequence_number", "period_start", "period_end", "part")
    public_id = columns["public_id"]
    created = InvoiceCreated(
        invoice_id=public_id, subscription_id=subscription.public_id, **{name: columns[name] for name in names}
    )
    return Announcement(created, subscription.organization_id, public_id, at)


@dataclass(frozen=True, slots=True)
class PeriodEnd:
    """That the open period of a subscription ends.

    Attributes:
        next_revision_ids: what the period that follows bills by; none where none follows.
    """

    subscription: Subscription
    at: datetime
    next_revision_ids: Sequence[int]


def close_invoices(ends: Sequence[PeriodEnd]) -> None:
    """End the periods of live invoices; they are calculated when their grace is over (caller's transaction).

    Raises:
        LookupError: a subscription has none.
    """
    given: tuple[list[Any], ...] = (
        [end.subscription.pk for end in ends],
        [end.subscription.test_clock_id for end in ends],
        [end.at for end in ends],
        [end.at + grace_of(end.subscription) for end in ends],
        [end.next_revision_ids for end in ends],
    )
    with connection.cursor() as cursor:
        cursor.execute(CLOSING, [wall_now(), *map(as_array, given)])
        if cursor.rowcount != len(ends):
            raise LookupError(f"{len(ends)} subscriptions have {cursor.rowcount} live invoices.")


# Also where a period ends as it begins, the window is an interval; nothing falls due in it then.
CLOSING = """
    UPDATE invoicing_invoice AS invoice SET
        status = 'CLOSING', period_end = given.at, grace_period_end = given.grace_end,
        test_clock_id = given.test_clock_id, next_action_at = given.grace_end,
        due_until = greatest(given.at, invoice.due_after + interval '1 microsecond'),
        next_revision_ids = given.next_revision_ids::bigint[], updated_at = %s
    FROM unnest(%s::bigint[], %s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::text[])
        AS given (subscription_id, test_clock_id, at, grace_end, next_revision_ids)
    WHERE invoice.subscription_id = given.subscription_id AND invoice.status = 'ACTIVE'
"""


def grace_of(subscription: Subscription) -> timedelta:
    return timedelta(seconds=subscription.organization.grace_period_seconds)


def approves_itself(subscription: Subscription) -> bool:
    """Whether invoices are issued without a person: as the subscription says, else as the merchant does."""
    if subscription.auto_approve is not None:
        return subscription.auto_approve
    return subscription.organization.auto_approve
