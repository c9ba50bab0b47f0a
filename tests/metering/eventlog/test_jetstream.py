"""What can break between a caller, a cluster of three and a database: every 202 is found exactly once."""

import json
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, connections
from django.test import Client

from apps.metering.eventlog import Block, Delivery, EventLog, LogUnavailableError
from apps.metering.eventlog.base import EventTooLargeError
from apps.metering.eventlog.jetstream import JetStreamLog
from apps.metering.models import DeadLetter, MeterEvent
from apps.metering.selectors import registry
from apps.metering.services.consuming import consume, forget_blocks
from apps.metering.services.merge import drain
from apps.metering.services.staging import BUCKETS, COLUMNS, staged_rows
from apps.organizations.selectors import principals
from tests.metering.eventlog.cluster import Cluster
from tests.metering.eventlog.conftest import (
    NOW,
    accept,
    assert_counted_once,
    carry,
    counting_merchant,
    events,
    patiently,
)
from tests.metering.eventlog.test_contract import drafts, staged
from tests.metering.test_crashes import database_address
from tests.world import World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("nats")]

ROOT = Path(__file__).resolve().parent.parent.parent.parent

# What a consumer is doing when it dies.
DEATHS = {
    "after reading": """
def die(deliveries):
    os._exit(9)
consuming.stage_deliveries = die
""",
    "after staging, before the commit": """
inner = consuming._stage
def die(block):
    inner(block)
    os._exit(9)
consuming._stage = die
""",
    "after the commit, before the acknowledgement": """
def die(self, deliveries):
    os._exit(9)
JetStreamLog.acknowledge = die
""",
    "after the acknowledgement": """
inner = JetStreamLog.acknowledge
def die(self, deliveries):
    inner(self, deliveries)
    os._exit(9)
JetStreamLog.acknowledge = die
""",
}

CONSUMER = """
import os
import django
django.setup()
from apps.metering.eventlog import event_log, jetstream
from apps.metering.eventlog.jetstream import JetStreamLog
from apps.metering.services import consuming
jetstream.ACKNOWLEDGE_WITHIN_SECONDS = 1.0
{patch}
log = event_log()
while any([consuming.consume(log=log, shard=shard, limit=2, wait_seconds=1) for shard in log.shards]):
    pass
log.close()
"""


def consumer(patch: str = "") -> "subprocess.Popen[bytes]":
    """Start a real consuming process on this test's database and streams."""
    environment = {
        **os.environ,
        "DATABASE_URL": database_address(),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "EVENT_LOG_URL": django_settings.EVENT_LOG_URL,
        "EVENT_LOG_STREAM": django_settings.EVENT_LOG_STREAM,
        "EVENT_LOG_SHARDS": str(django_settings.EVENT_LOG_SHARDS),
    }
    return subprocess.Popen([sys.executable, "-c", CONSUMER.format(patch=patch)], cwd=ROOT, env=environment)


@pytest.fixture(autouse=True)
def _quick_redelivery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.metering.eventlog.jetstream.ACKNOWLEDGE_WITHIN_SECONDS", 1.0)


def shard_of(world: World, log: EventLog) -> int:
    return log.shard_of(world.merchant.pk)


@pytest.mark.parametrize("moment", DEATHS)
def test_a_consumer_that_dies_loses_nothing_and_repeats_nothing(
    nats_log: EventLog, counted: World, moment: str
) -> None:
    for start in range(0, 100, 20):
        accept(counted, [f"k{n}" for n in range(start, start + 20)])
    assert consumer(DEATHS[moment]).wait(timeout=60) == 9
    time.sleep(1.1)  # what it held is given out again
    carry(nats_log)
    # Not even staged twice: blocks are known before keys are.
    assert staged() == 100
    assert_counted_once(100)


def test_blocks_are_given_out_again_and_staged_once(nats_log: EventLog, counted: World) -> None:
    accept(counted, ["k1", "k2"])
    shard = shard_of(counted, nats_log)
    held = nats_log.read(shard=shard, limit=10, wait_seconds=1)
    assert len(held) == 1
    assert backlog(shard) == 1
    nats_log.release(held)
    carry(nats_log)
    assert nats_log.read(shard=shard, limit=10, wait_seconds=0.2) == []
    assert staged() == 2
    assert nats_log.acknowledged_up_to(shard) == nats_log.end_of(shard) == 1
    assert backlog(shard) == 0
    assert forget_blocks(log=nats_log, shard=shard) == 1
    assert_counted_once(2)


