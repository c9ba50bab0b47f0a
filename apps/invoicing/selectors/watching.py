"""Subscriptions whose usage is looked at before their period is over, and when that is due."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Q, QuerySet, Sum

from apps.catalog.domain.thresholds import LIFETIME, BillingThresholds
from apps.catalog.models import PlanVersion, PlanVersionPrice, PriceRevision
from apps.catalog.selectors.terms import revisions_by_id
from apps.invoicing.domain.apart import OFF_USAGE
from apps.invoicing.models import (
    Alert,
    Invoice,
    InvoiceLine,
    InvoiceStatus,
    LineKind,
    PassedThreshold,
    UsageLook,
)
from apps.invoicing.selectors.drafts import draw_up, early_revisions, usage_amount, usage_lines
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.kernel.money import EXACT
from apps.metering.selectors.links import subjects_of
from apps.metering.selectors.usage import UsageRequest, usage_changed_since
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.clocks import current_time


def watched_subscriptions(among: QuerySet[Subscription]) -> QuerySet[Subscription]:
    """Give those of some subscriptions with thresholds, alerts, or usage that is billed as it comes.

    Few are, and very many are asked: each reason is looked up by an index of its own, or by the plans that have it.
    """
    active = among.filter(status=SubscriptionStatus.ACTIVE, parked_reason="")
    versions = list(PlanVersion.objects.filter(billing_thresholds__isnull=False).values_list("pk", flat=True))
    in_advance = PriceRevision.objects.filter(metric__isnull=False, is_flat=False, payment_term="in_advance")
    as_it_comes = dict(in_advance.values_list("pk", "price_id"))
    # An open period bills by what any version of its plan sold.
    slots = PlanVersionPrice.objects.filter(price_id__in=set(as_it_comes.values()))
    plans = set(slots.values_list("plan_version__plan_id", flat=True))
    told = Alert.objects.filter(deleted_at__isnull=True).values("subscription_id")
    found = [
        active.filter(billing_thresholds__isnull=False).exclude(billing_thresholds={}),
        active.filter(billing_thresholds__isnull=True, plan_version_id__in=versions),
        active.filter(plan_id__in=plans, price_revision_ids__overlap=list(as_it_comes)),
        active.filter(pk__in=told),
    ]
    first, *others = [rows.values("pk") for rows in found]
    return Subscription.objects.filter(pk__in=first.union(*others))


def thresholds_of(subscription: Subscription) -> BillingThresholds | None:
    """Give the billing thresholds that hold for a subscription: its own, else those of its plan's version."""
    stored = subscription.billing_thresholds
    if stored is None:
        stored = subscription.plan_version.billing_thresholds
    return BillingThresholds.of_stored(stored)


def looks_due(subscriptions: Sequence[Subscription], *, overlap: timedelta) -> dict[int, datetime]:
    """Give when the usage of open periods is to be looked at, each in its subscription's time.

    That is now, where usage was merged or corrected since the last look, or there was none in the period; later,
    where only the next bill must wait. Others are left out.

    Args:
        subscriptions: active ones, with their test clock at hand.
        overlap: how long a merge may have been under way when the last look read the usage.
    """
    looks = UsageLook.objects.in_bulk([row.pk for row in subscriptions])
    known = [row for row in subscriptions if row.pk in looks and looks[row.pk].period_number == row.period_number]
    requests = _usage_of_open_periods(known)
    changed = usage_changed_since(
        requests=[request for _, request in requests],
        moments=[looks[key].looked_at - overlap for key, _ in requests],
    )
    moved = {key for (key, _), is_changed in zip(requests, changed, strict=True) if is_changed}
    same = {row.pk for row in known} - moved
    found: dict[int, datetime] = {}
    for row in subscriptions:
        assert row.period_start is not None
        assert row.period_end is not None
        present = max(current_time(row), row.period_start)
        due_at = looks[row.pk].due_at if row.pk in same else present
        if due_at is not None and max(due_at, present) < row.period_end:
            found[row.pk] = max(due_at, present)
    return found


