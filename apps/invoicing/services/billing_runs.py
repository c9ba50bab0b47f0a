"""Billing runs: planned, looked at, started, paused and followed; safe to lose at any point and to work on at once.

What an invoice is, its own row says. A run only notes what became of it, group by group, and notes later what a lost
worker could not.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db import connection, transaction

from apps.catalog.models import Plan
from apps.invoicing.domain.targets import totals_of
from apps.invoicing.events import BillingRunCompleted
from apps.invoicing.models import BillingRun, BillingRunItem, Invoice, InvoiceStatus, RunItemStatus, RunStatus
from apps.invoicing.selectors.billing_runs import due_in, has_work, in_scope, progress_of
from apps.invoicing.selectors.consolidation import due_groups
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.invoicing.services.issuing import calculate_or_set_aside
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.metering.services.merge import drain
from apps.organizations.models import Organization
from apps.outbox.services import publish

logger = logging.getLogger(__name__)

# How many invoices one pass over a run takes, and how many one transaction calculates.
CHUNK = 1_000
GROUP = 200


@transaction.atomic
def plan_run(
    *,
    organization: Organization,
    as_of: datetime,
    closed_until: datetime | None = None,
    name: str = "",
    plan: Plan | None = None,
    customer_ids: Sequence[int] = (),
    waits_for_grace: bool = True,
    by: str = "",
) -> BillingRun:
    """Gather the invoices of closed periods into a run, which holds them until it is started or cancelled.

    Those that another run holds, and those of test clocks, are left out.

    Raises:
        InvalidError: `closed_until` lies ahead.
        ConflictError: there is nothing to bill.
    """
    until = closed_until or as_of
    if until > as_of:
        message = "Periods that are still open cannot be billed; give a moment that is past."
        raise InvalidError(message, errors=[FieldError("closedUntil", message, "invalid")])
    run = BillingRun.objects.create(
        organization=organization,
        name=name[:120] or f"Periods to {until:%Y-%m-%d %H:%M}",
        plan=plan,
        customer_ids=list(customer_ids),
        closed_until=until,
        waits_for_grace=waits_for_grace,
        created_by=by[:255],
    )
    sql, parameters = in_scope(run).order_by("pk").values("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO invoicing_billingrunitem
                (run_id, organization_id, invoice_id, subscription_id, customer_id, currency, status, reason,
                 attempts)
            SELECT %s, organization_id, id, subscription_id, customer_id, currency, 'waiting', '', 0
            FROM invoicing_invoice WHERE id IN ({sql}) ORDER BY id
            ON CONFLICT DO NOTHING
            """,
            [run.pk, *parameters],
        )
        run.item_count = cursor.rowcount
    if not run.item_count:
        raise ConflictError("No closed period waits for its invoice here.", code="NOTHING_TO_BILL")
    run.save(update_fields=["item_count", "updated_at"])
    return run


def preview_run(*, run_id: int, as_of: datetime, most: int = CHUNK) -> int:
    """Work out what waiting items would come to, those first that were not looked at; stores nothing but that.

    Args:
        most: how many at most; calling again goes on with the rest.

    Returns:
        How many are still to be looked at.
    """
    drain()
    waiting = BillingRunItem.objects.filter(run_id=run_id, status=RunItemStatus.WAITING, previewed_at__isnull=True)
    ids = list(waiting.order_by("pk").values_list("pk", flat=True)[:most])
    for start in range(0, len(ids), GROUP):
        _preview_group(ids[start : start + GROUP], as_of)
    return waiting.count()


def forget_preview(*, run_id: int) -> None:
    """Let the next preview look at everything again."""
    BillingRunItem.objects.filter(run_id=run_id, status=RunItemStatus.WAITING).update(
        previewed_at=None, previewed_amount=None, reason=""
    )


@transaction.atomic
def start_run(*, run_id: int, as_of: datetime) -> BillingRun:
    """Let a planned or paused run be worked through by the lifecycle job; twice is fine.

    Raises:
        ConflictError: it is over.
    """
    run = _locked(run_id)
    if run.status == RunStatus.RUNNING:
        return run
    _require(run, RunStatus.PLANNED, RunStatus.PAUSED)
    run.status, run.started_at = RunStatus.RUNNING, run.started_at or as_of
    run.save(update_fields=["status", "started_at", "updated_at"])
    return run


