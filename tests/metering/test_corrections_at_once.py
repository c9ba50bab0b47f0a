"""Corrections beside merges, beside each other, and killed in between: nothing is lost, nothing is counted twice."""

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction

from apps.catalog.models import BillableMetric
from apps.metering.models import BackfillJob, EventVoid, MeterEvent, Subject, UsageWindow, VoidJob
from apps.metering.selectors.registry import forget_metrics
from apps.metering.selectors.stored import find_by_keys
from apps.metering.services import jobs, voiding
from apps.metering.services.backfilling import start_backfill
from apps.metering.services.merge import drain, merge_buckets
from apps.metering.services.recompute import WindowKey, recompute_windows
from apps.metering.services.staging import BUCKETS, accept_events
from apps.metering.services.voiding import start_void_job, void_named
from tests.world import World, make_world

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = datetime(2026, 1, 5, 10, tzinfo=UTC)


@pytest.fixture
def counted() -> World:
    """A merchant with a sum and a count of distinct values."""
    world = make_world()
    product = world.product()
    world.metric(product)
    world.metric(product, path="$.user", aggregation="UNIQUE_COUNT", groupBy={"model": "$.model"})
    return world


def accept(world: World, keys: list[str], *, at: str = "2026-01-05T10:00:00Z") -> None:
    raw: list[Any] = [
        {
            "type": "ai.inference",
            "source": f"s{int(key[1:]) % 2}",
            "subject": f"cus_{int(key[1:]) % 3}",
            "timestamp": at,
            "idempotencyKey": key,
            "data": {"tokens": 3, "user": f"u{int(key[1:]) % 6}", "model": f"m{int(key[1:]) % 2}"},
        }
        for key in keys
    ]
    verdicts = accept_events(raw, organization_id=world.merchant.pk, organization_public_id=world.id, as_of=NOW)
    assert not verdicts.rejected


def void(world: World, keys: list[str]) -> list[str]:
    found = void_named(organization_id=world.merchant.pk, keys=keys, reason="test", user_id=world.owner.pk, as_of=NOW)
    return [entry.outcome for entry in found]


def at_once(*works: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def total(world: World, aggregation: str = "SUM") -> tuple[int, int]:
    """Give the events and the sum that the windows of a metric hold."""
    windows = UsageWindow.objects.filter(organization_id=world.merchant.pk, metric__aggregation=aggregation)
    return sum(window.count for window in windows), int(sum(window.sum for window in windows))


def assert_windows_are_right(world: World) -> None:
    call_command("verify_windows", organization=world.id)


def test_recompute_beside_merges_loses_nothing_and_adds_nothing(counted: World) -> None:
    accept(counted, [f"k{n}" for n in range(60)])
    drain()
    windows = [
        WindowKey(window.organization_id, window.metric_id, window.subject_id, window.hour, window.dimension_id)
        for window in UsageWindow.objects.all()
    ]
    # One more that has no events yet, and gets its first ones meanwhile.
    later = datetime(2026, 1, 5, 11, tzinfo=UTC)
    windows += [
        WindowKey(key.organization_id, key.metric_id, key.subject_id, later, key.dimension_id) for key in windows
    ]
    stop = threading.Event()

    def send() -> None:
        for start in range(60, 1500, 20):
            keys = [f"k{n}" for n in range(start, start + 20)]
            accept(counted, keys[:10])
            accept(counted, keys[10:], at="2026-01-05T11:30:00Z")
        stop.set()

    def merge() -> None:
        while not stop.is_set():
            for bucket in range(BUCKETS):
                merge_buckets(buckets=[bucket], limit=16)

    def recompute() -> None:
        source = random.Random(threading.get_ident())
        while not stop.is_set():
            recompute_windows(windows=source.sample(windows, source.randint(1, len(windows))))

    at_once(send, merge, merge, recompute, recompute)
    drain()
    assert total(counted) == (1500, 4500)
    assert total(counted, "UNIQUE_COUNT")[0] == 1500
    assert_windows_are_right(counted)


def test_a_merge_that_waits_for_a_window_adds_to_what_was_rebuilt(counted: World) -> None:
    """The moment itself: the merge has its event in hand while the window is rebuilt, once kept and once emptied."""
    for number, (voided, left) in enumerate([(["k0"], 2), (["k0", "k3"], 1)]):
        base = number * 30
        accept(counted, [f"k{base + n}" for n in (0, 3)])
        drain()
        before = total(counted)[0]
        accept(counted, [f"k{base + 6}"])
        refs = find_by_keys(organization_id=counted.merchant.pk, keys=[f"k{base + int(key[1:])}" for key in voided])
        thread = threading.Thread(target=lambda: at_once(lambda: drain() and None))
        with transaction.atomic():
            # As the rebuilding does: first the locks. Then the merge comes, and waits. Then the events are read.
            list(
                UsageWindow.objects.order_by("metric", "subject", "hour", "dimension").select_for_update(of=("self",))
            )
            thread.start()
            deadline = time.monotonic() + 20
            while not _somebody_waits() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert _somebody_waits()
            voiding.void_events(
                organization_id=counted.merchant.pk,
                refs=list(refs.values()),
                reason="test",
                user_id=counted.owner.pk,
                as_of=NOW,
            )
            assert thread.is_alive()
        thread.join()
        assert total(counted)[0] == before - 2 + left
        assert_windows_are_right(counted)


def _somebody_waits() -> bool:
    """Whether a session of this test's database waits for a row; other tests run on the same server."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM pg_locks AS waiting
            WHERE NOT waiting.granted AND waiting.locktype IN ('transactionid', 'tuple') AND EXISTS (
                SELECT FROM pg_locks AS held JOIN pg_database AS own ON own.oid = held.database
                WHERE held.pid = waiting.pid AND own.datname = current_database()
            )
            """
        )
        return bool(cursor.fetchone()[0])


