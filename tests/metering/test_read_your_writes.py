"""`consistent=true`: what was answered 202 before the call is in its answer, whoever else writes meanwhile."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction

from apps.metering.selectors import freshness
from apps.metering.selectors.freshness import wait_until_counted
from apps.metering.services.merge import merge_buckets
from apps.metering.services.staging import BUCKETS
from tests.world import Api, World, make_world

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("january")]

MONTH = "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z"


@pytest.fixture
def counted() -> tuple[World, str]:
    world = make_world()
    return world, world.metric(world.product())


class Running:
    """Threads that work until the block ends; what goes wrong in one fails the test."""

    def __init__(self, *work: Callable[[], None]) -> None:
        self.is_over = threading.Event()
        self.failures: list[BaseException] = []
        self.threads = [threading.Thread(target=self._repeat, args=(one,)) for one in work]

    def _repeat(self, work: Callable[[], None]) -> None:
        try:
            while not self.is_over.is_set():
                work()
        except BaseException as error:
            self.failures.append(error)
        finally:
            connections.close_all()

    def __enter__(self) -> None:
        for thread in self.threads:
            thread.start()

    def __exit__(self, *error: object) -> None:
        self.is_over.set()
        for thread in self.threads:
            thread.join()
        assert self.failures == []


def merge_slowly() -> None:
    for bucket in range(BUCKETS):
        merge_buckets(buckets=[bucket], limit=20)
        time.sleep(0.01)


def write(world: World, written: list[int]) -> None:
    event = {"type": "ai.inference", "source": "s", "subject": "cus_1", "timestamp": "2026-01-05T10:00:00Z"}
    body = [event | {"idempotencyKey": f"{time.monotonic_ns()}-{n}", "data": {"tokens": 1}} for n in range(10)]
    answer = Api(world.secret).call("post", "/v0/events/batch", body, expect=202)
    written[0] += json.loads(answer.content)["accepted"]


def read(world: World, metric: str) -> Any:
    return Api(world.secret).call("get", f"/v0/billableMetrics/{metric}/meter?{MONTH}&consistent=true")


def test_a_reader_finds_its_own_events_while_others_write(counted: tuple[World, str]) -> None:
    world, metric = counted
    other = make_world()
    other.metric(other.product())
    mine, theirs = [0], [0]

    def write_others() -> None:
        write(other, theirs)
        time.sleep(0.02)  # less than the merger can take

    with Running(merge_slowly, write_others):
        for _ in range(8):
            write(world, mine)
            answer = read(world, metric)
            assert answer.status_code == 200, answer.content
            assert json.loads(answer.content)["totalValue"] == mine[0]
    assert theirs[0] > 0


def test_each_of_many_readers_finds_at_least_what_was_written_before(counted: tuple[World, str]) -> None:
    world, metric = counted
    written = [[0], [0], [0]]
    seen: list[int] = []

    def write_and_read(mine: list[int]) -> None:
        write(world, mine)
        before = sum(part[0] for part in written)
        answer = read(world, metric)
        assert answer.status_code == 200, answer.content
        total = json.loads(answer.content)["totalValue"]
        assert total >= before
        seen.append(total)

    # The mergers end last: whoever still reads waits for them.
    readers = [lambda mine=part: write_and_read(mine) for part in written]
    with Running(merge_slowly, merge_slowly), Running(*readers):
        time.sleep(3)
    assert len(seen) >= 6


def test_without_a_merger_the_reader_is_told_to_come_again(
    counted: tuple[World, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, metric = counted
    monkeypatch.setattr(freshness.wait_until_counted, "__kwdefaults__", {"seconds": 0.2})
    write(world, [0])
    began = time.monotonic()
    answer = read(world, metric)
    assert time.monotonic() - began < 2
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert json.loads(answer.content)["code"] == "USAGE_BEHIND"
    # Another merchant has nothing to wait for.
    other = make_world()
    assert read(other, other.metric(other.product())).status_code == 200


def test_rows_of_transactions_that_are_still_open_are_not_waited_for(counted: tuple[World, str]) -> None:
    world, _ = counted
    staged, is_over = threading.Event(), threading.Event()

    def write_and_hold() -> None:
        try:
            with transaction.atomic():
                write(world, [0])
                staged.set()
                is_over.wait(10)
        finally:
            connections.close_all()

    holder = threading.Thread(target=write_and_hold)
    holder.start()
    try:
        assert staged.wait(10)
        assert wait_until_counted(organization_id=world.merchant.pk, seconds=0.2)
    finally:
        is_over.set()
        holder.join()
    # Committed now, and not merged: a call that begins now waits in vain.
    assert not wait_until_counted(organization_id=world.merchant.pk, seconds=0.2)


def test_only_few_calls_wait_at_a_time(counted: tuple[World, str], monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = counted
    monkeypatch.setattr(freshness, "_waiting", threading.BoundedSemaphore(1))
    write(world, [0])
    results: list[bool] = []

    def wait() -> None:
        try:
            results.append(wait_until_counted(organization_id=world.merchant.pk, seconds=1.5))
        finally:
            connections.close_all()

    first = threading.Thread(target=wait)
    first.start()
    time.sleep(0.3)
    began = time.monotonic()
    assert not wait_until_counted(organization_id=world.merchant.pk, seconds=1.5)
    assert time.monotonic() - began < 0.5
    for bucket in range(BUCKETS):
        merge_buckets(buckets=[bucket])
    first.join()
    assert results == [True]
