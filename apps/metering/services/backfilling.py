"""Counting stored events for a metric as if its present definition had stood from the beginning."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.catalog.models import BillableMetric
from apps.catalog.selectors.metrics import require_counting
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.time import format_instant
from apps.metering.domain.drafts import Targets
from apps.metering.domain.wire import decode_object
from apps.metering.models import BackfillJob, DeadLetter
from apps.metering.models.corrections import ACTIVE_JOB
from apps.metering.selectors.registry import CACHE_SECONDS, MetricShape, shape_of
from apps.metering.selectors.stored import EventRef, voided_ids
from apps.metering.services.counting import Counter
from apps.metering.services.effects import Effect, HeldEvent, hold_events, replace_effects
from apps.metering.services.interning import intern_dimensions
from apps.metering.services.recompute import WindowKey, recompute_windows

# After a change of a metric processes may count by the old definition until they look again, and need a moment to
# commit what they counted. Events accepted later are counted right on their way in.
SETTLE = timedelta(seconds=CACHE_SECONDS + 5)


@transaction.atomic
def start_backfill(
    *,
    metric_id: int,
    user_id: int,
    as_of: datetime,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
) -> BackfillJob:
    """Ask that stored events of a metric's type are counted by its present definition.

    Asking again for the same interval while the job runs gives that job.

    Raises:
        InvalidError: the interval is reversed.
        ConflictError: a backfill of this metric over another interval runs, or the metric is withdrawn.
    """
    if starts_at is not None and ends_at is not None and starts_at >= ends_at:
        raise InvalidError("to must be after from.", errors=[FieldError("to", "Must be after from.")])
    metric = BillableMetric.objects.select_for_update(no_key=True).get(pk=metric_id)
    if metric.deleted_at is not None:
        raise ConflictError("The metric is withdrawn; it counts nothing any more.", code="METRIC_DELETED")
    require_counting(metric)
    running = BackfillJob.objects.filter(metric=metric, status__in=ACTIVE_JOB).first()
    definition = definition_of(metric)
    if running is not None:
        if (running.starts_at, running.ends_at, running.definition) == (starts_at, ends_at, definition):
            return running
        raise ConflictError(
            f"Backfill {running.public_id} of this metric runs; wait for it or stop it.", code="BACKFILL_RUNNING"
        )
    return BackfillJob.objects.create(
        organization_id=metric.organization_id,
        metric=metric,
        definition=definition,
        starts_at=starts_at,
        ends_at=ends_at,
        accepted_before=max(as_of, metric.updated_at + SETTLE),
        started_by_id=user_id,
    )


def definition_of(metric: BillableMetric) -> dict[str, Any]:
    """Give what decides which events a metric counts, and how much."""
    return {
        "aggregation": metric.aggregation,
        "eventType": metric.event_type,
        "valueProperty": metric.value_property,
        "groupBy": metric.group_by,
        "eventFrom": None if metric.event_from is None else format_instant(metric.event_from),
    }


def backfill_slice(job: BackfillJob, refs: Sequence[EventRef], as_of: datetime) -> int:
    """Count a slice of events for a job's metric (caller's transaction); gives how many count differently now.

    Raises:
        ConflictError: the metric was changed since the job was asked for.
    """
    metric = job.metric
    if definition_of(metric) != job.definition:
        raise ConflictError("The metric was changed meanwhile; start a new backfill.", code="METRIC_CHANGED")
    changed, problems = recount(metric=metric, refs=refs, as_of=as_of)
    job.unusable += len(problems)
    if problems and not job.first_problem:
        event_id, reason = next(iter(problems.items()))
        job.first_problem = f"{event_id}: {reason}"
    return changed


def recount(*, metric: BillableMetric, refs: Sequence[EventRef], as_of: datetime) -> tuple[int, dict[str, str]]:
    """Let stored events count for a metric by its present definition (caller's transaction).

    Voided events stay voided. Open dead letters about events that count now are marked as dealt with.

    Returns:
        How many events count differently than before, and why the metric cannot use others, by event id.
    """
    held = hold_events(organization_id=metric.organization_id, refs=refs)
    voided = voided_ids(organization_id=metric.organization_id, event_ids=[event.public_id for event in held])
    events = [event for event in held if event.public_id not in voided]
    wanted, problems = _effects(shape_of(metric), metric.organization_id, events)
    changes: list[tuple[HeldEvent, Effect | None]] = []
    windows: set[WindowKey] = set()
    for event, effect in zip(events, wanted, strict=True):
        before = event.effects.get(metric.pk)
        if effect == before:
            continue
        changes.append((event, effect))
        windows.update(event.window_of(metric.pk, part) for part in (before, effect) if part is not None)
    replace_effects(metric_id=metric.pk, effects=changes)
    recompute_windows(windows=windows)
    counted = [event.public_id for event, effect in changes if effect is not None]
    _resolve_letters(metric, counted, as_of)
    return len(changes), problems


def _effects(
    shape: MetricShape, organization_id: int, events: Sequence[HeldEvent]
) -> tuple[list[Effect | None], dict[str, str]]:
    """Give the effect of each event by a metric's definition, same order; and who cannot be used, with the reason."""
    counter = Counter((shape,))
    counted = [
        counter.count(decode_object(event.data), occurred_at=event.occurred_at, key=event.idempotency_key)
        for event in events
    ]
    groups = {group for targets, *_ in counted for _, group in targets.pairs if group is not None}
    numbers = intern_dimensions({(organization_id, shape.id, *group) for group in groups})

    def effect_of(targets: Targets, quantity: str, value_hash: str | None) -> Effect | None:
        if not targets.pairs:
            return None
        group = targets.pairs[0][1]
        return Effect(
            dimension_id=None if group is None else numbers[organization_id, shape.id, *group],
            quantity=Decimal(quantity),
            value_hash=None if value_hash is None else UUID(value_hash),
        )

    effects = [effect_of(targets, quantity, value_hash) for targets, quantity, value_hash, _ in counted]
    problems = {
        event.public_id: ignored[0][1] for event, (*_, ignored) in zip(events, counted, strict=True) if ignored
    }
    return effects, problems


def _resolve_letters(metric: BillableMetric, event_ids: Sequence[str], as_of: datetime) -> None:
    if event_ids:
        DeadLetter.objects.filter(
            organization_id=metric.organization_id,
            stage="metric",
            resolved_at__isnull=True,
            payload__billableMetricId=metric.public_id,
            payload__eventId__in=list(event_ids),
        ).update(resolved_at=as_of)
