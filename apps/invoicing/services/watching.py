"""Looking at the usage of open periods: bills at thresholds, bills of usage as it comes, alerts."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import Max, Q

from apps.catalog.domain.cadences import length_of
from apps.catalog.domain.thresholds import LIFETIME, BillingThresholds
from apps.invoicing.domain.early import worth_billing
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.events import BillingThresholdPassed
from apps.invoicing.models import Alert, Invoice, InvoiceStatus, PassedThreshold, UsageLook
from apps.invoicing.selectors.drafts import draw_up, early_revisions, usage_amount, usage_lines
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.late import OVERLAP
from apps.invoicing.selectors.targets import target_lines
from apps.invoicing.selectors.watching import (
    looks_due,
    thresholds_of,
    total_of,
    usage_billed,
    watched_subscriptions,
)
from apps.invoicing.services.alerting import Seen, fire_alerts
from apps.invoicing.services.coupons import hold_coupons
from apps.invoicing.services.early import EarlyBill, store_early_bills
from apps.invoicing.services.holding import hold_rates
from apps.invoicing.services.spend import take_turns
from apps.kernel.clock import wall_now
from apps.kernel.money import EXACT
from apps.kernel.time import Cadence
from apps.metering.services.merge import drain
from apps.outbox.services import publish
from apps.subscriptions.models import ClockStatus, Subscription, SubscriptionStatus
from apps.subscriptions.selectors.clocks import current_time

logger = logging.getLogger(__name__)

# Subscriptions looked at in one transaction: large enough to share queries, small enough to be repeated cheaply.
GROUP = 100
# Key of the session lock of the worker that looks.
LOOK_LOCK = 7_018
ZERO = Decimal(0)


@dataclass(slots=True)
class _Watched:
    """A subscription under a lock, with its open invoice and what is wanted of its usage.

    Attributes:
        present: of the subscription.
        whole: an early bill of all usage, drawn up where there are thresholds.
        as_it_comes: one of the usage that is billed as it comes, where that is allowed now.
        closing: invoices of earlier periods that are not calculated yet, where all usage of its life is asked for.
        due_at: when it must be looked at again although nothing changes.
    """

    subscription: Subscription
    opened: Invoice
    present: datetime
    thresholds: BillingThresholds | None
    alerts: list[Alert]
    whole: Invoice | None = None
    as_it_comes: Invoice | None = None
    closing: list[Invoice] = field(default_factory=list)
    due_at: datetime | None = None

    @property
    def asks_for_lifetime(self) -> bool:
        by_alert = any(alert.scope == LIFETIME for alert in self.alerts)
        return by_alert or (self.thresholds is not None and self.thresholds.scope == LIFETIME)

    @property
    def asked(self) -> list[Invoice]:
        """Give the invoices whose lines are needed, whatever they say."""
        drafts = [self.whole] if self.whole is not None else []
        return [*drafts, *([self.opened] if self.alerts or self.asks_for_lifetime else []), *self.closing]


def next_look_due(clock_id: int | None, horizon: datetime) -> datetime | None:
    """Give when a look is due on a test clock that is on its way; on the wall clock a job of its own looks."""
    if clock_id is None:
        return None
    return min((moment for moment in _due_on(clock_id).values() if moment <= horizon), default=None)


def run_looks(clock_id: int | None, as_of: datetime) -> int:
    """Look at the usage of a test clock's subscriptions that are due."""
    if clock_id is None:
        return 0
    ids = [key for key, moment in _due_on(clock_id).items() if moment <= as_of]
    return _look_in_groups(ids, as_of=as_of, waits=True)


def _due_on(clock_id: int) -> dict[int, datetime]:
    """Give when the subscriptions of a test clock are to be looked at, by their keys."""
    rows = watched_subscriptions(Subscription.objects.filter(test_clock_id=clock_id))
    subscriptions = list(rows.select_related("test_clock").order_by("pk"))
    if not subscriptions:
        return {}
    # What was accepted before the clock moves on is seen at the time it stands at, merged or not.
    drain()
    return looks_due(subscriptions, overlap=timedelta(0))


