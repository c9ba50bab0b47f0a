from celery import shared_task

from apps.metering.services.merge import BATCH, buckets_with_work, merge_bucket


@shared_task(name="metering.merge_all")
def merge_all() -> int:
    """Merge what is staged, bucket by bucket, until none has a full batch left."""
    total = 0
    for bucket in buckets_with_work():
        while True:
            taken = merge_bucket(bucket=bucket).taken
            total += taken
            if taken < BATCH:
                break
    return total


@shared_task(name="metering.sweep")
def sweep() -> None:
    """Start a merge when events wait: the doorbell of a request may have been lost."""
    if buckets_with_work():
        merge_all.apply_async(expires=10)
