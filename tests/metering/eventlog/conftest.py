import itertools
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, connections

from apps.metering.eventlog import EventLog, LogUnavailableError, event_log
from apps.metering.models import MeterEvent, UsageWindow
from apps.metering.services.consuming import consume
from apps.metering.services.merge import drain
from apps.metering.services.staging import accept_events
from apps.organizations.models import Organization
from tests.metering.eventlog.cluster import Cluster
from tests.world import World, make_world

NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)
_names = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    nodes = Cluster()
    try:
        nodes.start_all()
        yield nodes
    finally:
        nodes.stop()


@pytest.fixture
def nats_log(request: pytest.FixtureRequest, cluster: Cluster, settings: Any) -> Iterator[EventLog]:
    """The log of this process on the cluster, with streams of this test's own."""
    settings.EVENT_LOG_URL = cluster.url
    settings.EVENT_LOG_STREAM = f"test-{connection.settings_dict['NAME']}-{next(_names)}"
    settings.EVENT_LOG_SHARDS = 2
    log = event_log()
    log.close()
    yield log
    log.close()
    cluster.delete_streams(settings.EVENT_LOG_STREAM)


@pytest.fixture
def counted() -> World:
    return counting_merchant()


def counting_merchant() -> World:
    """Make a merchant with a metric that takes events of January, whenever the test runs."""
    world = make_world()
    world.metric(world.product())
    Organization.objects.filter(pk=world.merchant.pk).update(event_days_back=36_500, event_seconds_ahead=31_536_000)
    return world


def events(keys: list[str], **data: Any) -> list[Any]:
    return [
        {
            "type": "ai.inference",
            "source": "s",
            "subject": f"cus_{sum(key.encode()) % 3}",
            "timestamp": f"2026-01-{1 + sum(key.encode()) % 28:02d}T10:00:00Z",
            "idempotencyKey": key,
            "data": {"tokens": 3, **data},
        }
        for key in keys
    ]


def accept(world: World, keys: list[str]) -> None:
    verdicts = accept_events(
        events(keys), organization_id=world.merchant.pk, organization_public_id=world.id, as_of=NOW
    )
    assert not verdicts.rejected


def carry(log: EventLog) -> None:
    """Do what the consumer does until the log has nothing more to give.

    A busy node may take longer than a read waits, so that an empty answer is not the end yet.
    """
    end = time.monotonic() + 20
    for shard in log.shards:
        while (
            patiently(lambda shard=shard: consume(log=log, shard=shard, wait_seconds=0.2))  # type: ignore[misc]
            or patiently(lambda shard=shard: log.acknowledged_up_to(shard) < log.end_of(shard))  # type: ignore[misc]
        ) and time.monotonic() < end:
            pass


def patiently(work: Callable[[], int]) -> int:
    """Do something again while the nodes elect a leader."""
    end = time.monotonic() + 30
    while True:
        try:
            return work()
        except LogUnavailableError:
            assert time.monotonic() < end, "the log does not come back"
            time.sleep(0.2)


def assert_counted_once(keys: int) -> None:
    patiently(drain)
    assert MeterEvent.objects.count() == keys
    windows = UsageWindow.objects.all()
    assert sum(window.count for window in windows) == keys
    assert sum(window.sum for window in windows) == 3 * keys
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_stagedevent")
        assert cursor.fetchone()[0] == 0


@pytest.fixture
def in_background() -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Run something again and again in a thread until the test ends; its failures fail the test."""
    ended = threading.Event()
    threads: list[threading.Thread] = []
    failures: list[BaseException] = []

    def start(work: Callable[[], Any]) -> None:
        def run() -> None:
            try:
                while not ended.is_set():
                    work()
            except BaseException as error:
                failures.append(error)
            finally:
                connections.close_all()

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield start
    ended.set()
    for thread in threads:
        thread.join()
    assert failures == []