def test_a_message_that_is_sent_again_is_in_the_log_once(nats_log: EventLog, counted: World) -> None:
    rows = staged_rows(drafts(counted, events(["k1"])), organization_id=counted.merchant.pk, as_of=NOW)
    block = Block(counted.merchant.pk, COLUMNS, BUCKETS, rows)
    nats_log.append(block)
    nats_log.append(block)
    assert nats_log.end_of(shard_of(counted, nats_log)) == 1
    carry(nats_log)
    assert_counted_once(1)


def test_a_refused_row_of_a_shared_block_is_reported_to_its_own_merchant(nats_log: EventLog, counted: World) -> None:
    other = counting_merchant()
    rows = b"".join(
        staged_rows(drafts(world, events([key])), organization_id=world.merchant.pk, as_of=NOW)
        for world, key in ((counted, "good"), (other, "bad"))
    )
    broken = rows[: rows.index(b"bad")] + rows[rows.index(b"bad") :].replace(b'{"tokens":3}', b'{"tokens":')
    nats_log.append(Block(counted.merchant.pk, COLUMNS, BUCKETS, broken))
    carry(nats_log)
    letter = DeadLetter.objects.get(code="UNSTAGEABLE")
    assert letter.organization_id == other.merchant.pk
    assert_counted_once(1)


def test_a_large_call_takes_several_messages(nats_log: EventLog, counted: World) -> None:
    # Random text does not pack, so that this call has more bytes than a message may have.
    keys = [f"k{n}" for n in range(30)]
    raw = [event for key in keys for event in events([key], text=os.urandom(50_000).hex())]
    rows = staged_rows(drafts(counted, raw), organization_id=counted.merchant.pk, as_of=NOW)
    nats_log.append(Block(counted.merchant.pk, COLUMNS, BUCKETS, rows))
    assert nats_log.end_of(shard_of(counted, nats_log)) >= 2
    carry(nats_log)
    assert_counted_once(30)


def test_an_event_larger_than_a_message_is_refused(nats_log: EventLog, counted: World) -> None:
    raw = events(["k1"], text=os.urandom(2_000_000).hex())
    rows = staged_rows(drafts(counted, raw), organization_id=counted.merchant.pk, as_of=NOW)
    with pytest.raises(EventTooLargeError):
        nats_log.append(Block(counted.merchant.pk, COLUMNS, BUCKETS, rows))
    assert nats_log.end_of(shard_of(counted, nats_log)) == 0


def test_a_message_of_somebody_else_holds_nobody_up(nats_log: EventLog, counted: World, cluster: Cluster) -> None:
    accept(counted, ["k1"])
    shard = shard_of(counted, nats_log)
    cluster.publish(nats_log.stream_of(shard), b"hello")
    head = {"organization": 1, "columns": "a) FROM PROGRAM 'id'; --", "buckets": 4, "letters": []}
    cluster.publish(nats_log.stream_of(shard), zlib.compress(json.dumps(head).encode() + b"\n"))
    accept(counted, ["k2"])
    held: list[Delivery] = []
    for _ in range(4):
        # A read may give less than there is.
        held += nats_log.read(shard=shard, limit=10, wait_seconds=0.1)
    assert {delivery.sequence for delivery in held} == {1, 4}
    nats_log.release(held)
    carry(nats_log)
    assert staged() == 2
    # It stays, and whoever waits for everything is told that there is something.
    assert nats_log.acknowledged_up_to(shard) == 1


