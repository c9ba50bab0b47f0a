"""Billing runs: what they hold, how far they are, and how they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum

from apps.invoicing.models import BillingRun, BillingRunItem, Invoice, InvoiceStatus, RunItemStatus, RunStatus


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        counts: items by their status.
        amounts: by currency, what is done of it and what is still expected, as far as it was previewed.
        not_previewed: waiting items that no preview has looked at.
    """

    counts: Mapping[str, int]
    amounts: Mapping[str, tuple[Decimal, Decimal]]
    not_previewed: int = 0

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def waiting(self) -> int:
        return self.counts.get(RunItemStatus.WAITING, 0)

    @property
    def percent(self) -> int:
        return 100 if not self.total else (self.total - self.waiting) * 100 // self.total


@dataclass(frozen=True, slots=True)
class Difference:
    """What a subscription came to in two runs; None: it was not in one, or is not known there yet."""

    subscription_id: int
    currency: str
    change: str
    before: Decimal | None
    now: Decimal | None


def not_held(rows: QuerySet[Invoice]) -> QuerySet[Invoice]:
    """Leave out invoices that a billing run waits with."""
    held = BillingRunItem.objects.filter(invoice=OuterRef("pk"), status=RunItemStatus.WAITING)
    return rows.filter(~Exists(held))


def in_scope(run: BillingRun) -> QuerySet[Invoice]:
    """Give the invoices that a run is for: closed, not calculated, of its merchant and filters, on the wall clock."""
    rows = Invoice.objects.filter(
        organization_id=run.organization_id,
        status=InvoiceStatus.CLOSING,
        period_end__lte=run.closed_until,
        test_clock__isnull=True,
    )
    if run.plan_id is not None:
        rows = rows.filter(subscription__plan_id=run.plan_id)
    if run.customer_ids:
        rows = rows.filter(customer_id__in=run.customer_ids)
    return rows


def due_in(run: BillingRun, as_of: datetime) -> QuerySet[Invoice]:
    """Give the invoices of a run that can be calculated now."""
    waiting = BillingRunItem.objects.filter(run=run, status=RunItemStatus.WAITING)
    rows = Invoice.objects.filter(pk__in=waiting.values("invoice_id"), status=InvoiceStatus.CLOSING)
    return rows.filter(next_action_at__lte=as_of) if run.waits_for_grace else rows


def has_work(as_of: datetime) -> bool:
    """Whether a started run has something to calculate, or only its end to note."""
    return any(
        due_in(run, as_of).exists() or _all_noted(run) or _to_note(run).exists()
        for run in BillingRun.objects.filter(status=RunStatus.RUNNING)
    )


def progress_of(run: BillingRun) -> Progress:
    return progress_of_each([run])[run.pk]


def progress_of_each(runs: Sequence[BillingRun]) -> Mapping[int, Progress]:
    """Say how far runs are, by their keys."""
    rows = (
        BillingRunItem.objects.filter(run__in=runs)
        .values("run_id", "currency", "status")
        .annotate(
            items=Count("pk"),
            done=Sum("amount", filter=Q(status__in=[RunItemStatus.ISSUED, RunItemStatus.DRAFT])),
            expected=Sum("previewed_amount", filter=Q(status=RunItemStatus.WAITING)),
            unseen=Count("pk", filter=Q(status=RunItemStatus.WAITING, previewed_at__isnull=True)),
        )
        .order_by("run_id", "currency", "status")
    )
    counts: dict[int, dict[str, int]] = {run.pk: {} for run in runs}
    amounts: dict[int, dict[str, tuple[Decimal, Decimal]]] = {run.pk: {} for run in runs}
    unseen = dict.fromkeys(counts, 0)
    for row in rows:
        unseen[row["run_id"]] += row["unseen"]
        counted, summed = counts[row["run_id"]], amounts[row["run_id"]]
        counted[row["status"]] = counted.get(row["status"], 0) + row["items"]
        done, expected = summed.get(row["currency"], (Decimal(0), Decimal(0)))
        summed[row["currency"]] = (done + (row["done"] or 0), expected + (row["expected"] or 0))
    return {run.pk: Progress(counts[run.pk], amounts[run.pk], unseen[run.pk]) for run in runs}


