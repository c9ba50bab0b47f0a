from celery import shared_task

from apps.subscriptions.selectors.clocks import interrupted_clock_ids
from apps.subscriptions.services.clocks import run_advance


@shared_task(name="subscriptions.advance_clock")
def advance_clock(clock_id: int) -> None:
    """Run a test clock to its target."""
    run_advance(clock_id=clock_id)


@shared_task(name="subscriptions.resume_clocks")
def resume_clocks() -> int:
    """Take up advances whose worker or message was lost."""
    ids = interrupted_clock_ids()
    for clock_id in ids:
        advance_clock.delay(clock_id)
    return len(ids)
