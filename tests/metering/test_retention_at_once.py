"""Partitions are made and dropped while others merge and read."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection

from apps.kernel.errors import ConflictError
from apps.metering.domain.months import partition_name
from apps.metering.models import MeterEvent, UsageWindow
from apps.metering.services.partitions import (
    make_partitions,
    months_ahead,
    months_without_partition,
    stored_months,
)
from tests.concurrency import at_once
from tests.metering.test_retention import JANUARY, NOW, accept, drop
from tests.world import World, make_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def shared_tables() -> Iterator[World]:
    """A merchant whose rows and partitions are really committed, and taken away afterwards."""
    world = make_world()
    world.metric(world.product())
    yield world
    with connection.cursor() as cursor:
        for month in stored_months():
            cursor.execute(f"DROP TABLE {partition_name(month)}")


@pytest.mark.django_db(transaction=True)
def test_partitions_are_made_while_others_merge_and_read(shared_tables: World) -> None:
    world = shared_tables
    moments = [f"2024-01-{day:02d}T{hour:02d}:30:00Z" for day in range(1, 29) for hour in range(0, 24, 6)]
    accept(world, *moments[::2])
    metric = world.api.get(f"/v0/billableMetrics?merchantId={world.id}")["data"][0]["id"]
    url = f"/v0/billableMetrics/{metric}/meter?from=2024-01-01T00:15:00Z&to=2024-02-01T00:00:00Z&windowSize=MINUTE"

    def read() -> list[int]:
        return [len(world.api.get(url)["windowedValues"]) for _ in range(10)]

    def merge() -> None:
        for start in range(1, len(moments), 8):
            accept(world, *moments[start : start + 8 : 2])

    makers = [lambda: make_partitions(as_of=NOW)] * 3
    *made, counts, _ = at_once([*makers, read, merge])
    assert sorted(month for months in made for month in months) == [JANUARY, *months_ahead(NOW)]
    assert counts == sorted(counts)
    assert counts[0] >= len(moments[::2])
    make_partitions(as_of=NOW)
    assert months_without_partition() == []
    assert MeterEvent.objects.count() == len(moments)
    assert sum(window.count for window in UsageWindow.objects.all()) == len(moments)


@pytest.mark.django_db(transaction=True)
def test_a_month_is_dropped_once_and_readers_get_all_or_the_refusal(shared_tables: World) -> None:
    world = shared_tables
    accept(world, *[f"2024-01-05T10:{minute:02d}:00Z" for minute in range(60)])
    make_partitions(as_of=NOW)
    metric = world.api.get(f"/v0/billableMetrics?merchantId={world.id}")["data"][0]["id"]
    url = f"/v0/billableMetrics/{metric}/meter?from=2024-01-05T10:30:00Z&to=2024-01-05T12:00:00Z"
    whole = world.api.get(url)["totalValue"]
    assert whole == sum(10 + n for n in range(30, 60))

    def read() -> set[Any]:
        found = set()
        for _ in range(40):
            answer = world.api.call("get", url)
            found.add(json.loads(answer.content).get("totalValue", answer.status_code))
        return found

    def attempt() -> int:
        for _ in range(20):
            try:
                return drop(JANUARY, without_export=True)
            except ConflictError as error:
                if error.code == "NO_SUCH_MONTH":
                    return 0
                raise
            except OperationalError:
                continue  # the readers had it; nothing changed
        raise AssertionError("never got the locks")

    first, second, seen, other = at_once([attempt, attempt, read, read])
    assert sorted([first, second]) == [0, 60]
    assert seen | other <= {whole, 409}
    assert world.api.get(url, expect=409)["code"] == "RAW_EVENTS_GONE"
