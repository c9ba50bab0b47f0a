from celery import shared_task

from apps.invoicing.services.afterwards import open_due_corrections
from apps.invoicing.services.watching import look_at_usage_alone


@shared_task(name="invoicing.look_at_usage")
def look_at_open_usage() -> int:
    """Bill and tell what usage of open periods makes due."""
    return look_at_usage_alone()


@shared_task(name="invoicing.bill_corrections")
def bill_corrections() -> int:
    """Open bills of what was found after the last invoices of subscriptions that ended."""
    return open_due_corrections()