def test_voids_beside_ingest_and_beside_each_other(counted: World) -> None:
    keys = [f"k{n}" for n in range(900)]
    accept(counted, keys[:300])
    drain()
    outcomes: list[str] = []

    def send() -> None:
        for start in range(300, 900, 30):
            accept(counted, keys[start : start + 30])
            accept(counted, keys[start - 30 : start])  # sent again, some of them voided by now
            drain()

    def void_some() -> None:
        source = random.Random(threading.get_ident())
        chosen = keys[:200]
        source.shuffle(chosen)
        for start in range(0, 200, 25):
            outcomes.extend(void(counted, chosen[start : start + 25]))

    at_once(send, void_some, void_some, void_some)
    assert outcomes.count("voided") == 200
    assert outcomes.count("already_voided") == 400
    assert EventVoid.objects.count() == 200
    assert total(counted) == (700, 2100)
    assert_windows_are_right(counted)


def test_a_void_job_is_run_twice_at_once_and_killed(counted: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "CHUNK", 40)
    accept(counted, [f"k{n}" for n in range(400)])
    job = start_void_job(
        organization_id=counted.merchant.pk, reason="wrong source", user_id=counted.owner.pk,
        as_of=datetime.now(UTC), event_type="ai.inference", source="s1",
    )  # fmt: skip
    real = voiding.void_events
    calls = iter(range(100))

    def dies(**named: Any) -> Any:
        done = real(**named)
        if next(calls) == 2:
            raise KeyboardInterrupt  # after the work, before the commit
        return done

    monkeypatch.setattr(voiding, "void_events", dies)
    with pytest.raises(KeyboardInterrupt):
        jobs.run_void_job(job_id=job.pk, seconds=60)
    job.refresh_from_db()
    assert (job.status, job.seen, job.total) == ("running", 80, 400)
    assert job.changed == EventVoid.objects.count() < 80
    # Later events of the same kind are none of this job's.
    accept_later = [f"k{n}" for n in range(401, 411, 2)]
    raw_now = datetime.now(UTC)
    verdicts = accept_events(
        [
            {"type": "ai.inference", "source": "s1", "subject": "cus_1", "timestamp": "2026-01-05T10:00:00Z",
             "idempotencyKey": key, "data": {"tokens": 3, "user": "u", "model": "m"}} for key in accept_later
        ],
        organization_id=counted.merchant.pk, organization_public_id=counted.id, as_of=raw_now,
        is_import=True,
    )  # fmt: skip
    assert len(verdicts.accepted) == 5

    def run() -> None:
        assert not jobs.run_void_job(job_id=job.pk, seconds=60)

    at_once(run, run, lambda: drain() and None)
    job.refresh_from_db()
    assert (job.status, job.seen, job.changed) == ("done", 400, 200)
    assert EventVoid.objects.filter(job=job).count() == 200
    drain()
    assert total(counted) == (205, 615)
    assert_windows_are_right(counted)
    run()  # again: nothing
    assert VoidJob.objects.get().changed == 200