def usage_billed(subscription_ids: Iterable[int]) -> dict[int, dict[int, Decimal]]:
    """Give what stored bills of subscriptions charged for usage, by the metric's key, before tax and discounts.

    What units paid of it was never charged, also where the usage stands there in full.
    """
    rows = (
        InvoiceLine.objects.filter(
            Q(kind=LineKind.METERED) | Q(reference__startswith=OFF_USAGE),
            invoice__subscription_id__in=set(subscription_ids),
            invoice__calculated_at__isnull=False,
            price_revision__metric__isnull=False,
        )
        .exclude(invoice__status=InvoiceStatus.CANCELLED)
        .values_list("invoice__subscription_id", "price_revision__metric_id")
        .annotate(Sum("gross"))
    )
    found: dict[int, dict[int, Decimal]] = defaultdict(dict)
    for subscription_id, metric_id, gross in rows:
        found[subscription_id][metric_id] = gross
    return found


def total_of(amounts: Mapping[int, Decimal], metric_id: int | None = None) -> Decimal:
    """Add up amounts by metric, or take one's."""
    if metric_id is not None:
        return amounts.get(metric_id, Decimal(0))
    total = Decimal(0)
    for amount in amounts.values():
        total = EXACT.add(total, amount)
    return total


def usage_so_far(subscription: Subscription, scope: str) -> Decimal:
    """Give what a subscription's usage comes to by now, as billing thresholds see it; 0 without an open period."""
    opened = with_neighbours(
        Invoice.objects.filter(subscription=subscription, status__in=[InvoiceStatus.ACTIVE, InvoiceStatus.CLOSING])
    )
    invoices = list(opened)
    if scope == LIFETIME:
        total = total_of(usage_billed([subscription.pk]).get(subscription.pk, {}))
        for lines in target_lines(invoices, as_of=None).values():
            for line in usage_lines(lines):
                total = EXACT.add(total, line.gross)
        return total
    active = next((invoice for invoice in invoices if invoice.status == InvoiceStatus.ACTIVE), None)
    if active is None:
        return Decimal(0)
    ids = [revision.pk for revision in early_revisions([active])[active.pk]]
    draft = draw_up(active, revision_ids=ids, as_of=max(current_time(active.subscription), active.period_start))
    return usage_amount(target_lines([draft], as_of=None)[draft.pk])


def passed_thresholds(subscription: Subscription) -> QuerySet[PassedThreshold]:
    """Give the thresholds that a subscription's usage has passed, the newest first."""
    return PassedThreshold.objects.filter(subscription=subscription).select_related("invoice").order_by("-pk")


def _usage_of_open_periods(subscriptions: Sequence[Subscription]) -> list[tuple[int, UsageRequest]]:
    """Give what usage of each subscription is looked at, by its key."""
    subjects = subjects_of(customer_ids=sorted({row.customer_id for row in subscriptions}))
    revisions = revisions_by_id(i for row in subscriptions for i in row.price_revision_ids)
    told: dict[int, set[int]] = defaultdict(set)
    alerts = Alert.objects.filter(
        subscription_id__in=[row.pk for row in subscriptions], deleted_at__isnull=True, metric__isnull=False
    )
    for subscription_id, metric_id in alerts.values_list("subscription_id", "metric_id"):
        told[subscription_id].add(metric_id)
    found: list[tuple[int, UsageRequest]] = []
    for row in subscriptions:
        assert row.period_start is not None
        assert row.period_end is not None
        starts = dict.fromkeys(told[row.pk], row.period_start)
        for revision in (revisions[i] for i in row.price_revision_ids if i in revisions):
            if revision.bills_usage and revision.metric_id is not None:
                # A price of a longer cadence has a service that began before.
                starts[revision.metric_id] = row.started_at if revision.billing_cadence else row.period_start
        found += [
            (
                row.pk,
                UsageRequest(
                    organization_id=row.organization_id,
                    metric_id=metric_id,
                    subjects=subjects.get(row.customer_id, ()),
                    start=start,
                    end=row.period_end,
                ),
            )
            for metric_id, start in starts.items()
        ]
    return found