@transaction.atomic
def pause_run(*, run_id: int) -> BillingRun:
    """Stop a run after the group that is being calculated; what waits is held. Twice is fine.

    Raises:
        ConflictError: it does not run.
    """
    run = _locked(run_id)
    if run.status == RunStatus.PAUSED:
        return run
    _require(run, RunStatus.RUNNING)
    run.status = RunStatus.PAUSED
    run.save(update_fields=["status", "updated_at"])
    return run


@transaction.atomic
def cancel_run(*, run_id: int, as_of: datetime) -> BillingRun:
    """Give up a run that does not run: what waits is left to the ordinary job. Twice is fine.

    Raises:
        ConflictError: it runs, or is completed.
    """
    run = _locked(run_id)
    if run.status == RunStatus.CANCELLED:
        return run
    _require(run, RunStatus.PLANNED, RunStatus.PAUSED)
    run.items.filter(status=RunItemStatus.WAITING).update(status=RunItemStatus.RELEASED, finished_at=as_of)
    run.status, run.finished_at = RunStatus.CANCELLED, as_of
    run.save(update_fields=["status", "finished_at", "updated_at"])
    return run


@transaction.atomic
def retry_run(*, run_id: int, as_of: datetime) -> int:
    """Calculate what failed in a run again, after its causes are repaired; the run goes on.

    Invoices that were repaired and calculated meanwhile are noted, not calculated again. What another run has taken
    since is left to that one.

    Returns:
        How many are tried again.

    Raises:
        ConflictError: the run was not started, or nothing in it failed that it may still take.
    """
    run = _locked(run_id)
    _require(run, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.COMPLETED)
    failed = list(run.items.filter(status=RunItemStatus.FAILED).order_by("invoice_id"))
    if not failed:
        raise ConflictError("Nothing in this run failed.", code="NOTHING_FAILED")
    invoices = list(
        Invoice.objects.select_for_update().filter(pk__in=[item.invoice_id for item in failed]).order_by("pk")
    )
    # Looked at with the invoices locked: a run that is planned at this moment waits for them.
    held = BillingRunItem.objects.filter(invoice__in=invoices, status=RunItemStatus.WAITING)
    elsewhere = set(held.values_list("invoice_id", flat=True))
    failed = [item for item in failed if item.invoice_id not in elsewhere]
    if not failed:
        raise ConflictError("What failed in this run is held by another one now.", code="NOTHING_FAILED")
    for invoice in invoices:
        if invoice.status == InvoiceStatus.FAILED:
            invoice.status, invoice.next_action_at, invoice.failure_reason = InvoiceStatus.CLOSING, as_of, ""
            invoice.save(update_fields=["status", "next_action_at", "failure_reason", "updated_at"])
    run.items.filter(pk__in=[item.pk for item in failed]).update(
        status=RunItemStatus.WAITING, reason="", finished_at=None
    )
    if run.status == RunStatus.COMPLETED:
        run.status, run.finished_at = RunStatus.RUNNING, None
        run.save(update_fields=["status", "finished_at", "updated_at"])
    return len(failed)


def next_run_work_due(clock_id: int | None, horizon: datetime) -> datetime | None:
    """Give the horizon when a started run has work; runs live on the wall clock."""
    return horizon if clock_id is None and has_work(horizon) else None


def run_billing_runs(clock_id: int | None, as_of: datetime) -> int:
    """Take every started run a step further."""
    if clock_id is not None:
        return 0
    started = BillingRun.objects.filter(status=RunStatus.RUNNING).order_by("pk")
    return sum(_work_through(run, as_of) for run in started)


