from celery import shared_task

from apps.kernel.clock import wall_now
from apps.organizations.services.idempotency import delete_old_records


@shared_task(name="organizations.clean_idempotency")
def clean_idempotency() -> int:
    """Delete idempotency records past their day."""
    return delete_old_records(as_of=wall_now())
