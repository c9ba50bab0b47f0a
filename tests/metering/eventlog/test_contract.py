"""What every event log promises, tried on each driver; NATS runs as a real cluster of three nodes."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DataError, connection, connections

from apps.catalog.models import BillableMetric
from apps.metering.domain.drafts import EventDraft
from apps.metering.eventlog import REGISTRY, EventLog, LogUnavailableError, event_log
from apps.metering.models import DeadLetter
from apps.metering.services import committing, staging
from apps.metering.services.committing import stage_together
from apps.metering.services.consuming import await_log, consume
from apps.metering.services.merge import drain
from apps.metering.services.staging import accept_events, check_events
from tests.metering.eventlog.conftest import NOW, accept, assert_counted_once, carry, events, patiently
from tests.world import World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("nats")]


@pytest.fixture(params=["postgresql", "nats"])
def log(request: pytest.FixtureRequest) -> EventLog:
    if request.param == "nats":
        request.getfixturevalue("nats_log")
    assert request.param == event_log().CODE
    return event_log()


def staged() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_stagedevent")
        return int(cursor.fetchone()[0])


def drafts(world: World, raw: list[Any]) -> list[EventDraft]:
    found = check_events(raw, organization_id=world.merchant.pk, organization_public_id=world.id, as_of=NOW)
    return [draft for _, draft in found.accepted]


def test_both_drivers_are_tried_here() -> None:
    assert {path.rpartition(".")[0].rpartition(".")[2] for path in REGISTRY.values()} == {"postgresql", "jetstream"}


def test_what_is_accepted_is_counted_once(log: EventLog, counted: World) -> None:
    accept(counted, [f"k{n}" for n in range(300)])
    carry(log)
    assert staged() == 300
    assert_counted_once(300)


def test_a_client_that_sends_again_changes_nothing(log: EventLog, counted: World) -> None:
    keys = [f"k{n}" for n in range(100)]
    accept(counted, keys)
    accept(counted, keys[:50])
    carry(log)
    accept(counted, keys[50:])
    carry(log)
    assert_counted_once(100)


@pytest.fixture
def _writer_lets_go(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The writer's thread outlives the test; its connection would keep the database from being dropped."""
    yield

    def close(taken: Any) -> None:
        connection.close()
        for entry in taken:
            entry.turn.release()

    monkeypatch.setattr(committing, "_commit", close)
    last = committing._Waiting(0, b"")
    committing._waiting.append(last)
    committing._called.set()
    assert last.turn.acquire(timeout=10)


@pytest.mark.usefixtures("_writer_lets_go")
def test_single_events_of_many_threads_are_each_counted_once(log: EventLog, counted: World) -> None:
    failures: list[BaseException] = []

    def send(part: int) -> None:
        try:
            for draft in drafts(counted, events([f"k{part}-{n}" for n in range(20)])):
                stage_together(draft, organization_id=counted.merchant.pk, as_of=NOW)
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    carry(log)
    assert_counted_once(160)


def test_a_reader_that_wants_everything_gets_everything(
    log: EventLog, counted: World, in_background: Callable[[Callable[[], Any]], None]
) -> None:
    def consume_shard(shard: int) -> Callable[[], Any]:
        return lambda: patiently(lambda: consume(log=log, shard=shard, wait_seconds=0.1))

    for shard in log.shards:
        in_background(consume_shard(shard))
    in_background(lambda: patiently(drain))
    metric = BillableMetric.objects.get(organization=counted.merchant).public_id
    path = f"/v0/billableMetrics/{metric}/meter?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z&consistent=true"
    for total in range(1, 11):
        accept(counted, [f"k{total}-{n}" for n in range(10)])
        end = time.monotonic() + 60
        # On a machine that is busy it may be told to ask again; it is never given less.
        while (answer := counted.api.call("get", path)).status_code == 503:
            assert time.monotonic() < end
        assert json.loads(answer.content)["totalValue"] == 30 * total


def test_reports_come_once_with_their_events(log: EventLog, counted: World) -> None:
    counted.metric(counted.product(), path="$.seconds")
    taken = accept_events(
        events(["k1", "k2"]), organization_id=counted.merchant.pk, organization_public_id=counted.id, as_of=NOW
    )
    assert len(taken.accepted) == 2
    carry(log)
    drain()
    letters = DeadLetter.objects.filter(organization=counted.merchant)
    assert sorted(letter.payload["eventId"] for letter in letters) == sorted(d.public_id for _, d in taken.accepted)


def test_a_row_that_the_database_refuses_holds_nobody_up(
    log: EventLog, counted: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = staging.staged_rows

    def with_a_bad_one(some: Any, **named: Any) -> bytes:
        rows = good(some, **named)
        return rows.replace(b'{"tokens":3}', b'{"tokens":', 1) if b"k-bad" in rows else rows

    monkeypatch.setattr(staging, "staged_rows", with_a_bad_one)
    raw = [*events(["k-bad"]), *events(["k1", "k2"])]
    for event in raw:
        event["subject"] = "cus_0"
    if log.CODE == "postgresql":
        # Staging checks a row when it takes it: nothing of the call is stored, and the caller hears so.
        with pytest.raises(DataError):
            accept_raw(counted, raw)
    else:
        accept_raw(counted, raw)
        carry(log)
        letter = DeadLetter.objects.get(organization=counted.merchant)
        assert letter.code == "UNSTAGEABLE"
        assert "k-bad" in letter.payload["row"]
    accept(counted, ["k1", "k2", "k3"])
    carry(log)
    assert_counted_once(3)


def accept_raw(world: World, raw: list[Any]) -> None:
    accept_events(raw, organization_id=world.merchant.pk, organization_public_id=world.id, as_of=NOW)


def test_rows_made_for_other_buckets_find_their_place(
    log: EventLog, counted: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not log.shards:
        pytest.skip("rows of PostgreSQL's log are in their bucket at once")
    monkeypatch.setattr(staging, "BUCKETS", 16)
    monkeypatch.setattr(staging, "BUCKET_OF", {digit: str(int(digit, 16)) for digit in "0123456789abcdef"})
    accept(counted, [f"k{n}" for n in range(100)])
    monkeypatch.undo()
    carry(log)
    assert_counted_once(100)


def test_waiting_for_the_log_ends(log: EventLog, counted: World) -> None:
    accept(counted, ["k1"])
    if log.shards:
        with pytest.raises(LogUnavailableError) as raised:
            await_log(seconds=0.2)
        assert raised.value.code == "EVENT_LOG_BEHIND"
        carry(log)
    await_log(seconds=0.2)
    assert_counted_once(1)