def note_results(*, run_id: int, as_of: datetime) -> int:
    """Note what became of a run's invoices, and the end of the run; gives how many rows that moved."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Its row is the lock of its items: two at once would take them in different orders.
        run = _locked(run_id)
        cursor.execute(NOTING, [as_of, run.pk])
        moved = int(cursor.rowcount)
        if run.status == RunStatus.RUNNING and not run.items.filter(status=RunItemStatus.WAITING).exists():
            run.status, run.finished_at = RunStatus.COMPLETED, as_of
            run.save(update_fields=["status", "finished_at", "updated_at"])
            _announce_end(run, as_of)
            moved += 1
    return moved


def _work_through(run: BillingRun, as_of: datetime) -> int:
    due = due_in(run, as_of)
    ids = list(due.order_by("next_action_at", "pk").values_list("pk", flat=True)[:CHUNK])
    moved = 0
    if ids:
        drain()
        for group in due_groups(due, ids, size=GROUP):
            if not BillingRun.objects.filter(pk=run.pk, status=RunStatus.RUNNING).exists():
                break
            moved += calculate_or_set_aside(invoice_ids=group, as_of=as_of)
            note_results(run_id=run.pk, as_of=as_of)
    return moved + note_results(run_id=run.pk, as_of=as_of)


def _preview_group(item_ids: Sequence[int], as_of: datetime) -> None:
    items = list(BillingRunItem.objects.filter(pk__in=item_ids).order_by("pk"))
    invoices = with_neighbours(Invoice.objects.filter(pk__in=[item.invoice_id for item in items])).in_bulk()
    amounts: dict[int, Decimal] = {}
    reasons: dict[int, str] = {}
    closing = [row for row in invoices.values() if row.status == InvoiceStatus.CLOSING]
    try:
        amounts = _worth(closing, as_of)
    except Exception:
        # One of them cannot: each by itself, so that only that one says why.
        for invoice in closing:
            try:
                amounts |= _worth([invoice], as_of)
            except Exception as error:
                logger.exception("invoice %s cannot be previewed", invoice.pk)
                reasons[invoice.pk] = f"{type(error).__name__}: {error}"[:2000]
    with transaction.atomic():
        # What was calculated meanwhile is done, and no preview any more.
        rows = BillingRunItem.objects.select_for_update().filter(pk__in=item_ids, status=RunItemStatus.WAITING)
        for item in rows.order_by("pk"):
            item.previewed_amount = amounts.get(item.invoice_id)
            item.reason, item.previewed_at = reasons.get(item.invoice_id, ""), as_of
            item.save(update_fields=["previewed_amount", "reason", "previewed_at"])


def _worth(invoices: Sequence[Invoice], as_of: datetime) -> dict[int, Decimal]:
    lines = target_lines(invoices, as_of=as_of)
    return {invoice.pk: totals_of(lines[invoice.pk]).grand_total for invoice in invoices}


def _locked(run_id: int) -> BillingRun:
    return BillingRun.objects.select_for_update().get(pk=run_id)


def _require(run: BillingRun, *states: RunStatus) -> None:
    if run.status not in states:
        raise ConflictError(
            f"The run is {run.get_status_display().lower()}.", code="RUN_STATE", details={"status": run.status}
        )


def _announce_end(run: BillingRun, as_of: datetime) -> None:
    counts = progress_of(run).counts
    publish(
        BillingRunCompleted(
            billing_run_id=run.public_id,
            issued=counts.get(RunItemStatus.ISSUED, 0),
            drafts=counts.get(RunItemStatus.DRAFT, 0),
            failed=counts.get(RunItemStatus.FAILED, 0),
        ),
        organization_id=run.organization_id,
        object_id=run.public_id,
        at=as_of,
    )


NOTING = """
    UPDATE invoicing_billingrunitem AS item SET
        status = CASE invoice.status
            WHEN 'DRAFT' THEN 'draft' WHEN 'FAILED' THEN 'failed' WHEN 'CANCELLED' THEN 'cancelled' ELSE 'issued'
        END,
        amount = CASE WHEN invoice.status NOT IN ('FAILED', 'CANCELLED') THEN invoice.grand_total END,
        reason = left(invoice.failure_reason, 2000), attempts = item.attempts + 1, finished_at = %s
    FROM invoicing_invoice AS invoice
    WHERE invoice.id = item.invoice_id AND item.run_id = %s AND item.status = 'waiting'
        AND invoice.status NOT IN ('ACTIVE', 'CLOSING', 'CALCULATING')
"""