def test_a_backfill_beside_ingest_twice_at_once_and_killed(counted: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "CHUNK", 50)
    accept(counted, [f"k{n}" for n in range(300)])
    accept(counted, [f"k{n}" for n in range(300, 330)], at="2026-01-04T10:00:00Z")
    drain()
    void(counted, ["k1", "k2"])
    product = counted.product()
    made = counted.metric(
        product, path="$.tokens", aggregation="LATEST", eventFrom="2026-01-05T00:00:00Z", groupBy={"model": "$.model"}
    )
    unique = counted.metric(product, path="$.user", aggregation="UNIQUE_COUNT")
    forget_metrics()
    started = [
        start_backfill(
            metric_id=BillableMetric.objects.get(public_id=public_id).pk, user_id=counted.owner.pk,
            as_of=datetime.now(UTC),
        )
        for public_id in (made, unique)
    ]  # fmt: skip
    real = jobs.backfill_slice
    calls = iter(range(1000))

    def dies(*arguments: Any) -> Any:
        done = real(*arguments)
        if next(calls) == 1:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(jobs, "backfill_slice", dies)
    with pytest.raises(KeyboardInterrupt):
        jobs.run_backfill(job_id=started[0].pk, seconds=60)

    def send() -> None:
        for start in range(400, 800, 40):
            accept(counted, [f"k{n}" for n in range(start, start + 40)])
            drain()

    def run(job: BackfillJob) -> Callable[[], None]:
        def work() -> None:
            assert not jobs.run_backfill(job_id=job.pk, seconds=60)

        return work

    at_once(send, run(started[0]), run(started[0]), run(started[1]), run(started[1]))
    for job in started:
        job.refresh_from_db()
        assert (job.status, job.failure) == ("done", "")
    # The voids stay; the day before is before the metric's beginning.
    assert total(counted, "LATEST")[0] == 300 - 2 + 400
    assert UsageWindow.objects.filter(metric__public_id=unique).count() > 0
    assert sum(w.count for w in UsageWindow.objects.filter(metric__public_id=unique)) == 330 - 2 + 400
    assert_windows_are_right(counted)
    for event in MeterEvent.objects.exclude(idempotency_key__in=["k1", "k2"]):
        assert len(set(event.metrics)) == len(event.metrics)


def test_what_an_event_says_cannot_change_and_a_voided_one_counts_for_nothing(counted: World) -> None:
    accept(counted, ["k1", "k2"])
    drain()
    void(counted, ["k1"])
    refusals = {
        "never change": [
            "UPDATE metering_event SET data = '{}'",
            "UPDATE metering_event SET metrics = '{}'",
            "SELECT set_config('metergate.effects', 'on', true); UPDATE metering_event SET source = 'x'",
        ],
        "counts for nothing": [
            "SELECT set_config('metergate.effects', 'on', true); UPDATE metering_event"
            " SET metrics = '{1}', dimensions = '{NULL}', quantities = '{1}' WHERE idempotency_key = 'k1'"
        ],
        "Cannot update or delete": ["DELETE FROM metering_eventvoid", "UPDATE metering_eventvoid SET reason = 'x'"],
    }
    for message, statements in refusals.items():
        for statement in statements:
            with pytest.raises(Exception, match=message), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)
    assert Subject.objects.count() == 2