def test_nodes_are_killed_under_load_and_every_answer_holds(
    nats_log: EventLog, counted: World, cluster: Cluster, in_background: Callable[[Callable[[], Any]], None]
) -> None:
    accept(counted, ["first"])
    stream = nats_log.stream_of(shard_of(counted, nats_log))
    accepted: list[list[str]] = [["first"]]
    sent: list[list[str]] = [["first"]]
    ended = threading.Event()
    statuses: set[int] = set()
    failures: list[BaseException] = []

    def send(part: int) -> None:
        """Send new keys on and on; some calls twice, as a client does that got no answer."""
        try:
            number = 0
            while not ended.is_set():
                keys = [f"k{part}-{number}-{n}" for n in range(10)]
                sent.append(keys)
                status = post(counted, keys)
                statuses.add(status)
                if status != 202:
                    status = post(counted, keys)
                    statuses.add(status)
                if status == 202:
                    accepted.append(keys)
                number += 1
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    run_consumer(nats_log, in_background)
    threads = [threading.Thread(target=send, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    try:
        for is_leader in (True, False):
            time.sleep(0.5)
            leader = cluster.leader_of(stream)
            victim = leader if is_leader else (leader + 1) % 3
            before = len(accepted)
            cluster.kill(victim)
            # Two of three nodes go on; when they have to elect a leader, that takes them four to nine seconds.
            wait_for(lambda before=before: len(accepted) > before + 20, seconds=25)  # type: ignore[misc]
            cluster.start(victim)
            cluster.wait_until_ready()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert statuses <= {202, 503}
    shard = shard_of(counted, nats_log)
    wait_for(lambda: patiently(lambda: nats_log.end_of(shard) - nats_log.acknowledged_up_to(shard)) == 0, seconds=20)
    patiently(drain)
    stored = list(MeterEvent.objects.values_list("idempotency_key", flat=True))
    assert len(stored) == len(set(stored))
    promised = {key for keys in accepted for key in keys}
    assert promised <= set(stored) <= {key for keys in sent for key in keys}
    assert_counted_once(len(stored))


def test_without_a_quorum_nothing_is_promised(
    nats_log: EventLog,
    counted: World,
    cluster: Cluster,
    settings: Any,
    in_background: Callable[[Callable[[], Any]], None],
) -> None:
    settings.EVENT_LOG_ACK_SECONDS = 2.0
    run_consumer(nats_log, in_background)
    assert post(counted, ["k1"]) == 202
    leader = cluster.leader_of(nats_log.stream_of(shard_of(counted, nats_log)))
    others = [number for number in range(3) if number != leader]
    try:
        for number in others:
            cluster.kill(number)
        answer = call(counted, ["k2"])
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert json.loads(answer.content)["code"] == "EVENT_LOG_UNAVAILABLE"
    finally:
        for number in others:
            cluster.start(number)
        cluster.wait_until_ready()
    wait_for(lambda: post(counted, ["k2"]) == 202, seconds=25)
    assert_counted_once(2)


def test_known_names_are_taken_while_the_database_is_away(
    nats_log: EventLog, counted: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is remembered has to be read again at once.
    monkeypatch.setattr(registry, "CACHE_SECONDS", 0.0)
    monkeypatch.setattr(principals, "CACHE_SECONDS", 0.0)
    assert post(counted, ["k1", "k2", "k3"]) == 202
    host = connection.settings_dict["HOST"]
    connection.close()
    connection.settings_dict["HOST"] = "/nowhere"
    try:
        assert post(counted, ["k4", "k5", "k6"]) == 202
        unknown = events(["k7"])
        unknown[0]["subject"] = "cus_new"
        assert call_raw(counted, unknown).status_code == 503
        monkeypatch.setattr("apps.kernel.outage.OUTAGE_SECONDS", 0.0)
        assert post(counted, ["k8", "k9"]) == 503
    finally:
        connection.settings_dict["HOST"] = host
        connection.close()
    carry(nats_log)
    assert_counted_once(6)


def test_a_log_that_nobody_runs_is_told_plainly(counted: World, settings: Any) -> None:
    settings.EVENT_LOG_URL = "nats://127.0.0.1:9"
    settings.EVENT_LOG_ACK_SECONDS = 1.0
    assert post(counted, ["k1"]) == 503
    assert staged() == 0


def test_organizations_keep_to_their_shard(settings: Any) -> None:
    settings.EVENT_LOG_SHARDS = 8
    log = JetStreamLog()
    shards = [log.shard_of(organization) for organization in range(2000)]
    assert shards == [log.shard_of(organization) for organization in range(2000)]
    assert set(shards) == set(range(8))


def run_consumer(log: EventLog, in_background: Callable[[Callable[[], Any]], None]) -> None:
    """Do what the consumer's program does, whatever the nodes do meanwhile."""

    def carry_on(shard: int) -> None:
        try:
            consume(log=log, shard=shard, wait_seconds=0.1)
        except LogUnavailableError:
            time.sleep(0.2)

    for shard in log.shards:
        in_background(lambda shard=shard: carry_on(shard))  # type: ignore[misc]


def backlog(shard: int) -> float:
    """Give what `/metrics` says of a shard."""
    text = Client().get("/metrics").content.decode()
    line = next(
        line for line in text.splitlines() if line.startswith(f'metergate_event_log_blocks{{shard="{shard}"}}')
    )
    return float(line.rpartition(" ")[2])


def wait_for(check: Callable[[], bool], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def call(world: World, keys: list[str]) -> Any:
    return call_raw(world, events(keys))


def call_raw(world: World, raw: list[Any]) -> Any:
    return world.api.call("post", "/v0/events/batch", raw)


def post(world: World, keys: list[str]) -> int:
    return int(call(world, keys).status_code)
