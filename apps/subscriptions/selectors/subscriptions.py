from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from django.db.models import QuerySet

from apps.kernel.rows import many
from apps.kernel.time import Cadence
from apps.subscriptions.domain.grid import Grid
from apps.subscriptions.domain.pauses import Pauses
from apps.subscriptions.models import Subscription, SubscriptionPause, SubscriptionStatus
from apps.subscriptions.selectors.clocks import on_clock


def subscriptions_of(*, organization_id: int) -> QuerySet[Subscription]:
    """Give a merchant's subscriptions, newest first, with what their wire form needs."""
    return (
        Subscription.objects.filter(organization_id=organization_id)
        .select_related(
            "organization", "customer", "plan", "plan_version", "next_version", "next_plan", "replaces", "test_clock"
        )
        .prefetch_related("price_quantities__interval")
        .order_by("-id")
    )


def upcoming_version_id(subscription: Subscription) -> int:
    """Give the plan version (its key) that the period after the open one bills by, as things stand."""
    if subscription.next_version_id is not None:
        return subscription.next_version_id
    if subscription.version_policy == "floating":
        return subscription.plan.default_version_id or subscription.plan_version_id
    return subscription.plan_version_id


def live_product_ids(*, customer_id: int) -> list[int]:
    """Give the products a customer has a live subscription to."""
    live = Subscription.objects.filter(customer_id=customer_id).exclude(status=SubscriptionStatus.TERMINATED)
    return list(live.values_list("product_id", flat=True))


def known_end(subscription: Subscription) -> datetime | None:
    """Give the end that lies ahead: the agreed one, or that of a cancellation before it."""
    ends = [end for end in (agreed_end(subscription), subscription.cancels_at) if end is not None]
    return min(ends, default=None)


def agreed_end(subscription: Subscription) -> datetime | None:
    """Give the end that a subscription has without being cancelled: a date, or that of a term that none follows."""
    term_ends_at = None if subscription.auto_renew else subscription.term_ends_at
    ends = [end for end in (subscription.ending_at, term_ends_at) if end is not None]
    return min(ends, default=None)


def gives_back_unused(subscription: Subscription) -> bool:
    """Whether prepaid time after the end is credited: where the plan says so, and when another plan follows."""
    return subscription.plan.credit_unused_at_end or subscription.next_plan_id is not None


def pauses_of(subscription: Subscription) -> Pauses:
    """Give when a subscription was paused, and is; without a query where its pauses were read along."""
    # Not through the manager, which makes a query of its own for each look, also at what was read along.
    known = subscription.__dict__.get("_prefetched_objects_cache", {}).get("pauses")
    pauses = subscription.pauses.all() if known is None else known
    spans = [(pause.span.lower, pause.span.upper) for pause in pauses]
    if subscription.paused_at is not None:
        spans.append((subscription.paused_at, None))
    return Pauses(tuple(spans))


def read_pauses(subscriptions: Sequence[Subscription]) -> None:
    """Read the pauses of subscriptions along, for `pauses_of`; few have any."""
    found: dict[int, list[SubscriptionPause]] = defaultdict(list)
    keys = {subscription.pk for subscription in subscriptions}
    for row in SubscriptionPause.objects.filter(subscription_id__in=many(keys)).order_by("pk"):
        found[row.subscription_id].append(row)
    for subscription in subscriptions:
        # Where Django keeps what it prefetches, so that reading the object anew forgets them.
        subscription.__dict__.setdefault("_prefetched_objects_cache", {})["pauses"] = found.get(subscription.pk, [])


def grid_of(subscription: Subscription) -> Grid:
    """Give the calendar a subscription bills on, up to its known end."""
    ends = [end for end in (known_end(subscription), subscription.terminated_at) if end is not None]
    return Grid(
        anchor=subscription.billing_anchor,
        starts_at=subscription.started_at,
        ends_at=min(ends, default=None),
        tz=subscription.timezone,
        is_own=subscription.has_own_anchor,
        trial_ends_at=subscription.trial_ends_at,
    )


def endless_grid_of(subscription: Subscription) -> Grid:
    """Give the calendar as if the subscription had no end, to know the whole of a period that an end cuts."""
    return replace(grid_of(subscription), ends_at=None)


def open_grid_of(subscription: Subscription) -> Grid:
    """Give the calendar up to the end that was known ahead: what was promised before a termination came."""
    return replace(grid_of(subscription), ends_at=known_end(subscription))


def cadence_of(subscription: Subscription) -> Cadence:
    return Cadence.parse(subscription.billing_cadence)


def due_subscriptions(*, clock_id: int | None, status: SubscriptionStatus, as_of: datetime) -> QuerySet[Subscription]:
    """Give the subscriptions in a state whose lifecycle work is due, oldest first, without parked ones."""
    # By the clock, too, as the index has them: without one it is not known to be the same for all.
    return Subscription.objects.filter(
        on_clock(clock_id), status=status, next_action_at__lte=as_of, parked_reason=""
    ).order_by("test_clock_id", "next_action_at", "pk")
