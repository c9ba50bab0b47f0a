"""Keys are forgotten after their time, and no event ever counts twice for it."""

from datetime import UTC, datetime, timedelta

import pytest

from apps.kernel.errors import ConflictError
from apps.kernel.time import format_instant
from apps.metering.models import MeterEvent, ParkedEvent, Retention, UsageWindow
from apps.metering.selectors.timing import forget_timing
from apps.metering.services.dropping import drop_month
from apps.metering.services.forgetting import forget_keys
from apps.metering.services.merge import drain
from apps.metering.services.partitions import (
    make_partitions,
    stored_months,
)
from tests.metering.test_retention import JANUARY, NOW, RAW_DAYS, accept, drop, keys
from tests.world import World

pytestmark = pytest.mark.django_db


def test_keys_are_forgotten_by_age_and_never_before_their_events(world: World, metric: str) -> None:
    for day in (1, 20):
        moment = datetime(2024, 1, day, tzinfo=UTC)
        accept(world, format_instant(moment), as_of=moment, is_import=False)
    assert forget_keys(as_of=NOW, key_days=0) == 0
    # Both events are stored, so their keys stay however old they are.
    assert forget_keys(as_of=NOW, key_days=RAW_DAYS) == 0
    accept(world, "2024-03-01T00:00:00Z", as_of=datetime(2024, 3, 1, tzinfo=UTC), is_import=False)
    make_partitions(as_of=NOW)
    drop(JANUARY, without_export=True)
    assert forget_keys(as_of=datetime(2024, 3, 12, tzinfo=UTC), key_days=RAW_DAYS) == 1
    assert keys() == 2
    assert forget_keys(as_of=NOW, key_days=RAW_DAYS) == 1
    assert Retention.objects.get().keys_gone_until == datetime(2024, 3, 1, tzinfo=UTC)
    # What waits in staging was accepted before and is still looked up.
    assert forget_keys(as_of=NOW, key_days=RAW_DAYS) == 0


def test_no_event_ever_counts_twice_however_late_it_is_sent_again(world: World, metric: str) -> None:
    """Sent when it happens and again on every day of a year, while jobs drop and forget as fast as they may."""
    happened = datetime(2024, 1, 10, 12, tzinfo=UTC)
    type(world.merchant).objects.filter(pk=world.merchant.pk).update(event_days_back=61)
    parked = 0
    for day in range(0, 400, 7):
        now = happened + timedelta(days=day)
        if day > 200:
            # The merchant looks further back than keys are kept by now.
            type(world.merchant).objects.filter(pk=world.merchant.pk).update(event_days_back=390)
        forget_timing()
        verdicts = accept(world, format_instant(happened), as_of=now, is_import=False)
        parked += len(verdicts.parked)
        make_partitions(as_of=now)
        for month in stored_months():
            try:
                drop_month(month=month, as_of=now, raw_days=RAW_DAYS, without_export=True)
            except ConflictError:
                break
        forget_keys(as_of=now, key_days=RAW_DAYS)
    assert keys() == 0
    assert MeterEvent.objects.count() == 0
    assert parked > 0
    assert ParkedEvent.objects.count() == 1
    assert [window.count for window in UsageWindow.objects.all()] == [1]
    (row,) = world.api.get("/v0/events/parked")["data"]
    body = {"ids": [row["id"]], "reason": "Let it count."}
    assert world.api.post("/v0/events/parked/release", body, expect=200)["released"] == 0
    drain()
    assert [window.count for window in UsageWindow.objects.all()] == [1]
