"""Long work over stored events: in chunks that commit with their position, so it may be killed, repeated, doubled."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import TypeVar

from django.db import InterfaceError, OperationalError, transaction

from apps.kernel.clock import wall_now
from apps.kernel.errors import ConflictError
from apps.metering.models import BackfillJob, JobStatus, VoidJob
from apps.metering.models.corrections import ACTIVE_JOB, EventJob
from apps.metering.selectors.stored import FIRST, EventRef, Position, Stretch, count_events, next_events
from apps.metering.services.backfilling import backfill_slice
from apps.metering.services.merge import drain
from apps.metering.services.voiding import void_slice

logger = logging.getLogger(__name__)

# Events of one chunk: many, because a window is rebuilt whole for each chunk that touches it; few enough that the
# locks on windows are held for a second at most, and a kill costs no more than that.
CHUNK = 5_000
# Work that did not move for so long has lost its worker or its message.
LOST_AFTER = timedelta(seconds=60)

Job = TypeVar("Job", bound=EventJob)
Slice = Callable[[Job, Sequence[EventRef], datetime], int]


def run_void_job(*, job_id: int, seconds: float) -> bool:
    """Go on with a void job for so long; True when there is more to do."""
    return _run(VoidJob, job_id, void_slice, seconds)


def run_backfill(*, job_id: int, seconds: float) -> bool:
    """Go on with a backfill for so long; True when there is more to do."""
    return _run(BackfillJob, job_id, backfill_slice, seconds)


def seconds_to_wait(*, job_id: int, as_of: datetime) -> float:
    """Give how long a backfill must wait until every process counts by the metric's present definition."""
    job = BackfillJob.objects.get(pk=job_id)
    return max(0.0, (job.accepted_before - as_of).total_seconds())


@transaction.atomic
def stop_job(*, job: EventJob) -> None:
    """Stop a job after its present chunk; what is done stays done.

    Raises:
        ConflictError: the job is over.
    """
    held = type(job)._default_manager.select_for_update().get(pk=job.pk)
    if held.status == JobStatus.STOPPED:
        return
    if held.status not in ACTIVE_JOB:
        raise ConflictError("The job is over; there is nothing to stop.", code="JOB_OVER")
    held.status = JobStatus.STOPPED
    held.save()


@transaction.atomic
def resume_job(*, job: EventJob) -> None:
    """Let a job that stopped or failed go on where it stands.

    Raises:
        ConflictError: the job is done, or another one for the same metric runs.
    """
    held = type(job)._default_manager.select_for_update().get(pk=job.pk)
    if held.status in ACTIVE_JOB:
        return
    if held.status == JobStatus.DONE:
        raise ConflictError("The job is done; start a new one.", code="JOB_OVER")
    if isinstance(held, BackfillJob):
        others = BackfillJob.objects.filter(metric_id=held.metric_id, status__in=ACTIVE_JOB)
        if others.exists():
            raise ConflictError("Another backfill of this metric runs; wait for it.", code="BACKFILL_RUNNING")
    held.status, held.failure = JobStatus.RUNNING if held.total is not None else JobStatus.QUEUED, ""
    held.save()


def lost_jobs(*, as_of: datetime) -> tuple[list[int], list[int]]:
    """Give the void jobs and the backfills that should run and do not move."""
    found = [
        list(
            kind._default_manager.filter(status__in=ACTIVE_JOB, updated_at__lt=as_of - LOST_AFTER).values_list(
                "pk", flat=True
            )
        )
        for kind in (VoidJob, BackfillJob)
    ]
    return found[0], found[1]


def _run(kind: type[Job], job_id: int, work: "Slice[Job]", seconds: float) -> bool:
    end = monotonic() + seconds
    if kind._default_manager.filter(pk=job_id, status=JobStatus.QUEUED).exists():
        # What was accepted before the job is stored when it begins.
        drain()
    try:
        while _chunk(kind, job_id, work):
            if monotonic() >= end:
                return True
    except (OperationalError, InterfaceError):
        raise  # the database's trouble: the job goes on when it is over
    except Exception as error:
        logger.exception("job %s %s failed", kind.__name__, job_id)
        kind._default_manager.filter(pk=job_id, status__in=ACTIVE_JOB).update(
            status=JobStatus.FAILED, failure=f"{type(error).__name__}: {error}"[:2000], updated_at=wall_now()
        )
    return False


@transaction.atomic
def _chunk(kind: type[Job], job_id: int, work: "Slice[Job]") -> bool:
    """Do the next chunk. Two runs at once take turns: each holds the job's row and reads the position under it."""
    job = kind._default_manager.select_for_update().get(pk=job_id)
    if job.status not in ACTIVE_JOB:
        return False
    stretch = _stretch(job)
    if job.status == JobStatus.QUEUED:
        job.status, job.total = JobStatus.RUNNING, count_events(stretch)
    refs = next_events(stretch, after=_position(job), limit=CHUNK)
    if refs:
        job.changed += work(job, refs, wall_now())
        job.seen += len(refs)
        last = refs[-1]
        job.last_type, job.last_at, job.last_key = last.event_type, last.occurred_at, last.key
    if len(refs) < CHUNK:
        job.status, job.finished_at = JobStatus.DONE, wall_now()
    job.save()
    return job.status == JobStatus.RUNNING


def _stretch(job: EventJob) -> Stretch:
    event_type = job.metric.event_type if isinstance(job, BackfillJob) else getattr(job, "event_type", "")
    return Stretch(job.organization_id, event_type, job.starts_at, job.ends_at, job.accepted_before)


def _position(job: EventJob) -> Position:
    return FIRST if job.last_at is None else (job.last_type, job.last_at, job.last_key)