def find_earlier_run(run: BillingRun) -> BillingRun | None:
    """Find the latest completed run of the merchant before one, of the same plan if it is of one.

    It was for all customers, or at least for those of the later one: others would all look new.
    """
    rows = BillingRun.objects.filter(organization_id=run.organization_id, status=RunStatus.COMPLETED, pk__lt=run.pk)
    rows = rows.filter(plan__isnull=True) if run.plan_id is None else rows.filter(plan_id=run.plan_id)
    covers = Q(customer_ids=[])
    if run.customer_ids:
        covers |= Q(customer_ids__contains=run.customer_ids)
    return rows.filter(covers).order_by("-pk").first()


def compare_runs(
    run: BillingRun, earlier: BillingRun, *, limit: int, offset: int = 0
) -> tuple[int, Sequence[Difference]]:
    """Say what subscriptions come to in one run and came to in an earlier one, the largest difference first.

    Customers that the later run is not for are left out: they are not missing from it.

    Returns:
        How many there are in both together, and a page of them.
    """
    with connection.cursor() as cursor:
        customers = list(run.customer_ids)
        cursor.execute(COMPARISON, [run.pk, earlier.pk, customers, customers, earlier.pk, run.pk, limit, offset])
        rows = cursor.fetchall()
    if not rows:
        return 0, []
    return rows[0][0], [
        Difference(
            subscription_id,
            currency,
            _change(is_now=is_now, is_before=is_before, now=now, before=before),
            before,
            now,
        )
        for _, subscription_id, currency, before, now, is_before, is_now in rows
    ]


def _change(*, is_now: bool, is_before: bool, now: Decimal | None, before: Decimal | None) -> str:
    if not is_before:
        return "new"
    if not is_now:
        return "missing"
    if now is None or before is None:
        return "unknown"
    if now == before:
        return "same"
    return "up" if now > before else "down"


def _all_noted(run: BillingRun) -> bool:
    return not BillingRunItem.objects.filter(run=run, status=RunItemStatus.WAITING).exists()


def _to_note(run: BillingRun) -> QuerySet[BillingRunItem]:
    """Give items whose invoices went on, and that do not say so yet: a worker was lost between the two."""
    open_states = (InvoiceStatus.ACTIVE, InvoiceStatus.CLOSING, InvoiceStatus.CALCULATING)
    return BillingRunItem.objects.filter(run=run, status=RunItemStatus.WAITING).exclude(
        invoice__status__in=open_states
    )


# An amount is known only where every item of the subscription has one. What waits comes to what was previewed; what
# failed, or was cancelled, does not, whatever was expected of it.
COMPARISON = """
    WITH worth AS (
        SELECT run_id, subscription_id, currency,
            COALESCE(amount, CASE WHEN status = 'waiting' THEN previewed_amount END) AS amount
        FROM invoicing_billingrunitem
        WHERE run_id IN (%s, %s) AND status <> 'released'
            AND (cardinality(%s::bigint[]) = 0 OR customer_id = ANY (%s::bigint[]))
    ), sums AS (
        SELECT run_id, subscription_id, currency,
            CASE WHEN bool_and(amount IS NOT NULL) THEN sum(amount) END AS total
        FROM worth
        GROUP BY run_id, subscription_id, currency
    ), both_runs AS (
        SELECT subscription_id, currency, earlier.total AS before, latest.total AS now,
            earlier.run_id IS NOT NULL AS is_before, latest.run_id IS NOT NULL AS is_now
        FROM (SELECT * FROM sums WHERE run_id = %s) AS earlier
        FULL JOIN (SELECT * FROM sums WHERE run_id = %s) AS latest USING (subscription_id, currency)
    )
    SELECT count(*) OVER (), subscription_id, currency, before, now, is_before, is_now FROM both_runs
    ORDER BY abs(COALESCE(now, 0) - COALESCE(before, 0)) DESC, subscription_id, currency
    LIMIT %s OFFSET %s
"""
