"""The event log: blocks appended a second by each driver in the same run, and carried from the log to staging."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.stack import ROOT, settings_of
from config.stack.backends import running_backends

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIZES = (1_000, 100, 1)
APPENDERS = 8
# Single events come from as many requests at once as the web server has threads, and share commits.
SINGLE_APPENDERS = 32
DRIVERS = ("postgresql", "nats")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=200_000, help="events of the cases with batches")
    parser.add_argument("--singles", type=int, default=5_000, help="events of the case without")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=3, help="servers of the NATS cluster, all on this machine")
    parser.add_argument("--shards", type=int, default=4)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start PostgreSQL and a NATS cluster, append the same blocks to both, carry the log's to staging, compare."""
    if "django.conf" in sys.modules:
        # Another measurement of this run has Django on its own database.
        return _in_a_process_of_its_own(arguments)
    from tests.metering.eventlog.cluster import Cluster

    cluster = Cluster(arguments.nodes)
    with tempfile.TemporaryDirectory(prefix="metergate-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        try:
            cluster.start_all()
            with running_backends(Path(folder)):
                os.environ |= {
                    "DJANGO_SETTINGS_MODULE": "config.settings",
                    "EVENT_LOG_URL": cluster.url,
                    "EVENT_LOG_REPLICAS": str(arguments.nodes),
                    "EVENT_LOG_SHARDS": str(arguments.shards),
                }
                import django

                django.setup()
                return _measure(arguments)
        finally:
            cluster.stop()


def _in_a_process_of_its_own(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", "bench", "--json", file.name, "eventlog"]
        for name in ("events", "singles", "rounds", "nodes", "shards"):
            command += [f"--{name}", str(getattr(arguments, name))]
        subprocess.run(command, cwd=ROOT, check=True)
        figures: dict[str, Any] = json.load(file)["eventlog"]
        return figures


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    from apps.metering.eventlog import STAGING, event_log

    call_command("migrate", interactive=False, verbosity=0)
    connection.ensure_connection()
    settings = settings_of(connection.connection) | {
        "nodes": str(arguments.nodes),
        "shards": str(arguments.shards),
        "sync_interval": "2m (default)",
    }
    print(f"settings: {json.dumps(settings)}")
    logs = {"postgresql": STAGING, "nats": event_log()}
    merchants = make_merchants(4 * arguments.shards)
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for size in SIZES:
        total = arguments.events if size > 1 else arguments.singles
        for turn in range(arguments.rounds):
            for driver in DRIVERS:
                blocks = make_blocks(merchants, total // size, size, f"{driver}-{size}-{turn}")
                figures = _round(logs[driver], blocks, total // size * size, size)
                found.setdefault(f"{size:,} a block", {}).setdefault(driver, []).append(figures)
                told = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())
                print(f"{size:,} a block, {driver}, round {turn + 1}: {told}", flush=True)
    logs["nats"].close()
    return _report(found, settings)


def _round(log: Any, blocks: Sequence[Any], total: int, size: int) -> dict[str, float]:
    from django.db import connection

    seconds: list[float] = []

    def append(block: Any) -> None:
        began = time.perf_counter()
        log.append(block)
        seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    _spread(blocks, APPENDERS if size > 1 else SINGLE_APPENDERS, append)
    appended = time.perf_counter() - began
    ordered = sorted(seconds)
    figures = {
        "events_per_second": total / appended,
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
    }
    if log.shards:
        figures["staged_per_second"] = total / _carry(log)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_stagedevent")
        if (staged := cursor.fetchone()[0]) != total:
            raise RuntimeError(f"{staged} events are staged, {total} were appended")
        cursor.execute("TRUNCATE metering_stagedevent, metering_logblock")
    return figures


def _carry(log: Any) -> float:
    """Read the log to its end as the consumer does, a thread a shard; gives seconds."""
    from apps.metering.services.consuming import consume

    def drain(shard: int) -> None:
        last = log.end_of(shard)
        while log.acknowledged_up_to(shard) < last:
            while consume(log=log, shard=shard, wait_seconds=0.05):
                pass

    began = time.perf_counter()
    _spread(list(log.shards), len(log.shards), drain)
    return time.perf_counter() - began


def _spread(items: Sequence[Any], threads: int, work: Callable[[Any], None]) -> None:
    from django.db import connections

    failures: list[BaseException] = []

    def run(part: int) -> None:
        try:
            for item in items[part::threads]:
                work(item)
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    running = [threading.Thread(target=run, args=(part,)) for part in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failures:
        raise failures[0]


def make_merchants(count: int) -> list[Any]:
    from apps.catalog.models import BillableMetric, Product
    from apps.organizations.models import User
    from apps.organizations.services.organizations import create_merchant

    owner = User.objects.create_user("bench@metergate.test", "not used", is_staff=True)
    found = []
    for number in range(count):
        merchant = create_merchant(
            name=f"Bench {number}", email=f"m{number}@metergate.test", owner=owner, environment="test"
        )
        product = Product.objects.create(organization=merchant, name="Bench")
        for name in ("input", "output"):
            BillableMetric.objects.create(
                organization=merchant, product=product, name=name, unit="tokens", aggregation="SUM",
                event_type="bench.call", value_property=f"$.{name}", group_by={"model": "$.model"},
            )  # fmt: skip
        found.append(merchant)
    return found


def make_blocks(merchants: Sequence[Any], count: int, size: int, tag: str) -> list[Any]:
    from apps.metering.eventlog import Block
    from apps.metering.services.staging import BUCKETS, COLUMNS, check_events, staged_rows

    found = []
    for number in range(count):
        merchant = merchants[number % len(merchants)]
        raw = [
            {
                "type": "bench.call", "source": "bench", "subject": f"bench-{n % 250}",
                "timestamp": f"2026-03-01T10:{n % 60:02d}:00Z", "idempotencyKey": f"{tag}-{number}-{n}",
                "data": {"model": f"model-{n % 4}", "input": 100 + n % 900, "output": 10 + n % 90},
            }
            for n in range(size)
        ]  # fmt: skip
        checked = check_events(raw, organization_id=merchant.pk, organization_public_id=merchant.public_id, as_of=NOW)
        drafts = [draft for _, draft in checked.accepted]
        rows = staged_rows(drafts, organization_id=merchant.pk, as_of=NOW)
        found.append(Block(merchant.pk, COLUMNS, BUCKETS, rows))
    return found


def _report(found: dict[str, dict[str, list[dict[str, float]]]], settings: dict[str, str]) -> dict[str, Any]:
    print(f"\n{'median':<20}{'driver':<14}{'appended/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'log to staging/s':>18}")
    cases: dict[str, Any] = {}
    for case, drivers in found.items():
        for driver, rounds in drivers.items():
            row = {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}
            cases.setdefault(case, {})[driver] = row
            staged = f"{row['staged_per_second']:,.0f}" if "staged_per_second" in row else "at once"
            print(
                f"{case:<20}{driver:<14}{row['events_per_second']:>12,.0f}{row['p50_ms']:>9.1f}{row['p99_ms']:>9.1f}"
                f"{staged:>18}"
            )
    return {"settings": settings, "cases": cases}
