from datetime import datetime, timedelta

from django.db import connection, transaction

from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.lifecycle import run_due
from apps.kernel.time import format_instant
from apps.outbox.services import publish
from apps.subscriptions.events import TestClockAdvanced
from apps.subscriptions.models import ClockStatus, TestClock
from apps.subscriptions.selectors.clocks import live_subscriptions_on

# Ten years of monthly periods run in well under a minute; more at once is most likely a mistyped year.
MAXIMUM_STEP = timedelta(days=3653)
# First half of the two-part key of the session locks that runs hold.
CLOCK_LOCKS = 7_001


def create_clock(*, organization_id: int, current_time: datetime, name: str = "", description: str = "") -> TestClock:
    """Make a test clock that stands at `current_time`."""
    return TestClock.objects.create(
        organization_id=organization_id,
        current_time=current_time,
        target_time=current_time,
        name=name,
        description=description,
    )


@transaction.atomic
def request_advance(*, clock_id: int, target: datetime) -> TestClock:
    """Store where a clock shall go; the work itself is `run_advance`.

    Raises:
        InvalidError: the target lies in the clock's past, or too far ahead for one step.
        ConflictError: the clock is on its way to another moment, or deleted.
    """
    clock = TestClock.objects.select_for_update(no_key=True).get(pk=clock_id)
    if clock.deleted_at is not None:
        raise ConflictError("This test clock is deleted.", code="TEST_CLOCK_DELETED")
    if clock.status == ClockStatus.ADVANCING:
        if clock.target_time == target:
            return clock
        raise ConflictError(
            f"The clock is advancing to {format_instant(clock.target_time)}; wait until it is there.",
            code="TEST_CLOCK_ADVANCING",
        )
    if target < clock.current_time:
        raise _refused(f"A clock only goes forward; it stands at {format_instant(clock.current_time)}.")
    if target - clock.current_time > MAXIMUM_STEP:
        raise _refused("Advance by at most ten years at once.")
    clock.target_time, clock.status, clock.failure = target, ClockStatus.ADVANCING, ""
    clock.save(update_fields=["target_time", "status", "failure", "updated_at"])
    return clock


def run_advance(*, clock_id: int) -> TestClock:
    """Do all work due up to a clock's target, in order, then move its time there.

    Safe to run twice and on two workers at once: the second finds the clock taken and leaves. An interrupted
    run goes on where the work stands, because every piece of it commits for itself.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [CLOCK_LOCKS, clock_id])
        if not cursor.fetchone()[0]:
            return TestClock.objects.get(pk=clock_id)
        try:
            return _advance(clock_id)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [CLOCK_LOCKS, clock_id])


def _advance(clock_id: int) -> TestClock:
    clock = TestClock.objects.get(pk=clock_id)
    if clock.status != ClockStatus.ADVANCING:
        return clock
    try:
        run_due(clock_id=clock_id, until=clock.target_time, in_simulated_time=True)
    except Exception as error:
        # The clock stays where it was; asking for an advance again takes the work up.
        TestClock.objects.filter(pk=clock_id).update(
            status=ClockStatus.FAILED, failure=f"{type(error).__name__}: {error}"
        )
        raise
    with transaction.atomic():
        moved = TestClock.objects.filter(pk=clock_id, status=ClockStatus.ADVANCING).update(
            current_time=clock.target_time, status=ClockStatus.READY
        )
        if moved:
            publish(
                TestClockAdvanced(test_clock_id=clock.public_id, current_time=clock.target_time),
                organization_id=clock.organization_id,
                object_id=clock.public_id,
                at=clock.target_time,
            )
    return TestClock.objects.get(pk=clock_id)


@transaction.atomic
def delete_clock(*, clock_id: int, as_of: datetime) -> TestClock:
    """Withdraw a clock that no live subscription stands on; deleting twice is fine.

    Raises:
        ConflictError: subscriptions still live on it.
    """
    clock = TestClock.objects.select_for_update(no_key=True).get(pk=clock_id)
    if clock.deleted_at is not None:
        return clock
    live = live_subscriptions_on(clock=clock).count()
    if live:
        raise ConflictError(
            f"{live} live subscription(s) stand on this clock; terminate them first.",
            code="TEST_CLOCK_IN_USE",
            details={"subscriptionCount": live},
        )
    clock.deleted_at = as_of
    clock.save(update_fields=["deleted_at", "updated_at"])
    return clock


def _refused(message: str) -> InvalidError:
    return InvalidError(message, errors=[FieldError("currentTime", message, "invalid")])
