"""Whatever dies between whichever two steps: every accepted event is counted exactly once."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection, connections

from apps.metering.models import MeterEvent, UsageWindow
from apps.metering.services.merge import drain, merge_buckets
from apps.metering.services.staging import BUCKETS, accept_events
from tests.world import World, make_world

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parent.parent.parent
NOW = datetime(2026, 1, 30, tzinfo=UTC)

# What a worker is doing when it dies.
DEATHS = {
    "after taking the bucket": """
claim = merge._claim
def die(*arguments, **named):
    claim(*arguments, **named)
    os._exit(9)
merge._claim = die
""",
    "after the statement, before the commit": """
inner = merge._merge
def die(*arguments, **named):
    with transaction.atomic():
        inner(*arguments, **named)
        os._exit(9)
merge._merge = die
""",
    "after the commit": """
inner = merge._merge
def die(*arguments, **named):
    inner(*arguments, **named)
    os._exit(9)
merge._merge = die
""",
}

WORKER = """
import os, sys
import django
django.setup()
from django.db import transaction
from apps.metering.services import merge
{patch}
while True:
    for bucket in merge.buckets_with_work():
        merge.merge_buckets(buckets=[bucket], limit=40)
    if not merge.buckets_with_work():
        break
"""


def database_address() -> str:
    """Give the address of this test's database to another process."""
    there = connection.settings_dict
    user, host = quote(there["USER"]), quote(there["HOST"], safe="/")
    return f"postgresql://{user}@/{there['NAME']}?host={host}"


def worker(patch: str = "") -> "subprocess.Popen[bytes]":
    """Start a real merging process on this test's database."""
    environment = {
        **os.environ,
        "DATABASE_URL": database_address(),
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    return subprocess.Popen(
        [sys.executable, "-c", WORKER.format(patch=patch)], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )


@pytest.fixture
def counted() -> World:
    world = make_world()
    world.metric(world.product())
    return world


def accept(world: World, keys: list[str]) -> None:
    raw: list[Any] = [
        {
            "type": "ai.inference",
            "source": "s",
            "subject": f"cus_{len(key) % 3}",
            "timestamp": f"2026-01-{1 + hash(key) % 28:02d}T10:00:00Z",
            "idempotencyKey": key,
            "data": {"tokens": 3},
        }
        for key in keys
    ]
    verdicts = accept_events(raw, organization_id=world.merchant.pk, organization_public_id=world.id, as_of=NOW)
    assert not verdicts.rejected


def assert_counted_once(keys: int) -> None:
    assert MeterEvent.objects.count() == keys
    windows = UsageWindow.objects.all()
    assert sum(window.count for window in windows) == keys
    assert sum(window.sum for window in windows) == 3 * keys
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_stagedevent")
        assert cursor.fetchone()[0] == 0
        cursor.execute("SELECT count(*) FROM metering_key")
        assert cursor.fetchone()[0] == keys


@pytest.mark.parametrize("moment", DEATHS)
def test_a_worker_that_dies_loses_nothing_and_repeats_nothing(counted: World, moment: str) -> None:
    accept(counted, [f"k{n}" for n in range(200)])
    assert worker(DEATHS[moment]).wait(timeout=60) == 9
    accept(counted, [f"k{n}" for n in range(100)])  # a client that got no answer sends again
    drain()
    assert_counted_once(200)


def test_two_workers_killed_at_random_moments(counted: World) -> None:
    source = random.Random(11)
    keys = [f"k{n}" for n in range(3000)]
    for start in range(0, 3000, 500):
        accept(counted, keys[start : start + 500])
        accept(counted, keys[max(0, start - 100) : start])
        running = [worker(), worker()]
        time.sleep(source.uniform(1.5, 3.5))
        for process in running:
            process.send_signal(signal.SIGKILL)
            process.wait()
    drain()
    assert_counted_once(3000)


def test_many_threads_merge_and_stage_at_once(counted: World) -> None:
    keys = [f"k{n}" for n in range(2000)]
    failures: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    def stage_part(part: int) -> None:
        for start in range(part * 500, part * 500 + 500, 50):
            accept(counted, keys[start : start + 50])
            accept(counted, keys[start : start + 25])

    def merge_some() -> None:
        for _ in range(15):
            for bucket in range(BUCKETS):
                merge_buckets(buckets=[bucket], limit=64)

    threads = [threading.Thread(target=guarded, args=(lambda p=part: stage_part(p),)) for part in range(4)]
    threads += [threading.Thread(target=guarded, args=(merge_some,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    drain()
    assert_counted_once(2000)
