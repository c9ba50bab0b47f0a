"""Tasks of the whole product rather than of one app."""

from celery import shared_task
from django.core.cache import cache

from apps.kernel.clock import wall_now
from apps.kernel.lifecycle import run_due
from apps.kernel.time import format_instant


@shared_task(name="config.tasks.beat_heartbeat")
def beat_heartbeat() -> None:
    """Note that beat schedules and both workers work: one message, passed from queue to queue."""
    now = format_instant(wall_now())
    cache.set("heartbeat:beat", now, timeout=None)
    cache.set("heartbeat:worker", now, timeout=None)
    merger_heartbeat.apply_async(queue="merge", expires=30)


@shared_task(name="config.tasks.merger_heartbeat")
def merger_heartbeat() -> None:
    """Note that the worker of the merge queue works."""
    cache.set("heartbeat:merger", format_instant(wall_now()), timeout=None)


@shared_task(name="config.tasks.run_lifecycle")
def run_lifecycle() -> int:
    """Do all lifecycle work that is due on the wall clock."""
    return run_due(clock_id=None, until=wall_now(), in_simulated_time=False)
