from celery import shared_task

from apps.invoicing.services.watching import look_at_usage_alone


@shared_task(name="invoicing.look_at_usage")
def look_at_open_usage() -> int:
    """Bill and tell what usage of open periods makes due."""
    return look_at_usage_alone()
