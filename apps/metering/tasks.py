from collections.abc import Sequence
from time import monotonic, sleep

from celery import shared_task
from django.conf import settings

from apps.kernel.clock import wall_now
from apps.metering.eventstore import event_store
from apps.metering.services.dropping import drop_old_events
from apps.metering.services.forgetting import forget_keys
from apps.metering.services.jobs import lost_jobs, run_backfill, run_void_job, seconds_to_wait
from apps.metering.services.merge import bucket_has_work, buckets_with_work, merge_buckets, vacuum_bucket
from apps.metering.services.partitions import make_partitions
from apps.metering.services.relaying import relay_events, start_relay
from apps.metering.services.releasing import release_due
from apps.metering.services.staging import BUCKETS

# A run goes on while events come and then makes room for another one's message.
RUN_SECONDS = 10.0
# Fewer than this in a round: waiting a moment gathers more into one merge, and nobody notices.
FEW = 5_000
PAUSE_SECONDS = 0.1
# Merged rows stay in a bucket's pages until they are vacuumed, and every merge reads past them.
VACUUM_AFTER = 50_000

HALVES = (range(BUCKETS // 2), range(BUCKETS // 2, BUCKETS))

_dead: dict[int, int] = {}


@shared_task(name="metering.merge_all")
def merge_all() -> int:
    """Merge what is staged for as long as there is any, half of the buckets at a time.

    Fewer and larger merges cost less, because more events share a window; half leaves as much to a second worker.
    """
    total = 0
    end = monotonic() + RUN_SECONDS
    taken = [0] * len(HALVES)
    while True:
        # Where rows were a moment ago nobody looks first: a look reads past all that is merged and not vacuumed yet.
        taken = [_merge(half) if before or _has_work(half) else 0 for half, before in zip(HALVES, taken, strict=True)]
        total += sum(taken)
        if not any(taken):
            return total
        if monotonic() > end:
            merge_all.apply_async(expires=10)
            return total
        if sum(taken) < FEW:
            sleep(PAUSE_SECONDS)


@shared_task(name="metering.sweep")
def sweep() -> None:
    """Start a merge when events wait: the doorbell of a request may have been lost."""
    if buckets_with_work():
        merge_all.apply_async(expires=10)


@shared_task(name="metering.void_events")
def void_events(job_id: int) -> None:
    """Go on with a void job."""
    if run_void_job(job_id=job_id, seconds=RUN_SECONDS):
        void_events.delay(job_id)


@shared_task(name="metering.backfill")
def backfill(job_id: int) -> None:
    """Go on with a backfill, once every process counts by the metric's present definition."""
    wait = seconds_to_wait(job_id=job_id, as_of=wall_now())
    if wait > 0:
        backfill.apply_async((job_id,), countdown=wait)
    elif run_backfill(job_id=job_id, seconds=RUN_SECONDS):
        backfill.delay(job_id)


@shared_task(name="metering.resume_jobs")
def resume_jobs() -> int:
    """Take up jobs whose worker or message was lost."""
    voids, backfills = lost_jobs(as_of=wall_now())
    for job_id in voids:
        void_events.delay(job_id)
    for job_id in backfills:
        backfill.delay(job_id)
    return len(voids) + len(backfills)


@shared_task(name="metering.release_due")
def release_early_events() -> int:
    """Release the events that came too early and whose time has come."""
    return release_due(as_of=wall_now())


@shared_task(name="metering.make_partitions")
def make_event_partitions() -> int:
    """Make the monthly partitions that are missing, ahead and where events wait for one."""
    return len(make_partitions(as_of=wall_now()))


@shared_task(name="metering.retain")
def retain() -> None:
    """Drop raw events and forget keys past their time, as the settings say; by default neither ever happens."""
    drop_old_events(as_of=wall_now(), raw_days=settings.RAW_EVENT_DAYS)
    forget_keys(as_of=wall_now(), key_days=settings.EVENT_KEY_DAYS)


@shared_task(name="metering.relay")
def relay() -> int:
    """Carry stored events to the event store, when there is one beside the database."""
    store = event_store()
    if not store.is_relayed:
        return 0
    start_relay(store=store)
    total = 0
    end = monotonic() + RUN_SECONDS
    while monotonic() < end:
        done = relay_events(store=store)
        total += done.events + done.changes
        if not done.events and not done.changes:
            break
    return total


def _has_work(buckets: Sequence[int]) -> bool:
    return any(bucket_has_work(bucket) for bucket in buckets)


def _merge(buckets: Sequence[int]) -> int:
    taken = merge_buckets(buckets=buckets).taken
    for bucket in buckets:
        _dead[bucket] = _dead.get(bucket, 0) + taken // len(buckets)
        if _dead[bucket] >= VACUUM_AFTER:
            vacuum_bucket(bucket)
            _dead[bucket] = 0
    return taken
