"""From PostgreSQL to ClickHouse: nothing is passed over, nothing counts twice, changes follow."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import clickhouse_connect
import pytest
from django.db import connection, connections, transaction

from apps.catalog.models import BillableMetric
from apps.kernel.errors import ConflictError
from apps.metering.domain.months import partition_name
from apps.metering.eventstore import EventStore, Span, StoreUnavailableError
from apps.metering.services import relaying
from apps.metering.services.dropping import drop_month
from apps.metering.services.partitions import make_partitions, stored_months
from apps.metering.services.relaying import relay_events, start_relay
from apps.metering.tasks import relay
from tests.metering.eventstore.conftest import carry_over
from tests.metering.eventstore.test_contract import SPAN, START, assert_answers, ingest
from tests.world import World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("clickhouse")]

Metrics = tuple[World, dict[str, BillableMetric]]


@pytest.fixture
def relayed(clickhouse: EventStore) -> EventStore:
    return clickhouse


@pytest.fixture
def months() -> Iterator[datetime]:
    """A moment at which the events here are old; what it leaves behind in partitions goes."""
    yield datetime(2026, 8, 1, tzinfo=UTC)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE metering_retention")
        for month in stored_months():
            cursor.execute(f"DROP TABLE {partition_name(month)}")


def in_clickhouse(url: str, what: str = "count()") -> Any:
    client = clickhouse_connect.get_client(dsn=url)
    try:
        return client.query(f"SELECT {what} FROM metering_event FINAL").result_rows[0][0]
    finally:
        client.close()


def test_a_late_commit_is_not_passed_over(relayed: EventStore, metrics: Metrics, clickhouse_url: str) -> None:
    world, by_code = metrics
    stored = ingest(world, range(10), seed=1)
    taken, go = threading.Event(), threading.Event()

    def number_early_and_commit_late() -> None:
        try:
            with transaction.atomic():
                nonlocal stored
                stored += ingest(world, range(20, 30), seed=2)
                taken.set()
                assert go.wait(30)
        finally:
            connections.close_all()

    thread = threading.Thread(target=number_early_and_commit_late)
    thread.start()
    assert taken.wait(30)
    with connection.cursor() as cursor:
        # Numbered after those of the open transaction, committed before them.
        cursor.execute(
            "INSERT INTO metering_event (public_id, organization_id, idempotency_key, event_type, source, subject_id,"
            " external_id, occurred_at, accepted_at, data, metrics, dimensions, quantities)"
            " SELECT 'evt_late', organization_id, 'late', 'other', source, subject_id, external_id, occurred_at,"
            " accepted_at, data, '{}', '{}', '{}' FROM metering_event LIMIT 1"
        )
    carry_over(relayed, seconds=1)
    seen_before = in_clickhouse(clickhouse_url)
    assert_answers(world, by_code, stored[:10], seed=3)
    go.set()
    thread.join()
    carry_over(relayed)
    assert seen_before == 0
    assert in_clickhouse(clickhouse_url) == 21
    assert_answers(world, by_code, stored, seed=4)


def test_a_relay_that_dies_between_its_steps_repeats_without_harm(
    relayed: EventStore, metrics: Metrics, clickhouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, by_code = metrics
    stored = ingest(world, range(0, SPAN, 600), seed=1)

    class DiedError(Exception):
        pass

    write = type(relayed).write

    def write_and_die(self: Any, rows: bytes) -> None:
        write(self, rows)
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(type(relayed), "write", write_and_die)
        with pytest.raises(DiedError):
            carry_over(relayed)
    assert in_clickhouse(clickhouse_url) == len(stored)
    assert_answers(world, by_code, stored, seed=2)
    carry_over(relayed)
    assert in_clickhouse(clickhouse_url) == len(stored)
    assert_answers(world, by_code, stored, seed=3)


def test_two_relays_at_once_store_each_event_once(relayed: EventStore, metrics: Metrics, clickhouse_url: str) -> None:
    world, by_code = metrics
    stored = ingest(world, range(0, SPAN, 100), seed=1)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(12):
                relay_events(store=relayed, limit=20)
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    carry_over(relayed)
    assert in_clickhouse(clickhouse_url) == len(stored)
    assert_answers(world, by_code, stored, seed=2)


def test_a_changed_event_is_read_as_it_is_now(relayed: EventStore, metrics: Metrics, clickhouse_url: str) -> None:
    world, by_code = metrics
    stored = ingest(world, range(0, 3000, 100), seed=1)
    carry_over(relayed)
    gone = stored[0].event.id
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE metering_event DISABLE TRIGGER metering_event_frozen")
        try:
            cursor.execute(
                "UPDATE metering_event SET metrics = '{}', dimensions = '{}', quantities = '{}', hashes = NULL"
                " WHERE public_id = %s",
                [gone],
            )
        finally:
            cursor.execute("ALTER TABLE metering_event ENABLE TRIGGER metering_event_frozen")
    span = Span(world.merchant.pk, START, START + timedelta(seconds=3000))

    def counted() -> Decimal:
        with relayed.events_in([span]) as events, connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {events} WHERE %s = ANY (metrics)", [by_code["COUNT"].pk])
            return Decimal(cursor.fetchone()[0])

    # Before and after the relay carried the change over.
    assert counted() == len(stored) - 1
    assert in_clickhouse(clickhouse_url, "countIf(length(metrics) = 0)") == 0
    carry_over(relayed)
    assert in_clickhouse(clickhouse_url, "countIf(length(metrics) = 0)") == 1
    assert counted() == len(stored) - 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_storechange")
        assert cursor.fetchone()[0] == 0


def test_old_events_are_carried_over_when_a_store_is_added(
    relayed: EventStore, metrics: Metrics, clickhouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, by_code = metrics
    stored = ingest(world, range(0, SPAN, 500), seed=1)
    monkeypatch.setattr(relaying, "BATCH", 5)
    end = time.monotonic() + 60
    while in_clickhouse(clickhouse_url) < len(stored):
        relay()
        assert time.monotonic() < end
    # The last round moves the position.
    carry_over(relayed)
    assert in_clickhouse(clickhouse_url) == len(stored)
    # PostgreSQL may then drop them: the answers come from ClickHouse alone.
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE metering_event")
    assert_answers(world, by_code, stored, seed=2)


def test_the_database_may_drop_what_the_store_holds(relayed: EventStore, metrics: Metrics, months: datetime) -> None:
    world, by_code = metrics
    stored = ingest(world, range(0, SPAN, 500), seed=1)
    make_partitions(as_of=months)

    def drop() -> int:
        return drop_month(month=START.date().replace(day=1), as_of=months, raw_days=62, without_export=True)

    with pytest.raises(ConflictError) as caught:
        drop()
    assert caught.value.code == "NOT_RELAYED"
    carry_over(relayed)
    assert drop() == len(stored)
    assert_answers(world, by_code, stored, seed=2)
    # Lists come from the database and say that it has them no more.
    listed = (
        f"/v0/billableMetrics/{by_code['SUM'].public_id}/events?from=2026-03-28T22:00:00Z&to=2026-03-29T02:00:00Z"
    )
    assert world.api.get(listed, expect=409)["code"] == "RAW_EVENTS_GONE"


def test_a_store_that_came_later_misses_what_was_dropped_before(
    relayed: EventStore, metrics: Metrics, months: datetime
) -> None:
    world, by_code = metrics
    ingest(world, range(0, SPAN, 500), seed=1)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE metering_storeposition")
        cursor.execute("INSERT INTO metering_retention (id, raw_gone_until) VALUES (1, '2026-04-01')")
    start_relay(store=relayed)
    cut = f"/v0/billableMetrics/{by_code['SUM'].public_id}/meter?from=2026-03-28T22:00:01Z&to=2026-03-29T02:00:00Z"
    assert world.api.get(cut, expect=409)["code"] == "RAW_EVENTS_GONE"


def test_a_store_that_is_away_is_told_plainly(relayed: EventStore, metrics: Metrics, settings: Any) -> None:
    world, by_code = metrics
    stored = ingest(world, range(0, SPAN, 500), seed=1)
    settings.EVENT_STORE_URL = "clickhouse://127.0.0.1:9/default"
    away = type(relayed)()
    with pytest.raises(StoreUnavailableError), away.events_in([Span(world.merchant.pk, START, START)]):
        pass
    path = f"/v0/billableMetrics/{by_code['SUM'].public_id}/meter"
    whole = "from=2026-03-28T22:00:00Z&to=2026-03-29T02:00:00Z"
    cut = "from=2026-03-28T22:00:01Z&to=2026-03-29T02:00:00Z"
    assert world.api.call("get", f"{path}?{cut}").status_code == 503
    # Whole hours need no events.
    assert Decimal(str(world.api.get(f"{path}?{whole}")["totalValue"])) == sum(known.event.value for known in stored)
    with pytest.raises(StoreUnavailableError):
        carry_over(away)