def look_at_usage_alone() -> int:
    """Look at all usage that changed, unless another worker is at it: long looks must not pile up."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOOK_LOCK])
        if not cursor.fetchone()[0]:
            return 0
        try:
            return look_at_usage()
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOOK_LOCK])


def look_at_usage() -> int:
    """Look at all usage that changed since the last look: on the wall clock, and on test clocks that stand.

    Returns:
        How many subscriptions were looked at.
    """
    standing = Subscription.objects.filter(Q(test_clock__isnull=True) | Q(test_clock__status=ClockStatus.READY))
    subscriptions = list(watched_subscriptions(standing).select_related("test_clock").order_by("pk"))
    due = looks_due(subscriptions, overlap=OVERLAP)
    ids = [row.pk for row in subscriptions if row.pk in due and due[row.pk] <= current_time(row)]
    return _look_in_groups(ids, as_of=None, waits=False)


def _look_in_groups(ids: Sequence[int], *, as_of: datetime | None, waits: bool) -> int:
    return sum(_look_or_note(ids[start : start + GROUP], as_of, waits) for start in range(0, len(ids), GROUP))


def _look_or_note(ids: Sequence[int], as_of: datetime | None, waits: bool) -> int:
    """Look at a group; where that fails, at each alone, and the failure of one is written down."""
    try:
        return _look(ids, as_of, waits)
    except Exception as error:
        if len(ids) > 1:
            return sum(_look_or_note([key], as_of, waits) for key in ids)
        logger.exception("usage of subscription %s could not be looked at", ids[0])
        return _note(ids[0], f"{type(error).__name__}: {error}")


@transaction.atomic
def _look(ids: Sequence[int], as_of: datetime | None, waits: bool) -> int:
    # What is merged after this moment is looked at again; read before the usage, so nothing falls between.
    counted_at = wall_now()
    watched = _watched(ids, as_of, waits)
    drafts = [draft for row in watched for draft in (row.whole, row.as_it_comes) if draft is not None]
    take_turns(drafts)
    hold_coupons(drafts)
    hold_rates(drafts)
    lines = target_lines([invoice for row in watched for invoice in row.asked], as_of=as_of)
    billed = usage_billed(row.subscription.pk for row in watched if row.asks_for_lifetime)
    seen = [_seen(row, lines, billed.get(row.subscription.pk, {})) for row in watched]
    passed = _passed(watched, seen, lines)
    bills = _bills(watched, passed, lines, as_of)
    made = {invoice.subscription_id: invoice for invoice in store_early_bills(bills, counted_at=counted_at)}
    _store_passed(watched, passed, made)
    fire_alerts(seen)
    _store_looks(watched, counted_at)
    return len(watched)


def _bills(
    watched: Sequence[_Watched],
    passed: Mapping[int, Sequence["_Passed"]],
    lines: Mapping[int, Sequence[TargetLine]],
    as_of: datetime | None,
) -> list[EarlyBill]:
    """Give the bills that are due: of all usage where a threshold is passed, else of what is billed as it comes.

    Of the two drafts of a subscription one is worked out after the other, as each would use up the other's coupons.
    """
    as_it_comes = [row.as_it_comes for row in watched if row.as_it_comes and not passed[row.subscription.pk]]
    known = {**lines, **(target_lines(as_it_comes, as_of=as_of) if as_it_comes else {})}
    wanted = [row.whole for row in watched if row.whole and passed[row.subscription.pk]] + as_it_comes
    bills = [EarlyBill(draft, worth_billing(known[draft.pk])) for draft in wanted]
    return [bill for bill in bills if bill.lines]


def _watched(ids: Sequence[int], as_of: datetime | None, waits: bool) -> list[_Watched]:
    rows = (
        Subscription.objects.select_for_update(of=("self",), no_key=True, skip_locked=not waits)
        .select_related("plan", "plan_version", "test_clock")
        .filter(pk__in=ids, status=SubscriptionStatus.ACTIVE, parked_reason="")
        .order_by("pk")
    )
    subscriptions = {row.pk: row for row in rows}
    alerts: dict[int, list[Alert]] = defaultdict(list)
    for alert in Alert.objects.filter(subscription_id__in=subscriptions, deleted_at__isnull=True).order_by("pk"):
        alerts[alert.subscription_id].append(alert)
    found: list[_Watched] = []
    opened = with_neighbours(Invoice.objects.filter(subscription_id__in=subscriptions, status=InvoiceStatus.ACTIVE))
    for invoice in opened.order_by("subscription_id"):
        row = subscriptions[invoice.subscription_id]
        present = as_of or current_time(row)
        # Otherwise its clock is on the way, or the boundary comes first.
        if invoice.period_start <= present < invoice.period_end:
            found.append(_Watched(row, invoice, present, thresholds_of(row), alerts[row.pk]))
    _draw_up(found)
    _add_closing(found)
    return found


def _draw_up(watched: Sequence[_Watched]) -> None:
    revisions = early_revisions([row.opened for row in watched])
    billed_at = dict(
        Invoice.objects.filter(subscription_id__in=[row.subscription.pk for row in watched], part__gt=0)
        .values_list("subscription_id")
        .annotate(Max("period_end"))
    )
    for row in watched:
        usage = revisions[row.opened.pk]
        if row.thresholds is not None:
            row.whole = draw_up(row.opened, revision_ids=[revision.pk for revision in usage], as_of=row.present)
        as_it_comes = [revision.pk for revision in usage if revision.payment_term == "in_advance"]
        if not as_it_comes:
            continue
        last = billed_at.get(row.subscription.pk)
        interval = length_of(Cadence.parse(row.opened.subscription.plan.usage_billing_interval))
        if last is not None and last + interval > row.present:
            row.due_at = last + interval
        else:
            row.as_it_comes = draw_up(row.opened, revision_ids=as_it_comes, as_of=row.present, number=1)


def _add_closing(watched: Sequence[_Watched]) -> None:
    by_subscription = {row.subscription.pk: row for row in watched if row.asks_for_lifetime}
    closing = Invoice.objects.filter(subscription_id__in=by_subscription, status=InvoiceStatus.CLOSING)
    for invoice in with_neighbours(closing):
        by_subscription[invoice.subscription_id].closing.append(invoice)


def _seen(row: _Watched, lines: dict[int, list[TargetLine]], billed: dict[int, Decimal]) -> Seen:
    """Give what the usage of a subscription comes to by now, in its period and in its life."""
    in_period: dict[int, Decimal] = defaultdict(Decimal)
    in_life: dict[int, Decimal] = defaultdict(Decimal, billed)
    for invoice in row.asked:
        if invoice.is_early:
            continue
        for line in usage_lines(lines[invoice.pk]):
            assert line.metric_id is not None
            in_life[line.metric_id] = EXACT.add(in_life[line.metric_id], line.gross)
            if invoice is row.opened and not line.is_late:
                in_period[line.metric_id] = EXACT.add(in_period[line.metric_id], line.whole or ZERO)
    return Seen(row.subscription, row.present, row.alerts, in_period, in_life)


@dataclass(frozen=True, slots=True)
class _Passed:
    period_number: int
    threshold: Decimal
    amount: Decimal


def _passed(
    watched: Sequence[_Watched], seen: Sequence[Seen], lines: dict[int, list[TargetLine]]
) -> dict[int, list[_Passed]]:
    """Give the thresholds that usage has passed and that were not passed before, by subscription."""
    highest = {
        (subscription_id, period): amount
        for subscription_id, period, amount in PassedThreshold.objects.filter(
            subscription_id__in=[row.subscription.pk for row in watched]
        )
        .values_list("subscription_id", "period_number")
        .annotate(Max("threshold"))
    }
    found: dict[int, list[_Passed]] = defaultdict(list)
    for row, usage in zip(watched, seen, strict=True):
        if row.thresholds is None or row.whole is None:
            continue
        if row.thresholds.scope == LIFETIME:
            period, amount = 0, total_of(usage.in_life)
        else:
            period, amount = row.subscription.period_number, usage_amount(lines[row.whole.pk])
        before = highest.get((row.subscription.pk, period), ZERO)
        found[row.subscription.pk] = [
            _Passed(period, mark, amount) for mark in row.thresholds.marks.crossed(before, amount)
        ]
    return found


def _store_passed(watched: Sequence[_Watched], passed: dict[int, list[_Passed]], made: dict[int, Invoice]) -> None:
    rows = []
    for row in watched:
        subscription, invoice = row.subscription, made.get(row.subscription.pk)
        for known in passed[subscription.pk]:
            rows.append(
                PassedThreshold(
                    organization_id=subscription.organization_id,
                    subscription=subscription,
                    period_number=known.period_number,
                    threshold=known.threshold,
                    amount=known.amount,
                    passed_at=row.present,
                    invoice=invoice,
                )
            )
            publish(
                BillingThresholdPassed(
                    subscription_id=subscription.public_id,
                    period_number=known.period_number,
                    threshold=known.threshold,
                    amount=known.amount,
                    currency=subscription.currency,
                    invoice_id=invoice.public_id if invoice is not None else None,
                ),
                organization_id=subscription.organization_id,
                object_id=subscription.public_id,
                at=row.present,
            )
    PassedThreshold.objects.bulk_create(rows)


def _store_looks(watched: Sequence[_Watched], looked_at: datetime) -> None:
    UsageLook.objects.bulk_create(
        [
            UsageLook(
                organization_id=row.subscription.organization_id,
                subscription=row.subscription,
                looked_at=looked_at,
                period_number=row.subscription.period_number,
                due_at=row.due_at,
            )
            for row in watched
        ],
        update_conflicts=True,
        unique_fields=["subscription"],
        update_fields=["looked_at", "period_number", "due_at", "problem"],
    )


@transaction.atomic
def _note(subscription_id: int, problem: str) -> int:
    """Write a failed look down, so that it waits for the next change of usage and nobody waits for it."""
    subscription = Subscription.objects.get(pk=subscription_id)
    UsageLook.objects.update_or_create(
        subscription=subscription,
        defaults={
            "organization_id": subscription.organization_id,
            "looked_at": wall_now(),
            "period_number": subscription.period_number,
            "due_at": None,
            "problem": problem[:2000],
        },
    )
    return 1
