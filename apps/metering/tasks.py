from time import monotonic, sleep

from celery import shared_task

from apps.metering.services.merge import bucket_has_work, buckets_with_work, merge_bucket, vacuum_bucket
from apps.metering.services.staging import BUCKETS

# A run goes on while events come and then makes room for another one's message.
RUN_SECONDS = 10.0
# Fewer than this in a round: waiting a moment gathers more into one merge, and nobody notices.
FEW = 2_000
PAUSE_SECONDS = 0.05
# Merged rows stay in a bucket's pages until they are vacuumed, and every merge reads past them.
VACUUM_AFTER = 20_000

_dead: dict[int, int] = {}


@shared_task(name="metering.merge_all")
def merge_all() -> int:
    """Merge what is staged, bucket after bucket, for as long as there is any."""
    total = 0
    end = monotonic() + RUN_SECONDS
    while True:
        taken = sum(_merge(bucket) for bucket in range(BUCKETS))
        total += taken
        if not taken:
            return total
        if monotonic() > end:
            merge_all.apply_async(expires=10)
            return total
        if taken < FEW:
            sleep(PAUSE_SECONDS)


@shared_task(name="metering.sweep")
def sweep() -> None:
    """Start a merge when events wait: the doorbell of a request may have been lost."""
    if buckets_with_work():
        merge_all.apply_async(expires=10)


def _merge(bucket: int) -> int:
    if not bucket_has_work(bucket):
        return 0
    taken = merge_bucket(bucket=bucket).taken
    _dead[bucket] = _dead.get(bucket, 0) + taken
    if _dead[bucket] >= VACUUM_AFTER:
        vacuum_bucket(bucket)
        _dead[bucket] = 0
    return taken
